# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that run exactly as their image's contract says, as hardened as the roles run them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from support.modules import run_module
from support.recipes import Packaged
from support.site import Site

SECOND = 10**9  # of the engine's API, which counts nanoseconds


@dataclass(frozen=True)
class BuiltImage:
    """A packaged image that is there."""

    packaged: Packaged
    reference: str

    def run(
        self,
        site: Site,
        name: str,
        *,
        command: Sequence[str] | None = None,
        files: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Container:
        """Start a container of the site: not root, its root file system read-only, without any capability.

        :param files: what is mounted, read-only, by its path in the container.
        """  # fmt: skip
        contract = self.packaged.contract
        volumes = [f"{path}:{inside}:ro" for inside, path in (files or {}).items()]
        if contract["data"]:
            volumes.append(f"{site.name(name)}-data:{contract['data']}")
        container: Container = site.engine.containers.run(
            self.reference,
            list(contract["command"] if command is None else command),
            name=site.name(name), hostname=name, detach=True, init=True,
            user=contract["user"], read_only=True, cap_drop=["ALL"], security_opt=["no-new-privileges:true"],
            tmpfs=dict(_split(entry) for entry in contract["tmpfs"]), volumes=volumes,
            environment={**contract.get("environment", {}), **(environment or {})},
            stop_signal=contract.get("stop_signal", "SIGTERM"),
            healthcheck={"test": contract["probe"], "interval": SECOND, "timeout": 5 * SECOND, "retries": 60},
            **options,
        )  # fmt: skip
        return container

    def secret_file(self, site: Site, name: str, text: str) -> Path:
        """Write a file that nobody but the image's user can read; return its path."""
        path = site.directory / name
        path.write_text(text, encoding="utf-8")
        os.chown(path, self.packaged.uid, self.packaged.gid)
        path.chmod(0o400)
        return path


def build(packaged: Packaged, directory: Path) -> BuiltImage:
    """Build an image where it is not there yet, by the module; it stays for the next run."""
    answer = run_module("image", {**packaged.recipe, "directory": str(directory)}, timeout=600)
    assert not answer.failed, answer.msg
    return BuiltImage(packaged, answer["image"])


def _split(entry: str) -> tuple[str, str]:
    path, _colon, options = entry.partition(":")
    return path, options


def wait_healthy(container: Container, *, seconds: float = 60) -> float:
    """Wait until the probe of its contract says so; return how many seconds that took, or raise with its last words."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        container.reload()
        state = container.attrs["State"]
        if state.get("Health", {}).get("Status") == "healthy":
            return time.monotonic() - started
        if state["Status"] not in ("created", "running"):
            break
        time.sleep(0.1)
    probes = [entry["Output"] for entry in container.attrs["State"].get("Health", {}).get("Log") or []]
    raise AssertionError(f"{container.name} is not healthy: {state}\n{probes[-1:]}\n{said_by(container, tail=40)}")


def said_by(container: Container, **options: Any) -> str:
    """Return what a container wrote."""
    said = container.logs(**options)
    assert isinstance(said, bytes)
    return said.decode()


def wait_exited(container: Container, *, seconds: float = 60) -> tuple[int, str]:
    """Return how a container ended and all that it said."""
    code = int(container.wait(timeout=seconds)["StatusCode"])
    return code, said_by(container)


def run_inside(container: Container, *argv: str, **environment: str) -> str:
    """Return what a program says in a container; raise if it fails."""
    code, output = container.exec_run(list(argv), environment=environment)
    assert isinstance(output, bytes)
    assert code == 0, f"{argv} ended with {code}: {output.decode()}"
    return output.decode()


def address(container: Container) -> str:
    """Return the container's address on its only network."""
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def processes(container: Container) -> list[dict[str, str]]:
    """Return ``/proc/PID/status`` of each of a container's processes."""
    found = []
    for pid, *_rest in container.top(ps_args="-eo pid")["Processes"]:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        found.append({key: value.strip() for key, _colon, value in (line.partition(":") for line in lines)})
    return found


def resident_bytes(container: Container) -> int:
    """Return the memory of all its processes, what they share counted for each."""
    return sum(int(process["VmRSS"].split()[0]) * 1024 for process in processes(container))


def assert_confined(container: Container, packaged: Packaged) -> None:
    """Every process is the contract's user, has no capability and cannot get one."""
    seen = processes(container)
    assert seen
    for process in seen:
        assert set(process["Uid"].split()) == {str(packaged.uid)}, process["Name"]
        assert set(process["Gid"].split()) == {str(packaged.gid)}, process["Name"]
        capabilities = {process[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
        assert {int(value, 16) for value in capabilities} == {0}, process["Name"]
        assert process["NoNewPrivs"] == "1", process["Name"]
