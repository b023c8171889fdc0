# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan: driver, toolkit, holds, settings, units, the engine's start."""

from __future__ import annotations

import contextlib
import os
import urllib.request
from dataclasses import dataclass

from .._compose.engine import Engine
from .._docker_host.machine import Machine
from .._docker_host.observe import read_packages
from .._errors import PlatformError
from .._files import FileState, ensure_directory, read_state, telling, write_atomically
from .._run import Run
from .observe import MARKER, engine_pid, read_driver_packages, wanted_files
from .openpgp import fingerprints
from .plan import Plan
from .units import SPEC_PATH
from .wanted import GUARD_FILES, TOOLKIT, DriverPackages, Repository, Wanted, toolkit_repository, unit_paths

_FETCH_SECONDS = 30.0
_MOST_KEY_BYTES = 1 << 20


@dataclass(frozen=True)
class GpuHost:
    """What changes a GPU host."""

    wanted: Wanted
    machine: Machine

    @classmethod
    def of(cls, wanted: Wanted, engine: Engine, run: Run, *, has_systemd: bool) -> GpuHost:
        """Return the host that these reach."""
        return cls(wanted, Machine(engine, run, has_systemd))

    def apply(self, plan: Plan) -> None:
        """Do every step.

        :raises PlatformError: a program failed, or a key is another one; the message says which and why.
        """
        if plan.driver is not None:
            self._install_driver(plan.driver)
        if plan.has("toolkit"):
            self._install_toolkit(marks_engine=plan.marks_engine)
        if plan.has("hold"):
            self._hold(plan)
        if plan.has("settings"):
            self.machine.write_settings(self.wanted.daemon_file, plan.settings)
        if plan.has("remove") or plan.has("guard"):
            self._place_guard(plan)
        if plan.has("cdi"):
            self._write_spec()
        self._tell_engine(plan)

    def _install_driver(self, driver: DriverPackages) -> None:
        if driver.repository is not None:
            self._trust(driver.repository)
        updated = self.machine.apt("update")
        if driver.pin:
            self.machine.install([driver.pin], updated=updated)
        self.machine.install(driver.names, updated=updated)
        # A card that nouveau has, and a module that Secure Boot keeps out, are told afterwards.
        with contextlib.suppress(FileNotFoundError):
            self.machine.run(["modprobe", "--all", "nvidia", "nvidia-uvm"])

    def _install_toolkit(self, *, marks_engine: bool) -> None:
        self._trust(toolkit_repository(self.wanted.toolkit_repository))
        updated = self.machine.apt("update")
        if marks_engine:
            # Before the hook is there: whoever is interrupted now is not taken for done.
            write_atomically(MARKER, FileState(engine_pid().encode(), 0o644, 0, 0))
        self.machine.install([TOOLKIT], updated=updated)

    def _trust(self, repository: Repository) -> None:
        """Write a repository's source with its key, once the key is known to be the one that is expected."""
        state = read_state(repository.key_path)
        key = state.content if state is not None else _fetch(repository.key_address)
        try:
            found = fingerprints(key)
        except (ValueError, IndexError) as error:
            raise PlatformError(
                f"Cannot trust {repository.key_address}: {error}; let the host reach NVIDIA's own file, or a true copy "
                f"of it, and remove {repository.key_path} where it is there."
            ) from None
        if set(found) != {repository.fingerprint}:
            raise PlatformError(
                f"Cannot trust {repository.key_address}: its key is {', '.join(found)}, {repository.fingerprint} is "
                f"expected; find out who serves another one before anything is installed from there."
            )
        if state is None:
            ensure_directory(os.path.dirname(repository.key_path), mode=0o755)
            write_atomically(repository.key_path, FileState(key, 0o644, 0, 0))
        self.machine.write_files({repository.path: repository.text})

    def _hold(self, plan: Plan) -> None:
        """Hold what was planned, and all that it has brought along."""
        there = read_packages(self.machine.run, plan.hold).keys() if plan.hold else set()
        brought = {name for name, is_held in read_driver_packages(self.machine.run).items() if not is_held}
        if names := sorted({*there, *brought}):
            self.machine.must(["apt-mark", "hold", *names], "hold packages")

    def _place_guard(self, plan: Plan) -> None:
        paths, files = unit_paths(self.wanted), wanted_files(self.wanted)
        timer = os.path.basename(paths["timer"])
        if plan.has("remove"):
            if self.machine.has_systemd:
                self.machine.run(["systemctl", "disable", "--now", timer])
            for name in GUARD_FILES:
                with contextlib.suppress(FileNotFoundError), telling(f"remove {paths[name]}"):
                    os.unlink(paths[name])
            self._reload_units()
            return
        for name in GUARD_FILES:
            with telling(f"write {paths[name]}"):
                write_atomically(paths[name], files[name])
        self._reload_units()
        self.machine.must(["systemctl", "enable", timer], "let the guard of GPUs be started")
        self.machine.must(["systemctl", "restart", timer], "start the guard of GPUs")

    def _write_spec(self) -> None:
        path = unit_paths(self.wanted)["cdi"]
        unit = os.path.basename(path)
        if not self.machine.has_systemd:
            ensure_directory(os.path.dirname(SPEC_PATH), mode=0o755)
            self.machine.must(["nvidia-ctk", "cdi", "generate", f"--output={SPEC_PATH}"], "write the CDI spec")
            return
        with telling(f"write {path}"):
            write_atomically(path, wanted_files(self.wanted)["cdi"])
        self._reload_units()
        self.machine.must(["systemctl", "enable", unit], "have the CDI spec written before Docker starts")
        # A driver that is only used after a restart of the host lets it fail now.
        self.machine.run(["systemctl", "restart", unit])

    def _reload_units(self) -> None:
        if self.machine.has_systemd:
            # Containers that have GPUs now would lose them otherwise (NVIDIA/nvidia-container-toolkit#48).
            with contextlib.suppress(FileNotFoundError):
                self.machine.run(["nvidia-ctk", "system", "create-dev-char-symlinks", "--create-all"])
            self.machine.must(["systemctl", "daemon-reload"], "let systemd read its units")

    def _tell_engine(self, plan: Plan) -> None:
        if plan.has("restart"):
            # With live-restore taken over first, containers live on while their engine is away.
            self.machine.reload()
            self.machine.restart()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(MARKER)
        elif plan.has("reload"):
            self.machine.reload()


def _fetch(address: str) -> bytes:
    try:
        with urllib.request.build_opener().open(address, timeout=_FETCH_SECONDS) as answer:
            content: bytes = answer.read(_MOST_KEY_BYTES)
    except (OSError, ValueError) as error:
        raise PlatformError(
            f"Cannot install from NVIDIA's repository: {address} gives no key ({error}); let the host reach it, or "
            "name a mirror of it."
        ) from error
    return content
