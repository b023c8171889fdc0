# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One project under test: applied by the module, looked at through the engine alone.

:meth:`AppliedProject.compare` is the yardstick of plans: what ``--check`` says, beside what the engine saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from .events import SERVICE, Derived, EventRecorder, Snapshot, derive_actions, take_snapshot
from .modules import ModuleResult, run_by_ansible, run_module
from .site import PROJECT_LABEL, Site

#: A service without a health check has to run this long to count as up.
SETTLE_SECONDS = 0.5


@dataclass(frozen=True)
class Comparison:
    """What check mode said would happen, what did, and what the module answered."""

    planned: set[Derived]
    derived: set[Derived]
    result: ModuleResult


class AppliedProject:
    """A project of a test's own site. ``options`` are those of every run, unless a run gives others."""

    def __init__(self, engine: docker.DockerClient, site: Site, name: str = "shop", **options: Any) -> None:
        self.engine, self.site, self.name = engine, site, site.name(name)
        self.store = str(site.directory.parent / "secrets" / "secrets.json")
        self.options = options
        self._left = Snapshot({}, {})

    @property
    def folder(self) -> Path:
        return self.site.directory / "projects" / self.name

    def params(self, **options: Any) -> dict[str, Any]:
        """Return the module's parameters."""
        own = {"name": self.name, "directory": str(self.site.directory), "secret_store": self.store}
        return {**own, "pull": "never", "wait_seconds": 30, **self.options, **options}

    def run(
        self, *, check: bool = False, diff: bool = False, environment: Mapping[str, str] | None = None, **options: Any
    ) -> ModuleResult:
        """Run the module directly."""
        return run_module("compose_project", self.params(**options), check=check, diff=diff, environment=environment)

    def run_by_ansible(
        self, *, environment: Mapping[str, str] | None = None, verbosity: int = 0, **options: Any
    ) -> ModuleResult:
        """Run the module as one task of a real playbook."""
        return run_by_ansible("compose_project", self.params(**options), environment=environment, verbosity=verbosity)

    def apply(self, **options: Any) -> ModuleResult:
        """Run the module; a failure fails the test."""
        result = self.run(**options)
        assert result.rc == 0, result.msg or result.stderr
        self._left = self.snapshot()
        return result

    def compare(
        self, *, secret_variables: Iterable[str] = (), scaled_to_zero: Iterable[str] = (), **options: Any
    ) -> Comparison:
        """Ask check mode, then apply, and derive from the engine what was done."""
        checked = self.run(check=True, diff=True, **options)
        assert checked.rc == 0, checked.msg or checked.stderr
        before, left = self.snapshot(), self._left
        with EventRecorder(self.engine) as recorder:
            result = self.apply(**options)
        derived = derive_actions(
            before,
            recorder.events,
            self._left,
            left=left,
            secret_variables=frozenset(secret_variables),
            scaled_to_zero=frozenset(scaled_to_zero),
        )
        assert result["plan"] == checked["plan"], "check mode and the run disagree"
        return Comparison(planned_actions(checked), derived, result)

    def refused(self, **options: Any) -> str:
        """Run the module, which must fail without one change at the engine or on disk but for its lock; return what
        it says.
        """
        before = sorted(self.site.directory.rglob("*"))
        with EventRecorder(self.engine) as recorder:
            result = self.run(**options)
        assert result.failed, result.values
        assert recorder.of_project(self.name) == []
        made = {path for path in self.site.directory.rglob("*") if path not in before}
        assert {path.relative_to(self.site.directory).parts[0] for path in made} <= {"locks"}
        return result.msg

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.engine, self.name)

    def containers(self, service: str = "") -> list[Container]:
        """Return the project's containers, or those of one service, whatever their state."""
        labels = [f"{PROJECT_LABEL}={self.name}"] + ([f"{SERVICE}={service}"] if service else [])
        return list(self.engine.containers.list(all=True, filters={"label": labels}))

    def container(self, service: str) -> Container:
        """Return the one container of a service."""
        [found] = self.containers(service)
        return found

    def ids(self) -> dict[str, set[str]]:
        """Return service to the ids of its containers."""
        found: dict[str, set[str]] = {}
        for container in self.containers():
            found.setdefault(container.labels[SERVICE], set()).add(str(container.id))
        return found

    def read(self, service: str, *command: str) -> str:
        """Return what a command in the service's container writes."""
        done = self.container(service).exec_run(list(command))
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output
        return done.output.decode()

    def keep_secrets(self, *secrets: Mapping[str, Any], rotate: Iterable[str] = ()) -> ModuleResult:
        """Run the module ``secrets`` on the project's store."""
        result = run_module(
            "secrets",
            {
                "path": self.store,
                "secrets": list(secrets),
                "rotate": list(rotate),
                "site_directory": str(self.site.directory),
            },
        )
        assert result.rc == 0, result.msg or result.stderr
        return result


def planned_actions(result: ModuleResult) -> set[Derived]:
    """Return the module's plan in the words of :func:`derive_actions`."""
    return {(step["service"], step["action"], reason["code"]) for step in result["plan"] for reason in step["reasons"]}


def sleeper(image: str, /, **more: Any) -> dict[str, Any]:
    """Return a service that does nothing and ends at once when it is told to."""
    extras = {"settle_seconds": SETTLE_SECONDS, **more.pop("extras", {})}
    return {"image": image, "init": True, "command": ["sleep", "infinity"], "x-modelyard": extras, **more}


def file_states(folder: Path) -> dict[str, tuple[int, int, int, bytes | None]]:
    """Return what every file below a folder is: mode, time of its last change, owner, content (None for a folder)."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        seen = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (seen.st_mode, seen.st_mtime_ns, seen.st_uid, content)
    return found
