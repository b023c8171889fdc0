# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan: what applying would do to each service, and why. Pure; check mode and the real run share it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from .desired import DesiredService
from .observe import Observed, ObservedContainer

Action = Literal["create", "recreate", "reload", "start", "stop", "remove", "none"]
Method = Literal["start_first", "stop_first"]
Code = Literal[
    "missing", "image", "definition", "content", "by_hand", "stopped", "failed", "scale",
    "undeclared", "dependency", "migration", "network", "interrupted", "asked",
]  # fmt: skip

_ALIVE = ("running", "restarting")


@dataclass(frozen=True)
class Reason:
    """Why a service does not stay as it is: a code for programs, a text for people."""

    code: Code
    text: str


@dataclass(frozen=True)
class Step:
    """What happens to one service. ``method`` says in which order a new container takes over, ``why`` why so."""

    service: str
    action: Action
    reasons: tuple[Reason, ...] = ()
    method: Method | None = None
    why: str = ""


@dataclass(frozen=True)
class Plan:
    """All steps by service name, those of services that stay (``none``) too."""

    steps: Mapping[str, Step]
    #: What changes beside containers: files, networks, volumes; texts for people.
    other: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return bool(self.other) or any(step.action != "none" for step in self.steps.values())

    def services(self, *actions: Action) -> list[str]:
        return [name for name, step in self.steps.items() if step.action in actions]


@dataclass(frozen=True)
class Recorded:
    """What the last release says."""

    services: Mapping[str, DesiredService] = field(default_factory=dict)
    #: Image id of each service.
    image_ids: Mapping[str, str] = field(default_factory=dict)
    #: Container id to the hash that Compose gave it; another one now means that somebody used Compose by hand.
    config_hashes: Mapping[str, str] = field(default_factory=dict)
    #: Sleepers that it did not see awake, and why.
    unproven: Mapping[str, str] = field(default_factory=dict)


NOTHING_RECORDED = Recorded()


def make_plan(
    services: Mapping[str, DesiredService],
    observed: Observed,
    *,
    recorded: Recorded = NOTHING_RECORDED,
    asleep: frozenset[str] = frozenset(),
    changed_networks: frozenset[str] = frozenset(),
    drifted: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    restored: Collection[str] = (),
) -> Plan:
    """Return the plan that brings ``observed`` to ``services``.

    :param asleep: ids of containers that the gateway stopped on purpose.
    :param changed_networks: networks that must be made anew, with everything on them.
    :param drifted: service to mounted files that are not on disk as they should be.
    :param restored: services that migrate or use a database that gets a dump back: they stop for it.
    """
    steps = {
        name: _plan_service(service, observed, recorded, asleep, changed_networks, drifted.get(name, ()))
        for name, service in services.items()
    }
    for name in restored:
        if name in services:
            _make_anew(steps, services[name], Reason("migration", "its database gets back what it held before"))
    _follow_bound_to_newer(steps, services, observed, recorded)
    while _follow_migrations(steps, services) or _follow_bound(steps, services):
        pass  # a migration may be bound to what moves, and what waits for it be lived in
    for container in observed.containers:
        if container.service not in services:
            reason = Reason("undeclared", "it is not in the project any more, or its profile is off")
            steps[container.service] = Step(container.service, "remove", (reason,))
    return Plan(steps)


def plan_stop(observed: Observed) -> Plan:
    """Return the plan of ``state: stopped``."""
    reason = (Reason("asked", "the project is to be stopped"),)
    running = {container.service for container in observed.containers if container.state in (*_ALIVE, "paused")}
    return Plan(
        {
            name: Step(name, "stop", reason) if name in running else Step(name, "none")
            for name in sorted({container.service for container in observed.containers})
        }
    )


def plan_removal(observed: Observed) -> Plan:
    """Return the plan of ``state: absent``. Volumes stay."""
    reason = (Reason("asked", "the project is to be removed"),)
    return Plan({name: Step(name, "remove", reason) for name in sorted({c.service for c in observed.containers})})


def _plan_service(
    service: DesiredService,
    observed: Observed,
    recorded: Recorded,
    asleep: frozenset[str],
    changed_networks: frozenset[str],
    drifted: tuple[str, ...],
) -> Step:
    containers = observed.of(service.name)
    if service.scale == 0:
        return _step(service, "remove", [Reason("scale", "its scale is 0")]) if containers else _step(service, "none")
    if not containers:
        return _step(service, "create", [Reason("missing", "it has no container")])
    reasons = _recreate_reasons(service, containers, observed, recorded)
    if not reasons and (paths := [path for path in drifted if path in service.contents]):
        reasons = [Reason("content", f"changed by hand: {', '.join(paths)}")]
    reasons += _network_reasons(service, containers, changed_networks)
    if reasons:
        return _step(service, "recreate", reasons)
    is_running = any(container.state == "running" for container in containers)
    # What does not run reads its files when it starts.
    reload = _reload_reasons(service, recorded, drifted) if is_running else []
    if len(containers) != service.scale:
        reasons = [Reason("scale", f"{len(containers)} of {service.scale} containers are there")]
        action: Action = "create" if len(containers) < service.scale else "remove"
    elif reasons := _start_reasons(service, containers, asleep):
        action = "start"
    else:
        return _step(service, "reload", reload) if reload else _step(service, "none")
    if reload:
        # One step, one action: what runs on would miss its reload.
        return _step(service, "recreate", reasons + reload)
    return _step(service, action, reasons)


def _step(service: DesiredService, action: Action, reasons: list[Reason] | None = None) -> Step:
    return Step(service.name, action, tuple(reasons or ()))


def _recreate_reasons(
    service: DesiredService, containers: list[ObservedContainer], observed: Observed, recorded: Recorded
) -> list[Reason]:
    old = recorded.services.get(service.name)
    found = [_container_reasons(service, container, observed, recorded, old) for container in containers]
    reasons = list(dict.fromkeys(reason for reasons in found for reason in reasons))
    if reasons and sum(not reasons for reasons in found) >= service.scale:
        others = [container for container, why in zip(containers, found, strict=True) if why]
        if all(container.identity != service.identity for container in others):
            return [Reason("interrupted", "an update was interrupted when the new container was there already")]
    return reasons


def _container_reasons(
    service: DesiredService,
    container: ObservedContainer,
    observed: Observed,
    recorded: Recorded,
    old: DesiredService | None,
) -> list[Reason]:
    if container.identity != service.identity:
        if old is None or old.identity != container.identity:
            return [Reason("definition", "its container is of another release than the last")]
        return compare_services(old, service)
    wanted = observed.image_ids.get(service.image)
    if wanted is not None and wanted != container.image_id:
        return [Reason("image", f"{service.image} is another image now")]
    if old is not None and old.identity == service.identity and _is_made_otherwise(service, container, recorded):
        return [Reason("by_hand", "its container was changed by hand")]
    if container.state in ("dead", "removing"):
        return [Reason("by_hand", f"its container is {container.state}")]
    return []


def _network_reasons(
    service: DesiredService, containers: list[ObservedContainer], changed: frozenset[str]
) -> list[Reason]:
    # Who has done its work need not start again.
    waiting = [container for container in containers if not (service.may_end and container.exited_zero)]
    lost = sorted({name for container in waiting for name in container.lost_networks})
    return [
        *(Reason("network", f"network {name!r} changes") for name in service.networks if name in changed),
        *(Reason("network", f"network {name!r} of its container is gone") for name in lost),
    ]


def _is_made_otherwise(service: DesiredService, container: ObservedContainer, recorded: Recorded) -> bool:
    """Whether Compose made the container of something else than the last release's containers, labels kept.

    A container's hash never changes, so one made anew by hand has another id as well. Into the hash of what lives in
    another container goes that one's id, so it says nothing there.
    """
    known = recorded.config_hashes.values()
    return bool(known) and not service.bound_to and container.config_hash not in known


def compare_services(old: DesiredService, new: DesiredService) -> list[Reason]:
    """Return what differs: the image, parts of the definition by name (never by value), content by path."""
    reasons = []
    if old.image != new.image:
        reasons.append(Reason("image", f"image: {old.image} -> {new.image}"))
    if parts := [part for part in changed_parts(old.definition, new.definition) if part != "image"]:
        reasons.append(Reason("definition", f"changed: {', '.join(parts)}"))
    paths = {*old.contents, *new.contents}
    if changed := sorted(path for path in paths if old.contents.get(path) != new.contents.get(path)):
        reasons.append(Reason("content", f"new content: {', '.join(changed)}"))
    return reasons or [Reason("content", "a secret in its environment has a new value")]


def changed_parts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the parts that differ; of environment and labels each variable and label."""
    parts = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if key in ("environment", "labels") and isinstance(before or {}, Mapping) and isinstance(after or {}, Mapping):
            first, second = before or {}, after or {}
            names = sorted(name for name in {*first, *second} if first.get(name, _ABSENT) != second.get(name, _ABSENT))
            parts += [f"{key}.{name}" for name in names]
        else:
            parts.append(key)
    return parts


_ABSENT = object()


def _start_reasons(
    service: DesiredService, containers: list[ObservedContainer], asleep: frozenset[str]
) -> list[Reason]:
    reasons = []
    for container in containers:
        if container.state in _ALIVE or container.id in asleep:
            continue
        if service.is_sleeper and container.state == "created" and not container.is_half_made:
            continue  # its first request starts it
        if container.exited_zero and service.may_end:
            continue
        if container.state == "exited" and service.may_end:
            reasons.append(Reason("failed", "it ended with a failure"))
        else:
            reasons.append(Reason("stopped", f"its container is {container.state}"))
    return list(dict.fromkeys(reasons))


def _reload_reasons(service: DesiredService, recorded: Recorded, drifted: tuple[str, ...]) -> list[Reason]:
    old = recorded.services.get(service.name)
    known = old.reload_contents if old is not None else {}
    changed = sorted(
        path for path, digest in service.reload_contents.items() if known.get(path) != digest or path in drifted
    )
    return [Reason("content", f"new content: {', '.join(changed)}")] if changed else []


def _follow_migrations(steps: dict[str, Step], services: Mapping[str, DesiredService]) -> bool:
    """What waits for a migration is made anew with it: nobody may write between the dump and the migration.

    Tells whether a step changed.
    """
    moved = False
    for name, service in services.items():
        if service.extras.migrates is None or steps[name].action not in ("create", "recreate", "start"):
            continue
        reason = Reason("migration", f"the migration {name!r} runs before it")
        for dependent in dependents_of(name, services):
            moved |= _make_anew(steps, services[dependent], reason)
    return moved


def _follow_bound(steps: dict[str, Step], services: Mapping[str, DesiredService]) -> bool:
    """What lives in another service's container goes with it; tells whether a step changed."""
    moved = False
    for service in services.values():
        parents = [parent for parent in service.bound_to if _is_replaced(steps.get(parent, _STAYS))]
        if parents:
            reason = Reason("dependency", f"it is bound to {parents[0]!r}, which is made anew")
            moved |= _make_anew(steps, service, reason)
    return moved


def _follow_bound_to_newer(
    steps: dict[str, Step], services: Mapping[str, DesiredService], observed: Observed, recorded: Recorded
) -> None:
    """What the last release knows lives in a container of that release: a newer one came after a kill, or by hand."""

    def are_recorded(service: str) -> list[bool]:
        return [container.id in recorded.config_hashes for container in observed.of(service)]

    for service in services.values():
        newer = [parent for parent in service.bound_to if not all(are_recorded(parent))]
        if newer and any(are_recorded(service.name)):
            reason = Reason("dependency", f"it is bound to {newer[0]!r}, which was made anew after it")
            _make_anew(steps, service, reason)


def _is_replaced(step: Step) -> bool:
    return step.action == "recreate" or any(reason.code == "missing" for reason in step.reasons)


def _make_anew(steps: dict[str, Step], service: DesiredService, reason: Reason) -> bool:
    """Turn a step that leaves a container as it is into ``recreate``; tell whether it was one."""
    step = steps[service.name]
    leaves = step.action in ("none", "reload", "start")
    scales = step.action != "recreate" and any(found.code == "scale" for found in step.reasons)
    if service.scale == 0 or not (leaves or scales):
        return False
    steps[service.name] = replace(step, action="recreate", reasons=(*step.reasons, reason))
    return True


_STAYS = Step("", "none")


def is_migrated(plan: Plan, services: Mapping[str, DesiredService]) -> bool:
    """Whether there are migrations, and every one of them has run, or still runs, as it is declared."""
    migrations = [name for name, service in services.items() if service.extras.migrates is not None]
    return bool(migrations) and all(plan.steps[name].action == "none" for name in migrations)


def dependents_of(name: str, services: Mapping[str, DesiredService]) -> list[str]:
    """Return the services that wait for ``name``, directly or through others, in the order of the project."""
    found: set[str] = {name}
    while True:
        more = {other for other, service in services.items() if found & set(service.depends_on)} - found
        if not more:
            return [other for other in services if other in found and other != name]
        found |= more


def with_methods(plan: Plan, methods: Mapping[str, tuple[Method, str]]) -> Plan:
    """Return the plan with the order in which each recreated service changes hands."""
    steps = {
        name: replace(step, method=methods[name][0], why=methods[name][1]) if name in methods else step
        for name, step in plan.steps.items()
    }
    return replace(plan, steps=steps)
