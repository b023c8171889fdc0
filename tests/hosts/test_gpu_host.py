# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Debian 13 with a stand-in for a GPU: requests by CDI from end to end, the order at its start, and the guard.

Then a site on it, whose services share the card by turns.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.requests import device_request
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.wanted import flavour_of
from support import gpu_stand_in, images
from support.gpu_site import NEEDED_MIB, SITE, GpuSite, deploy, served
from support.host_modules import put_modules, run_module_on
from support.hosts import Host, running_host

pytestmark = pytest.mark.long

DIRECTORY = "/opt/lab"
REPOSITORY = "/opt/repository"
NVIDIAS_KEY = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
KEY_OF_DRIVERS = "02182E60104FCDC26EAE1B8597A5D4CB8793F200"
OPTIONS = {
    "prefix": "lab", "directory": DIRECTORY, "request": "cdi",
    "toolkit_repository": f"file://{REPOSITORY}/stable/deb",
}  # fmt: skip
UNITS = "/etc/systemd/system"
SERVICE = "lab-inference-chat-1"
SHOWN = "systemctl show --value --property"


def prepare_gpus(host: Host, *, check: bool = False, **options: Any) -> dict[str, Any]:
    """Run the module, and return its answer."""
    return run_module_on(host, "nvidia_host", {**OPTIONS, **options}, check=check)


def actions(result: dict[str, Any]) -> list[str]:
    assert not result.get("failed"), result["msg"]
    return [step["action"] for step in result["plan"]]


@pytest.fixture(scope="module")
def bare() -> Iterator[Host]:
    """Yield a host with an engine and without a card."""
    with running_host("trixie") as host:
        host.forgo_syncs()
        put_modules(host)
        done = run_module_on(host, "docker_host", {"directory": DIRECTORY})
        assert not done.get("failed"), done["msg"]
        host.load_images([images.ensure(images.BASE)])
        yield host


@pytest.fixture(scope="module")
def told(bare: Host) -> dict[str, Any]:
    """Return what the module says where there is no card."""
    return prepare_gpus(bare, wants=[{"service": "chat", "gpus": ["0"], "fallback": True}])


@pytest.fixture(scope="module")
def host(bare: Host, told: dict[str, Any]) -> Host:
    """Return the host with a card and its driver, and nothing done for it."""
    gpu_stand_in.install(bare.must, with_toolkit=False)
    return bare


@pytest.fixture(scope="module")
def refused(host: Host) -> dict[str, Any]:
    """Return what is said of a repository whose key is not NVIDIA's; from then on the module expects that key."""
    host.must("DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends gnupg apt-utils")
    fingerprint = gpu_stand_in.make_repository(host.must, REPOSITORY, gpu_stand_in.TOOLKIT)
    said = prepare_gpus(host)
    expect_key(host, fingerprint, instead_of=NVIDIAS_KEY)
    return {**said, "own": fingerprint}


def expect_key(host: Host, fingerprint: str, *, instead_of: str) -> None:
    source = "/collection/ansible_collections/modelyard/platform/plugins/module_utils/_nvidia/wanted.py"
    host.must(f"grep -q {instead_of} {source} && sed -i s/{instead_of}/{fingerprint}/ {source}")


@pytest.fixture(scope="module")
def first(host: Host, refused: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what check mode says, and what the run then does."""
    wants = [{"service": "chat", "gpus": ["0"], "vram_mib": {"0": 15360}}]
    return prepare_gpus(host, check=True), prepare_gpus(host, wants=wants)


@pytest.fixture(scope="module")
def service(host: Host, first: object) -> str:
    """Return a container that asks for the GPU by CDI, applied by Compose from what is rendered for a role."""
    rendered = {
        "services": {
            "chat": {
                "image": images.ensure(images.BASE), "command": ["sleep", "infinity"], "init": True,
                "network_mode": "none",
                "restart": "unless-stopped", "labels": {"modelyard.directory": DIRECTORY}, "tmpfs": ["/run/state"],
                "volumes": ["/opt/smi:/usr/local/bin/nvidia-smi:ro"], **device_request(["0"], "cdi"),
            }
        }
    }  # fmt: skip
    host.put("/opt/smi", gpu_stand_in.CONTAINER_SMI)
    host.put("/opt/lab-inference/compose.yml", json.dumps(rendered))
    host.must("chmod 755 /opt/smi; docker compose --project-name lab-inference -f /opt/lab-inference/compose.yml up -d")
    return SERVICE


def test_without_a_card_nothing_is_changed_and_that_is_said(told: dict[str, Any], bare: Host) -> None:
    assert not told["changed"]
    assert actions(told) == []
    said = json.dumps(told["warnings"])
    assert "Nothing was done for GPUs: this host has no card of NVIDIA." in said
    assert "On the CPU of this host, as it may: chat." in said
    assert bare.must(f"ls {UNITS} | grep -c gpu-guard || true").strip() == "0"


def test_a_repository_with_another_key_is_not_trusted(refused: dict[str, Any], host: Host) -> None:
    assert refused["msg"] == (
        f"Cannot trust file://{REPOSITORY}/gpgkey: its key is {refused['own']}, {NVIDIAS_KEY} is expected; find out "
        "who serves another one before anything is installed from there."
    )


def test_check_mode_tells_what_the_run_then_does(first: tuple[dict[str, Any], dict[str, Any]]) -> None:
    planned, done = first
    assert actions(planned) == actions(done) == ["toolkit", "settings", "cdi", "guard", "guard", "guard", "restart"]
    assert planned["ansible_facts"]["modelyard_gpu"]["gpus"] == done["ansible_facts"]["modelyard_gpu"]["gpus"]
    assert done["ansible_facts"]["modelyard_gpu"]["gpus"][0]["memory_mib"] == 15360


def test_the_toolkit_comes_from_the_repository(first: object, host: Host) -> None:
    assert host.must("dpkg-query --show --showformat '${Version}' nvidia-container-toolkit") == "1.18.2-1"
    # The engine was restarted after it, so that nothing waits for its next start.
    assert host.must("ls /run/modelyard-gpu-engine 2>/dev/null || true") == ""


def test_a_second_run_changes_nothing(first: object, host: Host) -> None:
    stat = (
        f"stat -c '%n %Y' {UNITS}/*gpu* /usr/local/sbin/lab-gpu-guard /var/run/cdi/nvidia.yaml /etc/docker/daemon.json"
    )
    before = host.must(stat)
    again = prepare_gpus(host)
    assert (again["changed"], actions(again)) == (False, [])
    assert host.must(stat) == before


def test_what_services_ask_for_is_held_against_the_card(first: object, host: Host) -> None:
    refused = prepare_gpus(host, wants=[{"service": "chat", "gpus": ["0"], "vram_mib": {"0": 15361}}])
    assert refused["msg"].startswith("Cannot give 15361 MiB of GPU 0 to service 'chat': it has 15360 MiB; ")
    wants = [{"service": "chat", "gpus": ["1"]}]
    for name, options in (("nvidia_host", {**OPTIONS, "wants": wants}), ("preflight", {"gpus": wants})):
        found = json.dumps(run_module_on(host, name, options))
        assert "Cannot give GPU 1 to service 'chat': this host has 0 (Tesla T4); name one of these" in found


def test_a_container_gets_the_device_by_cdi(service: str, host: Host) -> None:
    inside = f"docker exec {service}"
    assert host.must(f"{inside} stat -c %t:%T /dev/nvidia0").strip() == gpu_stand_in.DEVICE
    assert host.must(f"{inside} head -c 4 /dev/nvidia0 | od -An -tx1").split() == ["00"] * 4
    # What a spec adds to the environment is for the container's own programs, not for those that are started later.
    assert "NVIDIA_VISIBLE_DEVICES=void" in host.must(f"{inside} cat /proc/1/environ").split("\0")
    plain = host.must(f"docker run --rm --network none {images.ensure(images.BASE)} ls /dev")
    assert "nvidia" not in plain


def test_a_container_keeps_its_device_when_systemd_reloads(service: str, host: Host) -> None:
    host.must("systemctl daemon-reload")
    assert host.must(f"docker exec {service} head -c 4 /dev/nvidia0 | od -An -tx1").split() == ["00"] * 4


def test_the_guard_looks_at_containers_of_the_site(service: str, host: Host) -> None:
    assert host.must("systemctl is-active lab-gpu-guard.timer").strip() == "active"
    before = host.container_ids()
    host.must(f"docker exec {service} {' '.join(gpu_stand_in.LOSE)}; systemctl start lab-gpu-guard")
    said = host.must("journalctl --unit lab-gpu-guard --output cat --no-pager || true")
    assert f"left {service} alone, which has lost its GPU: it was started a moment ago" in said
    assert host.container_ids() == before


def test_after_a_restart_of_the_host_the_spec_is_there_before_docker(service: str, host: Host) -> None:
    host.restart()
    written = int(host.must(f"{SHOWN} ActiveEnterTimestampMonotonic modelyard-gpu-cdi"))
    assert 0 < written < int(host.must(f"{SHOWN} ExecMainStartTimestampMonotonic docker"))
    host.must(f"docker start {service}")
    assert host.must(f"docker exec {service} stat -c %t:%T /dev/nvidia0").strip() == gpu_stand_in.DEVICE
    again = prepare_gpus(host)
    assert (again["changed"], actions(again)) == (False, [])


def test_with_the_site_the_guard_goes_and_nothing_else(first: object, host: Host) -> None:
    assert actions(prepare_gpus(host, state="absent")) == ["remove"] * 3
    assert host.must(f"ls {UNITS} | grep gpu").split() == ["gpu-stand-in.service", "modelyard-gpu-cdi.service"]
    assert actions(prepare_gpus(host, state="absent")) == []


PROJECT = "inference: Apply the project"


@pytest.fixture(scope="module")
def gpu_site(
    host: Host, first: object, engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> GpuSite:
    """Return a site on the host."""
    return deploy(host, engine, tmp_path_factory.mktemp("site"))


def test_services_that_share_a_card_are_proven_one_after_the_other(gpu_site: GpuSite) -> None:
    assert gpu_site.first.results[PROJECT]["unproven"] == {}
    assert sorted(gpu_site.turns()) == ["large", "small"]
    assert gpu_site.awake() == []
    told = json.loads(gpu_site.host.must(f"cat {SITE}/projects/modelyard-gateway/config/services.json"))
    assert list(told["gpus"].values()) == [15360]


def test_who_has_no_key_wakes_none(gpu_site: GpuSite) -> None:
    assert [gpu_site.ask(name, key=key)[0] for name in NEEDED_MIB for key in ("", "mistaken")] == [401, 403] * 2
    assert gpu_site.awake() == []


def test_a_request_wakes_a_service_on_the_card_and_the_other_one_goes_to_sleep(gpu_site: GpuSite) -> None:
    for name in ("large", "small", "large"):
        assert gpu_site.ask(name)[0] == 200
        assert gpu_site.awake() == [name]
        inside = f"docker exec modelyard-inference-{name}-1"
        assert gpu_site.host.must(f"{inside} stat -c %t:%T /dev/nvidia0").strip() == gpu_stand_in.DEVICE
        assert gpu_site.host.must(f"{inside} head -c 4 /dev/nvidia0 | od -An -tx1").split() == ["00"] * 4
    assert gpu_site.turns()[2:] == ["large", "small", "large"]


def test_a_service_at_work_is_waited_for(gpu_site: GpuSite) -> None:
    assert gpu_site.awake() == ["large"]
    slow = ["docker", "exec", gpu_site.host.name, "sh", "-c", gpu_site.asking("large", "/stream?seconds=5")]
    with subprocess.Popen(slow, stdout=subprocess.PIPE, text=True) as working:
        at_work = "docker logs modelyard-inference-large-1 2>&1 | grep -q /stream"
        gpu_site.host.must(f"timeout 30 sh -c 'until {at_work}; do sleep 0.1; done'")
        status, seconds = gpu_site.ask("small")
        said = working.communicate(timeout=60)[0]
    assert said.split()[0] == "200"
    assert (status, seconds > 3) == (200, True)
    assert gpu_site.turns()[-2:] == ["large", "small"]


def test_a_second_run_leaves_them_as_they_are(gpu_site: GpuSite) -> None:
    turns, containers = gpu_site.turns(), gpu_site.host.container_ids()
    assert dict(gpu_site.site.up().changed) == {}
    assert (gpu_site.turns(), gpu_site.host.container_ids()) == (turns, containers)


def test_what_the_card_cannot_give_is_told_before_anything_is_touched(gpu_site: GpuSite) -> None:
    listed = f"find {SITE} /etc/docker /etc/systemd/system -path {SITE}/state -prune -o -printf '%p %T@\\n' | sort"
    before = gpu_site.turns(), gpu_site.host.container_ids(), gpu_site.host.must(listed)
    large, small = served(memory_limit="256m")
    wrong = [{**large, "gpus": [7], "vram_mib": {"7": 9000}}, {**small, "vram_mib": 15361}]
    refused = gpu_site.site.play("-e", json.dumps({"inference_services": wrong}))
    assert refused.rc != 0
    told = refused.results["site: Refuse what cannot work, before anything is touched"]["msg"]
    assert "Cannot give GPU 7 to service 'large': this host has 0 (Tesla T4); name one of these, or take the " in told
    assert "Cannot give 15361 MiB of GPU 0 to service 'small': it has 15360 MiB; take a smaller model or less " in told
    assert refused.changed == {}
    assert (gpu_site.turns(), gpu_site.host.container_ids(), gpu_site.host.must(listed)) == before


HEADERS = f"linux-headers-{flavour_of(os.uname().release)}"
DRIVERS = "/opt/drivers"
FROM_THERE: dict[str, Any] = {"driver_branch": "550", "driver_repository": f"file://{DRIVERS}"}
OF_DRIVER = ["libnvidia-ml1", "nvidia-driver-cuda", "nvidia-driver-pinning-550", "nvidia-kernel-open-dkms"]


@pytest.fixture(scope="module")
def driven(host: Host, first: object) -> dict[str, Any]:
    """Return what is done on the host without its driver, which comes from a repository that stands for NVIDIA's."""
    gpu_stand_in.take_driver(host.must)
    folder = "debian13/x86_64"
    fingerprint = gpu_stand_in.make_repository(
        host.must, DRIVERS, gpu_stand_in.driver(HEADERS), folder=folder, key=f"{folder}/8793F200.pub"
    )
    expect_key(host, fingerprint, instead_of=KEY_OF_DRIVERS)
    return prepare_gpus(host, **FROM_THERE)


def test_a_driver_is_installed_where_there_is_none(driven: dict[str, Any], host: Host) -> None:
    assert actions(driven)[:4] == ["driver", "hold", "hold", "hold"]
    shown = host.must(f"dpkg-query --show --showformat '${{Package}} ${{Version}}\n' {HEADERS} {' '.join(OF_DRIVER)}")
    version = f"{gpu_stand_in.VERSION}-1"
    versions = [version, version, "1", version]
    assert dict(line.split() for line in shown.splitlines()) == dict(zip(OF_DRIVER, versions, strict=True)) | {
        HEADERS: "9999"
    }


def test_that_the_host_has_to_be_restarted_is_said_and_not_done(driven: dict[str, Any]) -> None:
    why = f"the driver {gpu_stand_in.VERSION} is installed and not loaded"
    assert (driven["reboot_needed"], driven["reboot_reason"]) == (True, why)
    then = "Restart it when it suits, or set nvidia_reboot to have it done."
    [warning] = driven["warnings"]
    assert warning["event"]["msg"] == f"GPUs of this host cannot be used yet: {why}. {then}"


def test_no_upgrade_takes_the_driver_along(driven: dict[str, Any], host: Host) -> None:
    assert host.must("apt-mark showhold").split() == OF_DRIVER
    newer = gpu_stand_in.driver(HEADERS, "550.999.99")
    gpu_stand_in.make_repository(host.must, "/opt/newer", newer, folder="newer")
    host.put("/etc/apt/sources.list.d/newer.list", "deb [trusted=yes] file:///opt/newer/newer ./\n")
    host.must("apt-get update -qq")
    planned = "apt-get --simulate dist-upgrade"
    assert "Inst nvidia-driver-cuda [550.163.01-1] (550.999.99-1" in host.must(f"{planned} --ignore-hold")
    assert not [line for line in host.must(planned).splitlines() if line.startswith("Inst") and "nvidia" in line]


def test_after_the_restart_the_driver_is_there(driven: dict[str, Any], host: Host) -> None:
    host.restart()
    found = prepare_gpus(host, **FROM_THERE)
    assert not {"driver", "hold"} & set(actions(found))
    assert (found["reboot_needed"], found.get("warnings", [])) == (False, [])
    assert [gpu["memory_mib"] for gpu in found["ansible_facts"]["modelyard_gpu"]["gpus"]] == [15360]
    again = prepare_gpus(host, **FROM_THERE)
    assert (again["changed"], actions(again)) == (False, [])
