# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies around a project on the engine: networks and volumes, ours or foreign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError
from .desired import DEFINITION_LABEL, DIRECTORY_LABEL, PROJECT_LABEL, SHARED_LABEL, Target
from .engine import Engine, EngineError
from .guests import find_guests, take_out
from .host import USUAL_MTU
from .observe import Observed
from .project import SharedNetwork


@dataclass(frozen=True)
class Surroundings:
    """What must change around the containers."""

    #: Shared networks that are not there yet.
    missing: tuple[SharedNetwork, ...] = ()
    #: The project's networks (by their key in the model) whose definition changed, with their ids.
    changed: Mapping[str, str] | None = None
    #: Key of a changed network to the containers of the site's other projects in it, which are brought back.
    guests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Networks of the project that are not declared any more and go, by name.
    left: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        return [
            *(f"make network {network.name}" for network in self.missing),
            *(f"make network {key} anew{self._return(key)}" for key in sorted(self.changed or {})),
            *(f"remove network {name}" for name in self.left),
        ]

    def _return(self, key: str) -> str:
        return f" and bring {', '.join(self.guests[key])} back into it" if self.guests.get(key) else ""


NOTHING_AROUND = Surroundings()


def refuse_foreign_containers(observed: Observed, project: str, directory: str) -> None:
    """Refuse a project of the same name that another tool or site keeps.

    :raises PlatformError: names one of its containers.
    """
    for container in observed.containers:
        if container.directory != directory:
            owner = f"the site {container.directory}" if container.directory else "somebody else"
            raise PlatformError(
                f"Cannot apply project {project!r}: container {container.name!r} of a project of that name belongs to "
                f"{owner}; choose another name, or remove it (docker compose -p {project} down)."
            )


def survey(engine: Engine, target: Target, directory: str) -> Surroundings:
    """Look at the networks and volumes that the project names.

    :raises PlatformError: one is foreign; somebody else is in a network that changed; or a volume's definition changed:
        to follow would lose its data.
    """
    networks = _owned(target.model.get("networks"))
    volumes = _owned(target.model.get("volumes"))
    there = _listed(engine, "/networks", [*networks.values(), *({"name": n.name} for n in target.networks)])
    changed: dict[str, str] = {}
    guests: dict[str, tuple[str, ...]] = {}
    for key, definition in networks.items():
        found = there.get(definition["name"])
        if found is not None:
            _refuse_foreign("network", found, directory, DIRECTORY_LABEL)
            if _differs(found, definition):
                changed[key] = found["Id"]
                guests[key] = _refuse_strangers(engine, target.name, found, directory)
    for network in target.networks:
        if network.name in there:
            _refuse_foreign("network", there[network.name], directory, SHARED_LABEL)
    _check_volumes(_listed(engine, "/volumes", list(volumes.values())), volumes, directory)
    missing = tuple(network for network in target.networks if network.name not in there)
    left = find_left_networks(engine, target, directory)
    going = [
        name
        for name, network_id in left.items()
        if not find_guests(engine, name, network_id, project=target.name, directory=directory).strangers
    ]
    return Surroundings(missing, changed, guests, tuple(sorted(going)))


def _refuse_strangers(engine: Engine, project: str, network: Mapping[str, Any], directory: str) -> tuple[str, ...]:
    """Return the guests of a network that is to be made anew."""
    name = network["Name"]
    guests = find_guests(engine, name, network["Id"], project=project, directory=directory)
    if obstacle := guests.obstacle():
        raise PlatformError(
            f"Cannot make network {name!r} anew: {obstacle}; take it out (docker network disconnect {name} "
            f"{guests.strangers[0]}), and bring it back afterwards."
        )
    return guests.ours


def _owned(entries: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    return {key: value for key, value in (entries or {}).items() if value and not value.get("external")}


def _listed(engine: Engine, path: str, wanted: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    names = [entry["name"] for entry in wanted]
    if not names:
        return {}
    # The engine's filter matches parts of names too.
    answer = engine.get(path, {"filters": {"name": names}})
    entries = answer["Volumes"] or [] if path == "/volumes" else answer
    return {entry["Name"]: entry for entry in entries if entry["Name"] in names}


def _refuse_foreign(kind: str, found: Mapping[str, Any], directory: str, label: str) -> None:
    owner = (found.get("Labels") or {}).get(label)
    if owner != directory:
        raise PlatformError(
            f"Cannot use {kind} {found['Name']!r}: it is there and belongs to "
            f"{f'the site {owner}' if owner else 'somebody else'}; give ours another name, declare it as "
            f"'external: true' to use it as it is, or remove it (docker {kind} rm {found['Name']})."
        )


def _differs(found: Mapping[str, Any], definition: Mapping[str, Any]) -> bool:
    wanted = (definition.get("labels") or {}).get(DEFINITION_LABEL)
    return bool((found.get("Labels") or {}).get(DEFINITION_LABEL) != wanted)


def _check_volumes(
    there: Mapping[str, Mapping[str, Any]], volumes: Mapping[str, Mapping[str, Any]], directory: str
) -> None:
    for definition in volumes.values():
        found = there.get(definition["name"])
        if found is None:
            continue
        _refuse_foreign("volume", found, directory, DIRECTORY_LABEL)
        if _differs(found, definition):
            raise PlatformError(
                f"Cannot change volume {definition['name']!r}: its definition differs from the one it was made with, "
                "and making it anew would lose its data; give the new one another name and copy the data."
            )


def make_shared_networks(engine: Engine, networks: Iterable[SharedNetwork], *, directory: str, mtu: int) -> None:
    """Make the shared networks that are missing, with the host's MTU."""
    options = {} if mtu == USUAL_MTU else {"com.docker.network.driver.mtu": str(mtu)}
    for network in networks:
        body = {
            "Name": network.name,
            "CheckDuplicate": True,
            "Driver": "bridge",
            "Internal": network.internal,
            "Options": options,
            "Labels": {SHARED_LABEL: directory},
        }
        try:
            engine.request("POST", "/networks/create", None, body)
        except EngineError as error:
            # Another project of the site may have made it this moment.
            if error.status != 409:
                raise


def list_networks(engine: Engine, project: str, directory: str) -> dict[str, str]:
    """Map the name of each network that a project of the site made to its id."""
    labels = [f"{PROJECT_LABEL}={project}", f"{DIRECTORY_LABEL}={directory}"]
    return {entry["Name"]: entry["Id"] for entry in engine.get("/networks", {"filters": {"label": labels}})}


def find_left_networks(engine: Engine, target: Target, directory: str) -> dict[str, str]:
    """Map the name of each network of the project that is not declared any more to its id."""
    declared = {network["name"] for network in (target.model.get("networks") or {}).values() if network}
    listed = list_networks(engine, target.name, directory)
    return {name: network_id for name, network_id in listed.items() if name not in declared}


def remove_network(engine: Engine, name: str, network_id: str, directory: str) -> None:
    """Remove a network of ours; one that is gone is fine.

    Who of the site was brought into it beside the project's own goes on without it.

    :raises EngineError: somebody else is in it too.
    """
    take_out(engine, name, network_id, directory)
    try:
        engine.request("DELETE", f"/networks/{network_id}")
    except EngineError as error:
        if error.status != 404:
            raise
