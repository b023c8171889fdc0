# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module docker_host on a bare Debian without systemd: a container that gets an engine of its own."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support.modules import ROOT
from support.site import new_prefix

# What an engine in a container needs; --privileged asks for more than some machines can give.
CAPABILITIES = (
    "SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_CHROOT", "SYS_NICE", "SYS_TIME", "SYS_BOOT", "MKNOD",
    "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "DAC_READ_SEARCH", "LINUX_IMMUTABLE", "IPC_LOCK", "SYSLOG",
)  # fmt: skip
UNCONFINED = ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined")
MTU = 1400
MODULES = "ansible_collections.modelyard.platform.plugins.modules"
RUN = f"cd / && PYTHONPATH=/collection PYTHONDONTWRITEBYTECODE=1 python3 -m {MODULES}"


class BareHost:
    """A Debian that has Python and no Docker."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def run(self, *argv: str, stdin: bytes = b"") -> str:
        command = ["docker", "exec", "--interactive", str(self.container.id), *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, f"{argv}: {done.stderr.decode()[-2000:]}"
        return done.stdout.decode()

    def docker_host(self, *, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run the module, and return its answer."""
        return self.module("docker_host", check=check, **params)

    def module(self, name: str, *, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run a module, and return its answer."""
        sent = {"ANSIBLE_MODULE_ARGS": {**params, "_ansible_check_mode": check, "_ansible_diff": True}}
        answer = self.run("sh", "-c", f"{RUN}.{name} || true", stdin=json.dumps(sent).encode())
        result: dict[str, Any] = json.loads(answer.strip().splitlines()[-1])
        assert not result.get("failed"), result["msg"]
        return result

    def settings(self) -> dict[str, Any]:
        return dict(json.loads(self.run("cat", "/etc/docker/daemon.json")))

    def state_of(self, name: str) -> str:
        return self.run("docker", "inspect", "--format", "{{.Id}} {{.State.StartedAt}} {{.State.Running}}", name)

    def daemon_pid(self) -> str:
        return self.run("cat", "/run/docker.pid")


def actions(result: dict[str, Any]) -> list[str]:
    return [step["action"] for step in result["plan"]]


def warnings_of(result: dict[str, Any]) -> str:
    return json.dumps(result.get("warnings", []))


def host_sources() -> bytes:
    """Return the archive of this machine's own apt sources, for the release of the image."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)", "Identifier: Packages"],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    rows = [line.split("|") for line in listed.splitlines()]
    address = next(row[2] for row in rows if row[0] == "Debian" and row[1] == "main" and "security" not in row[2])
    return f"deb {address} trixie main\n".encode()


def start_host(name: str, image: str) -> None:
    """Start the container by the CLI: the API has no word for the unmasked /proc that an engine inside needs."""
    ansible = Path(sysconfig.get_path("purelib")) / "ansible"
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    volumes = (
        "/sys/fs/cgroup:/sys/fs/cgroup:rw", "/var/lib/docker", f"{certificates}:{certificates}:ro",
        f"{ansible}:/collection/ansible:ro", f"{ROOT}:/collection/ansible_collections/modelyard/platform:ro",
    )  # fmt: skip
    subprocess.run(
        [
            "docker", "run", "--detach", "--init", "--name", name, "--network", name, "--cgroupns=host",
            "--tmpfs=/run", "--tmpfs=/tmp", *(f"--cap-add={name}" for name in CAPABILITIES),
            *(f"--security-opt={option}" for option in UNCONFINED), *(f"--volume={volume}" for volume in volumes),
            image, "sleep", "infinity",
        ], check=True, capture_output=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def host(engine: docker.DockerClient, base_image: str) -> Iterator[BareHost]:
    name = new_prefix()
    network = engine.networks.create(name, options={"com.docker.network.driver.mtu": str(MTU)})
    try:
        start_host(name, base_image)
        found = BareHost(engine.containers.get(name))
        found.run("tee", "/etc/apt/sources.list", stdin=host_sources())
        yield found
    finally:
        for container in engine.containers.list(all=True, filters={"name": name}):
            container.remove(force=True, v=True)
        network.remove()


@pytest.fixture(scope="module")
def first(host: BareHost) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what check mode says on the bare host, and what the run then does."""
    options = {"packages": ["python3-passlib"], "hold": True, "users": ["games"]}
    told = host.docker_host(check=True, **options)
    assert host.run("sh", "-c", "ls /etc/docker 2>/dev/null; command -v dockerd || true") == ""
    return told, host.docker_host(**options)


@pytest.fixture
def foreign(host: BareHost, first: object, base_image: str) -> Iterator[str]:
    """Yield the name of a running container that is not the site's."""
    saved = subprocess.run(["docker", "save", base_image], check=True, capture_output=True).stdout
    host.run("docker", "load", "--quiet", stdin=saved)
    host.run("docker", "run", "--detach", "--init", "--name", "theirs", base_image, "sleep", "600")
    yield "theirs"
    host.run("docker", "rm", "--force", "theirs")


def test_a_bare_host_gets_what_check_mode_told(first: tuple[dict[str, Any], dict[str, Any]], host: BareHost) -> None:
    told, done = first
    assert actions(told)[0] == "settings"
    assert {"install", "hold", "start"} <= set(actions(told))
    assert host.settings() == {
        "log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": True, "mtu": MTU,
    }  # fmt: skip
    facts = done["ansible_facts"]["modelyard_docker"]
    assert facts["engine"].startswith("26.")
    assert facts["compose"].startswith("2.26.")
    assert str(facts["socket_gid"]) == host.run("stat", "--format", "%g", "/var/run/docker.sock").strip()
    assert "docker.io" in host.run("apt-mark", "showhold").split()
    assert "docker" in host.run("id", "--name", "--groups", "games").split()
    assert host.run("docker", "compose", "version", "--short").startswith("2.26.")
    assert host.run("docker", "buildx", "version")
    assert host.run("sh", "-c", "ls /usr/sbin/policy-rc.d 2>/dev/null || true") == ""


def test_a_second_run_does_nothing(first: object, host: BareHost) -> None:
    before = host.daemon_pid()
    again = host.docker_host(packages=["python3-passlib"], hold=True, users=["games"])
    assert not again["changed"]
    assert again["plan"] == []
    assert host.daemon_pid() == before


def test_a_setting_that_can_be_reloaded_is(foreign: str, host: BareHost) -> None:
    before = host.daemon_pid()
    done = host.docker_host(daemon_options={"labels": ["colour=blue"]})
    assert actions(done) == ["settings", "reload"]
    assert host.daemon_pid() == before
    assert "colour=blue" in host.run("docker", "info", "--format", "{{json .Labels}}")


def test_with_live_restore_a_restart_leaves_containers_of_others(foreign: str, host: BareHost) -> None:
    before, daemon = host.state_of(foreign), host.daemon_pid()
    done = host.docker_host(daemon_options={"log-opts": {"max-size": "5m"}})
    assert actions(done) == ["settings", "restart"]
    assert host.settings()["log-opts"] == {"max-size": "5m", "max-file": "3"}
    assert host.daemon_pid() != daemon
    assert host.state_of(foreign) == before


def test_without_live_restore_a_restart_is_reported_and_not_done(foreign: str, host: BareHost) -> None:
    host.docker_host(daemon_options={"live-restore": False})
    before, daemon = host.state_of(foreign), host.daemon_pid()
    done = host.docker_host(daemon_options={"log-opts": {"max-size": "7m"}})
    assert actions(done) == ["settings", "reload"]
    assert "would stop containers of others (theirs)" in warnings_of(done)
    assert host.daemon_pid() == daemon
    assert host.state_of(foreign) == before
    host.docker_host(daemon_options={"live-restore": True})


def test_published_ports_are_guarded_without_systemd(first: object, host: BareHost) -> None:
    wanted = {"prefix": "shop", "directory": "/opt/shop"}
    before = sorted(host.run("iptables", "-S").splitlines())
    done = host.module("published_ports", ports=[{"number": 443}], **wanted)
    assert actions(done) == ["script", "rules", "rules"]
    assert "-A DOCKER-USER -j SITE-shop\n" in host.run("iptables", "-S", "DOCKER-USER")
    # Whoever starts the engine runs it before.
    host.run("sh", "-c", "iptables -F SITE-shop && /opt/shop/firewall/apply")
    assert actions(host.module("published_ports", ports=[{"number": 443}], **wanted)) == []
    assert {step["action"] for step in host.module("published_ports", state="absent", **wanted)["plan"]} == {"remove"}
    assert sorted(host.run("iptables", "-S").splitlines()) == before
