# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accidents at an exact moment of an apply, without a hook in the code under test; see ``trap/sitecustomize.py``."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from support.modules import ROOT, ModuleResult, RunningModule, start_module

#: Which functions a phase of an apply consists of; the last one ends it.
PHASES: Mapping[str, tuple[str, ...]] = {
    "images": ("job.py:ensure_images",),
    "begin": ("release.py:begin",),
    "dump": ("databases.py:dump",),
    "files": ("project_files.py:write_files",),
    "networks": ("surroundings.py:make_shared_networks", "job.py:_remove_changed_networks"),
    "up": ("job.py:_up",),
    "start": ("job.py:_unpause",),
    "reload": ("job.py:_reload",),
    "swap": ("job.py:_swap",),
    "gate": ("job.py:change_containers>job.py:_gate",),
    "remove": ("job.py:_remove>job.py:_remove_containers",),
    "record": ("record.py:record_release",),
}
ROLLBACK: Mapping[str, tuple[str, ...]] = {"rollback": ("apply.py:bring_back",)}

Action = Literal["kill", "kill all", "pause"]
SPRING_SECONDS = 120.0


@dataclass(frozen=True)
class Trap:
    """Springs at a moment of a phase; ``kill all`` takes the module's children along."""

    phase: str
    moment: int
    action: Action
    marker: Path

    def environment(self) -> dict[str, str]:
        functions = {**PHASES, **ROLLBACK}[self.phase]
        trap = {
            "functions": functions, "moment": self.moment, "action": self.action, "marker": str(self.marker),
        }  # fmt: skip
        return _environment(trap)

    def place(self) -> str:
        """Return where it sprang; for people."""
        return self.marker.read_text(encoding="utf-8") if self.marker.exists() else "nowhere"


def _environment(trap: Mapping[str, Any]) -> dict[str, str]:
    path = f"{ROOT}/tests/support/trap:{ROOT}/build/host-python"
    return {"PYTHONPATH": path, "MODELYARD_TEST_TRAP": json.dumps(trap)}


def counting(report: Path) -> dict[str, str]:
    """Return the environment that makes a module write how many moments each phase has."""
    return _environment({"phases": {**PHASES, **ROLLBACK}, "report": str(report)})


def moments_of(report: Path) -> dict[str, int]:
    """Return how many moments each phase had, as a counting module wrote them down."""
    found: dict[str, int] = json.loads(report.read_text(encoding="utf-8"))
    return found


def pick_moment(chance: random.Random, moments: int) -> int:
    """Return a moment of a phase that has so many; the one after the last is its end."""
    return chance.randint(1, moments + 1)


@contextmanager
def paused(params: Mapping[str, Any], trap: Trap, environment: Mapping[str, str] | None = None) -> Iterator[Paused]:
    """Run ``compose_project`` up to the trap, hold it there for the body, and let it go on."""
    running = start_module("compose_project", params, environment={**trap.environment(), **(environment or {})})
    held = Paused(running)
    try:
        _wait_for(trap.marker, running)
        yield held
        trap.marker.unlink(missing_ok=True)
        held.result = running.wait()
    finally:
        if running.process.poll() is None:
            running.kill(with_children=True)
            running.wait()


@dataclass
class Paused:
    """A module that stands still; ``result`` once it was let go."""

    running: RunningModule
    result: ModuleResult | None = None

    def answer(self) -> ModuleResult:
        assert self.result is not None, "it has not been let go"
        return self.result


def _wait_for(marker: Path, running: RunningModule) -> None:
    deadline = time.monotonic() + SPRING_SECONDS
    while not marker.exists():
        if running.process.poll() is not None:
            raise AssertionError(f"the module ended before the trap sprang: {running.wait()}")
        assert time.monotonic() < deadline, "the trap did not spring"
        time.sleep(0.02)
