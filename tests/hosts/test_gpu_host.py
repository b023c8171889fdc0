# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Debian 13 with a stand-in for a GPU: requests by CDI from end to end, the order at its start, and the guard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.requests import device_request
from support import gpu_stand_in, images
from support.host_modules import put_modules, run_module_on
from support.hosts import Host, running_host

pytestmark = pytest.mark.long

DIRECTORY = "/opt/lab"
REPOSITORY = "/opt/repository"
NVIDIAS_KEY = "C95B321B61E88C1809C4F759DDCAE044F796ECB0"
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
    fingerprint = gpu_stand_in.make_repository(host.must, REPOSITORY)
    said = prepare_gpus(host)
    source = "/collection/ansible_collections/modelyard/platform/plugins/module_utils/_nvidia/wanted.py"
    host.must(f"grep -q {NVIDIAS_KEY} {source} && sed -i s/{NVIDIAS_KEY}/{fingerprint}/ {source}")
    return {**said, "own": fingerprint}


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
