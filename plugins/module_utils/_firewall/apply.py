# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan: the files, the unit, the rules."""

from __future__ import annotations

import contextlib
import os
import subprocess  # nosec: only its exception
from collections.abc import Sequence
from dataclasses import dataclass

from .._errors import PlatformError
from .._files import FileState, ensure_directory, telling, write_atomically
from .._run import Run
from .files import PROGRAMS, link_path, script_path, unit_name
from .observe import SeenHost
from .plan import Plan
from .rules import Chains

_COMMAND_SECONDS = 120.0


@dataclass(frozen=True)
class Guard:
    """What changes a host."""

    prefix: str
    directory: str
    chains: Chains
    run: Run
    units: str

    def put_in_place(self, plan: Plan, host: SeenHost) -> None:
        """Write what is missing and let the rules be those of the plan.

        :raises PlatformError: the disk refuses it, or a program failed; the message says which and why.
        """
        path = script_path(self.directory)
        with telling(f"write {path}"):
            ensure_directory(os.path.dirname(path), mode=0o700)
            write_atomically(path, FileState(plan.script.encode(), 0o700, 0, 0))
        if not host.has_systemd:
            self._must([path], "put the rules of the site's ports in place")
            return
        unit = unit_name(self.prefix)
        if plan.has("unit"):
            with telling(f"write {self.units}/{unit}"):
                write_atomically(os.path.join(self.units, unit), FileState(plan.unit.encode(), 0o644, 0, 0))
            self._must(["systemctl", "daemon-reload"], f"let systemd read {unit}")
            self._must(["systemctl", "enable", "--quiet", unit], f"let the engine start {unit}")
        self._must(["systemctl", "restart", unit], f"start {unit}", hint=f"systemctl status {unit} says more")

    def take_away(self, plan: Plan, host: SeenHost) -> None:
        """Remove what was made. The unit goes first, so that no start of the engine brings anything back.

        :raises PlatformError: a program failed, or the disk refuses it.
        """
        unit, path = unit_name(self.prefix), script_path(self.directory)
        if host.unit is not None or host.is_enabled:
            self._remove_unit(unit, has_systemd=host.has_systemd)
        for family, names in plan.gone.items():
            self._remove_rules(PROGRAMS[family], names, host, family)
        with telling(f"remove {path}"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            # Whatever else is in that folder is not ours.
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(path))

    def _remove_unit(self, unit: str, *, has_systemd: bool) -> None:
        if has_systemd:
            self._must(["systemctl", "disable", "--now", "--quiet", unit], f"stop {unit}")
        for path in (os.path.join(self.units, unit), link_path(self.prefix, self.units)):
            with telling(f"remove {path}"), contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        if has_systemd:
            self._must(["systemctl", "daemon-reload"], f"let systemd forget {unit}")

    def _remove_rules(self, program: str, names: Sequence[str], host: SeenHost, family: int) -> None:
        doing = "remove the rules of the site's ports"
        for chain, own in self.chains.jumps:
            for _each in [line for line in host.rules[family] if line == f"-A {chain} -j {own}"]:
                self._must([program, "--wait", "--delete", chain, "--jump", own], doing)
        for name in reversed(names):
            self._must([program, "--wait", "--flush", name], doing)
            self._must([program, "--wait", "--delete-chain", name], doing)

    def _must(self, argv: Sequence[str], doing: str, *, hint: str = "run as root") -> None:
        try:
            done = self.run(argv, timeout_seconds=_COMMAND_SECONDS)
        except FileNotFoundError:
            raise PlatformError(f"Cannot {doing}: there is no program {argv[0]!r}; install it.") from None
        except subprocess.TimeoutExpired as error:
            raise PlatformError(
                f"Cannot {doing}: {argv[0]} gave no answer within {error.timeout:g} s; look what keeps it, and run "
                "again."
            ) from None
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip()).splitlines()
            raise PlatformError(
                f"Cannot {doing}: {os.path.basename(argv[0])} says: {said[-1] if said else 'nothing'}; {hint}."
            )
