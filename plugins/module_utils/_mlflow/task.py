# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module: which versions are wanted now, what differs, and what is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .._compose.site import Site
from .environment import Environment, parse_environment
from .folder import VersionsFolder
from .model import ModelVersion, RegisteredModel
from .registry import Registry


@dataclass(frozen=True)
class Step:
    """What is done for a service, and why."""

    service: str
    version: ModelVersion
    reason: str

    def as_result(self) -> dict[str, str]:
        return {"service": self.service, "action": "serve", "version": self.version.number, "reason": self.reason}


def make_plan(
    models: Sequence[RegisteredModel],
    wanted: dict[str, ModelVersion],
    served: dict[str, ModelVersion],
    missing: frozenset[str],
) -> list[Step]:
    """Return a step for each service whose version is another one than before, or is not on the host. Pure.

    :param wanted: service to the version that its name leads to now; ``served``: to the one that it had last.
    :param missing: the keys of wanted versions that are not on the host.
    """
    steps = []
    for model in models:
        version, before = wanted[model.service], served.get(model.service)
        if before is None:
            reason = f"{model.uri} is version {version.number}, and was not served"
        elif before != version:
            reason = f"{model.uri} is version {version.number}, and {_said(before, version)} is served"
        elif version.key in missing:
            reason = f"the files of version {version.number} are gone"
        else:
            continue
        steps.append(Step(model.service, version, reason))
    return steps


def _said(before: ModelVersion, now: ModelVersion) -> str:
    if before.name != now.name:
        return f"version {before.number} of model {before.name!r}"
    return f"version {before.number}" + (" of a registry that is gone" if before.number == now.number else "")


@dataclass(frozen=True)
class Task:
    """Models of the registry, as services of a host are to have them."""

    site: Site
    models: Sequence[RegisteredModel]
    registry: Registry
    wait_seconds: float

    @property
    def folder(self) -> VersionsFolder:
        return VersionsFolder(f"{self.site.directory}/models/mlflow")

    def carry_out(self, *, check_mode: bool) -> dict[str, Any]:
        """Return the module's result; check mode looks at small files of a new version, and keeps none.

        :raises PlatformError: a model is not in the registry, cannot be fetched or has no environment. What was fetched
            before stays.
        """
        wanted = {model.service: self.registry.resolve(model.uri) for model in self.models}
        served = self.folder.read_served()
        steps = self._plan(wanted, served)
        environments = {model.service: self._environment(model, wanted[model.service]) for model in self.models}
        if steps and not check_mode:
            self._apply(wanted)
        return {
            "changed": bool(steps),
            "plan": [step.as_result() for step in steps],
            "models": {
                service: {
                    "name": version.name,
                    "version": version.number,
                    "path": self.folder.of(version),
                    "image": environments[service].as_recipe(),
                }
                for service, version in wanted.items()
            },
            "diff": {"before": self._described(served), "after": self._described(wanted)},
        }

    def _plan(self, wanted: dict[str, ModelVersion], served: dict[str, ModelVersion]) -> list[Step]:
        missing = frozenset(version.key for version in wanted.values() if not self.folder.has(version))
        return make_plan(self.models, wanted, served, missing)

    def _environment(self, model: RegisteredModel, version: ModelVersion) -> Environment:
        texts = {}
        if self.folder.has(version):
            texts = {
                name: self.folder.read(version, name) for name in ("python_env.yaml", "requirements.txt", "MLmodel")
            }
        else:
            folder = self.registry.folder_of(version)
            texts = {
                name: self.registry.text(folder, name) for name in ("python_env.yaml", "requirements.txt", "MLmodel")
            }
        return parse_environment(
            python_env=texts["python_env.yaml"],
            requirements=texts["requirements.txt"],
            model=texts["MLmodel"],
            server_version=self.registry.server_version,
            python=model.python,
            subject=f"version {version.number} of model {version.name!r} as {model.service!r}",
        )

    def _apply(self, wanted: dict[str, ModelVersion]) -> None:
        with self.site.hold(".mlflow-models", purpose="fetch registered models", wait_seconds=self.wait_seconds):
            self.folder.prepare()
            for version in wanted.values():
                if not self.folder.has(version):
                    self._fetch(version)
            self.folder.write_served({**self.folder.read_served(), **wanted})

    def _fetch(self, version: ModelVersion) -> None:
        folder = self.registry.folder_of(version)
        files = self.registry.files(folder)
        self.folder.keep(version, files, lambda path: self.registry.content(folder, path))

    def _described(self, found: dict[str, ModelVersion]) -> str:
        services = sorted(model.service for model in self.models if model.service in found)
        return "".join(f"{name}: version {found[name].number} of {found[name].name}\n" for name in services)
