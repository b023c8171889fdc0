# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Springs at an exact moment of a module that knows nothing of it.

Python imports this file at its start when its folder is on ``PYTHONPATH``. The text in ``MODELYARD_TEST_TRAP`` says
where to spring (see ``support.traps``): at the n-th *moment* of a phase, which is a call out of Python that the rest
of the machine may notice, just before it is made. A phase that ends before its n-th moment springs at its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import Any

PAUSE_SECONDS = 120
#: Names of C functions that change, or wait for, something outside of the process.
MOMENTS = {
    "open", "rename", "unlink", "mkdir", "rmdir", "write", "truncate", "flush", "fsync", "fchown", "fchmod", "chmod",
    "close", "connect", "sendall", "recv", "fork_exec", "waitpid", "kill", "select", "sleep",
}  # fmt: skip


class Phase:
    """Counts the moments of one phase; its functions are ``FILE:NAME`` or ``FILE:CALLER>FILE:NAME``."""

    def __init__(self, functions: list[str]) -> None:
        self._chains = [[tuple(step.split(":")) for step in chain.split(">")] for chain in functions]
        self._inside: FrameType | None = None
        self._is_last = False
        self.moments = 0

    def take(self, frame: FrameType, event: str, called: object) -> str:
        """Return ``moment``, ``end`` (of the whole phase) or nothing."""
        if event == "call" and self._inside is None:
            for chain in self._chains:
                if _matches(frame, chain):
                    self._inside, self._is_last = frame, chain is self._chains[-1]
        elif event == "return" and frame is self._inside:
            self._inside = None
            return "end" if self._is_last else ""
        elif event == "c_call" and self._inside is not None and getattr(called, "__name__", "") in MOMENTS:
            self.moments += 1
            return "moment"
        return ""


def _matches(frame: FrameType, chain: list[tuple[str, ...]]) -> bool:
    at: FrameType | None = frame
    for file, name in reversed(chain):
        if at is None or at.f_code.co_name != name or os.path.basename(at.f_code.co_filename) != file:
            return False
        at = at.f_back
    return True


def count(phases: dict[str, list[str]], report: str) -> None:
    """Write to ``report`` how many moments each phase had."""
    watched = {name: Phase(functions) for name, functions in phases.items()}

    def watch(frame: FrameType, event: str, called: object) -> None:
        if [name for name, phase in watched.items() if phase.take(frame, event, called) == "end"]:
            with open(report, "w", encoding="utf-8") as stream:
                json.dump({name: phase.moments for name, phase in watched.items()}, stream)

    sys.setprofile(watch)


def spring_at(functions: list[str], moment: int, action: str, marker: str) -> None:
    phase = Phase(functions)

    def watch(frame: FrameType, event: str, called: object) -> None:
        found = phase.take(frame, event, called)
        if found == "end" or (found == "moment" and phase.moments >= moment):
            sys.setprofile(None)
            _spring(action, marker, f"{frame.f_code.co_name} {event} {getattr(called, '__name__', '')}")

    sys.setprofile(watch)


def _spring(action: str, marker: str, place: str) -> None:
    with open(marker, "w", encoding="utf-8") as stream:
        stream.write(place)
    if action == "pause":
        _wait_until_gone(marker)
        return
    if action == "kill all":
        for pid in _descendants(os.getpid()):
            os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _wait_until_gone(marker: str) -> None:
    deadline = time.monotonic() + PAUSE_SECONDS
    while os.path.exists(marker) and time.monotonic() < deadline:
        time.sleep(0.02)


def _descendants(parent: int) -> list[int]:
    children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent_of(pid) == parent]
    return children + [below for child in children for below in _descendants(child)]


def _parent_of(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stream:
            return int(stream.read().rpartition(")")[2].split()[1])
    except OSError:  # it has just ended
        return 0


def arm(trap: dict[str, Any]) -> None:
    if "report" in trap:
        count(trap["phases"], trap["report"])
    else:
        spring_at(trap["functions"], trap["moment"], trap["action"], trap["marker"])


if os.environ.get("MODELYARD_TEST_TRAP"):
    arm(json.loads(os.environ["MODELYARD_TEST_TRAP"]))
