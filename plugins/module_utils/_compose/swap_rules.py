# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a new container may run beside the old one. Anything else goes stop-first, and the plan says why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .desired import DesiredService
from .edge import server_addresses
from .observe import Observed
from .plan import Method, Plan, dependents_of
from .project import Edge


def choose_methods(
    plan: Plan,
    services: Mapping[str, DesiredService],
    observed: Observed,
    *,
    edge: Edge | None,
    image_volumes: Mapping[str, tuple[str, ...]],
    stop_first: bool,
) -> dict[str, tuple[Method, str]]:
    """Return method and reason for each service that the plan recreates.

    :param image_volumes: service to the volumes that its image declares; absent where the image is not here yet.
    :param stop_first: the project asks for it.
    """
    migrating = _waiting_for_migrations(plan, services)
    parents = {parent for service in services.values() for parent in service.bound_to}
    routed = find_routed(edge)
    chosen: dict[str, tuple[Method, str]] = {}
    for name in plan.services("recreate"):
        service = services[name]
        obstacle = (
            ("the project asks for it" if stop_first else None)
            or _plan_obstacle(plan, service, migrating, parents, observed)
            or _fixed_obstacle(service)
            or _choice_obstacle(service, edge, image_volumes.get(name), is_routed=name in routed)
        )
        chosen[name] = ("stop_first", obstacle) if obstacle else ("start_first", _grounds(service))
    return chosen


def candidates(plan: Plan, services: Mapping[str, DesiredService]) -> list[str]:
    """Return the services for which the image's own volumes decide."""
    return [
        name
        for name in plan.services("recreate")
        if _fixed_obstacle(services[name]) is None and services[name].extras.update == "auto"
    ]


def _waiting_for_migrations(plan: Plan, services: Mapping[str, DesiredService]) -> dict[str, str]:
    waiting: dict[str, str] = {}
    for name, service in services.items():
        if service.extras.migrates is not None and plan.steps[name].action in ("create", "recreate", "start"):
            waiting.update(dict.fromkeys((name, *dependents_of(name, services)), name))
    return waiting


def _plan_obstacle(
    plan: Plan, service: DesiredService, migrating: Mapping[str, str], parents: Iterable[str], observed: Observed
) -> str | None:
    name = service.name
    if name in migrating:
        return f"the migration {migrating[name]!r} runs"
    codes = {reason.code for reason in plan.steps[name].reasons}
    if "network" in codes:
        return "its network is made anew"
    if "dependency" in codes:
        return "it lives in another service's container"
    if name in parents:
        return "another service lives in its container"
    if not any(container.state == "running" for container in observed.of(name)):
        return "none of its containers serves now"
    if all(container.identity == service.identity for container in observed.of(name)):
        return "its definition is the same, so a new container could not be told from the old one"
    return None


def _fixed_obstacle(service: DesiredService) -> str | None:
    """Return what makes two copies impossible, whatever is declared."""
    definition = service.definition
    for port in definition.get("ports") or ():
        if port.get("published"):
            return f"it binds host port {port['published']}"
    if definition.get("container_name"):
        return f"it has the fixed name {definition['container_name']!r}"
    mode = str(definition.get("network_mode", ""))
    if mode and mode not in ("bridge", "default"):
        return f"it has no network of its own (network_mode: {mode})"
    places = [definition, *(settings or {} for settings in (definition.get("networks") or {}).values())]
    if any(place.get(address) for place in places for address in ("ipv4_address", "ipv6_address", "mac_address")):
        return "it has a fixed address"
    if service.may_end:
        return "it is a one-shot"
    if service.extras.sleeps:
        return "the gateway stops and starts it by name"
    return None


def _choice_obstacle(
    service: DesiredService, edge: Edge | None, image_volumes: tuple[str, ...] | None, *, is_routed: bool
) -> str | None:
    """Return what makes two copies unsafe unless the service declares otherwise."""
    if service.extras.update == "stop_first":
        return "the service asks for it"
    if service.extras.update == "start_first":
        return _edge_obstacle(edge, is_routed=is_routed)
    obstacle = _state_obstacle(service.definition) or _edge_obstacle(edge, is_routed=is_routed)
    if obstacle:
        return obstacle
    if not is_routed:
        return "no route of the edge leads to it"
    if image_volumes is None:
        return "its image is not here yet, so its volumes are not known"
    return f"its image declares the volume {image_volumes[0]!r}" if image_volumes else None


def _edge_obstacle(edge: Edge | None, *, is_routed: bool) -> str | None:
    if edge is not None and edge.api is None and is_routed:
        return "the edge's API is not given, so nobody can tell when it has forgotten the old container"
    return None


def _state_obstacle(definition: Mapping[str, Any]) -> str | None:
    for volume in definition.get("volumes") or ():
        if volume.get("type") == "volume":
            return f"it mounts the volume {volume.get('source') or volume.get('target')!r}"
        if volume.get("type") == "bind" and not volume.get("read_only"):
            return f"it may write to {volume.get('source')!r}"
    if definition.get("volumes_from"):
        return "it mounts another container's volumes"
    devices = ((definition.get("deploy") or {}).get("resources") or {}).get("reservations", {}).get("devices")
    if devices or definition.get("gpus") or definition.get("devices"):
        return "it holds a device"
    return None


def _grounds(service: DesiredService) -> str:
    return "the service asks for it" if service.extras.update == "start_first" else "it is stateless"


def find_routed(edge: Edge | None) -> frozenset[str]:
    """Return the services that a server URL of the edge's data names."""
    return frozenset() if edge is None else frozenset(host for host, _address in server_addresses(edge.config))
