# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a project should be on this host: one value per service, as it is planned with and kept in a release."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .project import NO_EXTRAS, Edge, Migration, ProjectFile, ServiceExtras, SharedNetwork, Sleeper

#: On every container, network and volume of ours: the site's folder. What lacks it is foreign.
DIRECTORY_LABEL = "modelyard.directory"
#: On containers: keyed hash of the definition and of the content it mounts.
IDENTITY_LABEL = "modelyard.identity"
#: On networks and volumes: hash of the definition.
DEFINITION_LABEL = "modelyard.definition"
#: On shared networks.
SHARED_LABEL = "modelyard.shared"

PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"


@dataclass(frozen=True)
class Reload:
    """How a service takes up a changed file without a new container."""

    path: str
    signal: str | None
    command: tuple[str, ...]


@dataclass(frozen=True)
class DesiredService:
    """One service. ``definition`` is canonical: Compose's own JSON without what does not touch a container."""

    name: str
    image: str
    identity: str
    definition: Mapping[str, Any]
    #: Path of each mounted file to the keyed hash of its content; what a change of them does differs:
    contents: Mapping[str, str] = field(default_factory=dict)
    reload_contents: Mapping[str, str] = field(default_factory=dict)
    reloads: tuple[Reload, ...] = ()
    scale: int = 1
    builds: bool = False
    #: Meant to end: said so, or somebody waits for its completion.
    one_shot: bool = False
    #: May end with 0: it has a restart policy that does not bring it back, and no health check.
    may_end: bool = False
    extras: ServiceExtras = NO_EXTRAS
    #: Service to condition, as in ``depends_on``.
    depends_on: Mapping[str, str] = field(default_factory=dict)
    #: Services whose container this one lives in (network, ipc, pid, volumes) or restarts with.
    bound_to: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    @property
    def is_sleeper(self) -> bool:
        """Whether the gateway alone starts it."""
        return self.extras.sleeper is not None


@dataclass(frozen=True)
class Target:
    """A whole project, ready to be applied. Texts hold secret references; ``secrets`` says which versions."""

    name: str
    folder: str
    model: Mapping[str, Any]
    services: Mapping[str, DesiredService]
    files: tuple[ProjectFile, ...] = ()
    networks: tuple[SharedNetwork, ...] = ()
    edge: Edge | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    #: Where Compose finds what secrets and configs take from variables that ``env`` lacks.
    env_files: tuple[str, ...] = ()
    writes_env: bool = False
    secrets: Mapping[str, int] = field(default_factory=dict)
    secrets_in_env: tuple[str, ...] = ()


def target_to_record(target: Target) -> dict[str, Any]:
    """Return ``target`` as JSON data."""
    return dataclasses.asdict(target)


def target_from_record(record: Mapping[str, Any]) -> Target:
    """The inverse of :func:`target_to_record`."""
    edge = record["edge"]
    values = {
        **record,
        "services": {name: _service(value) for name, value in record["services"].items()},
        "files": tuple(_file(value) for value in record["files"]),
        "networks": tuple(SharedNetwork(**value) for value in record["networks"]),
        "edge": None if edge is None else Edge(**edge),
        "secrets_in_env": tuple(record["secrets_in_env"]),
        "env_files": tuple(record.get("env_files", ())),
    }
    return Target(**values)


def _file(record: Mapping[str, Any]) -> ProjectFile:
    return ProjectFile(**{**record, "reload_command": tuple(record["reload_command"])})


def _service(record: Mapping[str, Any]) -> DesiredService:
    extras = record["extras"]
    migrates, sleeper = extras["migrates"], extras.get("sleeper")
    made = {
        **extras,
        "migrates": None if migrates is None else Migration(**migrates),
        "sleeper": None if sleeper is None else Sleeper(**sleeper),
    }
    reloads = tuple(Reload(entry["path"], entry["signal"], tuple(entry["command"])) for entry in record["reloads"])
    return DesiredService(
        **{
            **record,
            "extras": ServiceExtras(**made),
            "reloads": reloads,
            "bound_to": tuple(record["bound_to"]),
            "networks": tuple(record["networks"]),
        }
    )
