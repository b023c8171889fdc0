# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that others have brought into a network of the project: what becomes of them when it is made anew."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .desired import DIRECTORY_LABEL, PROJECT_LABEL
from .engine import Engine, EngineError
from .observe import is_one_off

#: Name of a container to the settings with which it was in a network.
Endpoints = Mapping[str, Mapping[str, Any]]

_KEPT = ("Aliases", "IPAMConfig", "Links", "DriverOpts")


@dataclass(frozen=True)
class Guests:
    """Names of the containers in a network that are not the project's: of this site, and strangers to it."""

    ours: tuple[str, ...]
    strangers: tuple[str, ...]

    def obstacle(self) -> str | None:
        """Return why the network cannot go without cutting off what is not of this site; None if it can."""
        return f"container {self.strangers[0]!r} is in it and does not belong to this site" if self.strangers else None


def members_of(engine: Engine, name: str, network_id: str) -> list[dict[str, Any]]:
    """Return the containers that are in a network, or will be when they start, as the engine lists them."""
    # One that was never started has the network's name alone.
    query = {"all": "1", "filters": {"network": [network_id, name]}}
    found: list[dict[str, Any]] = engine.get("/containers/json", query)
    return found


def find_guests(engine: Engine, name: str, network_id: str, *, project: str, directory: str) -> Guests:
    """Return who is in a network of the project beside its own services."""
    ours: list[str] = []
    strangers: list[str] = []
    for entry in members_of(engine, name, network_id):
        labels = entry["Labels"] or {}
        if labels.get(PROJECT_LABEL) != project or is_one_off(labels):
            (ours if labels.get(DIRECTORY_LABEL) == directory else strangers).append(_name(entry))
    return Guests(tuple(sorted(ours)), tuple(sorted(strangers)))


def read_endpoints(engine: Engine, name: str, network_id: str) -> Endpoints:
    """Return how each container in the network is in it: its aliases and whatever else it was given."""
    found = {}
    for entry in members_of(engine, name, network_id):
        try:
            networks = engine.get(f"/containers/{entry['Id']}/json")["NetworkSettings"]["Networks"]
        except EngineError as error:
            if error.status == 404:  # it has ended, and was to be removed then
                continue
            raise
        endpoint = networks.get(name) or {}
        found[_name(entry)] = {key: endpoint[key] for key in _KEPT if endpoint.get(key)}
    return found


def bring_back(engine: Engine, name: str, endpoints: Endpoints) -> list[str]:
    """Bring containers into a network, as they were in one of that name; return what went wrong, a sentence each."""
    [network] = [entry for entry in engine.get("/networks", {"filters": {"name": [name]}}) if entry["Name"] == name]
    there = {_name(entry) for entry in members_of(engine, name, network["Id"])}
    wrong = []
    for container, endpoint in endpoints.items():
        if container not in there:
            body = {"Container": container, "EndpointConfig": endpoint}
            try:
                engine.request("POST", f"/networks/{network['Id']}/connect", None, body)
            except EngineError as error:
                wrong.append(f"network {name}: container {container} is not in it any more: {error}")
    return wrong


def take_out(engine: Engine, name: str, network_id: str, directory: str) -> None:
    """Take the containers of the site out of a network: one that is stopped would not start when it is gone."""
    for entry in members_of(engine, name, network_id):
        if (entry["Labels"] or {}).get(DIRECTORY_LABEL) == directory:
            body = {"Container": entry["Id"], "Force": True}
            with contextlib.suppress(EngineError):  # if it is still there, the removal of the network says so
                engine.request("POST", f"/networks/{network_id}/disconnect", None, body)


def _name(entry: Mapping[str, Any]) -> str:
    return entry["Names"][0].removeprefix("/") if entry.get("Names") else str(entry["Id"])
