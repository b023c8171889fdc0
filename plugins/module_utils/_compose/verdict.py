# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a service is what it should be: a pure judgement of its containers at one moment."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from .._errors import PlatformError
from .desired import IDENTITY_LABEL, SERVICE_LABEL, DesiredService
from .unchanged import RESTARTED_SETTLE_SECONDS

#: A container that came back this often within the watch does not come up by waiting.
CRASH_LOOP_RESTARTS = 3

_ENGINE_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?(?:Z|([+-][0-9]{2}:[0-9]{2}))"
)

Kind = Literal["healthy", "running", "completed", "asleep", "pending", "failed"]


@dataclass(frozen=True)
class InspectedContainer:
    """What the verdict needs of ``GET /containers/ID/json``."""

    id: str
    name: str
    service: str
    identity: str
    status: str
    exit_code: int
    oom_killed: bool
    restart_count: int
    started_at: float
    has_check: bool
    health: str
    health_output: str
    error: str
    #: When its last health check began, Unix seconds.
    checked_at: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """The judgement, why, and of which container. ``recheck_at``: when time alone may change it (Unix seconds)."""

    kind: Kind
    cause: str = ""
    container: InspectedContainer | None = None
    recheck_at: float | None = None

    @property
    def is_good(self) -> bool:
        return self.kind in ("healthy", "running", "completed", "asleep")


def parse_container(found: Mapping[str, Any]) -> InspectedContainer:
    """Return the engine's inspect answer as a value."""
    state, labels = found["State"], found["Config"].get("Labels") or {}
    health = state.get("Health") or {}
    checks = health.get("Log") or []
    return InspectedContainer(
        id=found["Id"],
        name=found["Name"].removeprefix("/"),
        service=labels.get(SERVICE_LABEL, ""),
        identity=labels.get(IDENTITY_LABEL, ""),
        status=state["Status"],
        exit_code=state["ExitCode"],
        oom_killed=bool(state.get("OOMKilled")),
        restart_count=found.get("RestartCount", 0),
        started_at=parse_time(state["StartedAt"]),
        has_check=bool(health),
        health=health.get("Status", ""),
        health_output=str(checks[-1].get("Output", "")).strip() if checks else "",
        error=state.get("Error", ""),
        checked_at=parse_time(checks[-1]["Start"]) if checks else 0.0,
    )


def parse_time(text: str) -> float:
    """Return Unix seconds of the engine's time, like ``2026-11-20T10:00:00.123456789Z``; 0 for its zero time.

    That of a health check is the host's local time, with its distance from UTC in the place of the ``Z``.
    Python 3.10 reads no more than six digits of a second.

    :raises PlatformError: it is no such time.
    """
    found = _ENGINE_TIME.fullmatch(text)
    try:
        seconds = datetime.datetime.fromisoformat(f"{found[1]}{found[3] or '+00:00'}" if found else "").timestamp()
    except ValueError:
        raise PlatformError(
            f"Cannot read the engine's time {text!r}: it is not of the form 2026-11-20T10:00:00.123456789Z; "
            "report this with the engine's version."
        ) from None
    return 0.0 if text.startswith("0001-") else seconds + float((found and found[2]) or 0)


def judge(
    service: DesiredService,
    containers: Iterable[InspectedContainer],
    *,
    now: float,
    asleep: Mapping[str, int],
    oom: frozenset[str] = frozenset(),
    reloaded: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """Return the verdict on a service.

    :param now: the engine's time, Unix seconds.
    :param asleep: container id to exit code, as the gateway recorded it.
    :param oom: containers of which the engine reported an out-of-memory kill during the watch.
    :param reloaded: container id to when it has read its files anew, Unix seconds.
    """
    fitting = [_since_reload(container, reloaded) for container in containers if container.identity == service.identity]
    verdicts = [_judge_container(service, container, now, asleep, oom) for container in fitting]
    for verdict in verdicts:
        if verdict.kind == "failed":
            return verdict
    if len(fitting) < service.scale:
        return Verdict("pending", f"{len(fitting)} of {service.scale} containers are there")
    for verdict in verdicts:
        if verdict.kind == "pending":
            return verdict
    return verdicts[0] if verdicts else Verdict("completed", "its scale is 0")


def _since_reload(container: InspectedContainer, reloaded: Mapping[str, float]) -> InspectedContainer:
    """Return a container without a failed health check that says nothing of it, for it began before the reload."""
    is_old = container.health == "unhealthy" and container.checked_at < reloaded.get(container.id, 0.0)
    return replace(container, health="starting") if is_old else container


def _judge_container(
    service: DesiredService,
    container: InspectedContainer,
    now: float,
    asleep: Mapping[str, int],
    oom: frozenset[str],
) -> Verdict:
    if container.status in ("exited", "dead"):
        return _judge_ended(service, container, asleep, oom)
    # A worker of it may have been killed while its main process runs on: only a container that came back was killed.
    came_back = container.status == "restarting" or container.restart_count > 0
    if came_back and (container.id in oom or container.oom_killed):
        return Verdict("failed", "it was killed because it ran out of memory", container)
    if container.status == "restarting" or _is_looping(service, container, now):
        return _judge_restarting(container)
    if container.status == "created":
        if container.error:
            return Verdict("failed", f"it could not be started: {container.error}", container)
        if service.is_sleeper:
            return Verdict("asleep", "it waits for its first request", container)
        return Verdict("pending", "it is not started yet", container)
    if container.status != "running":
        return Verdict("failed", f"it is {container.status}", container)
    return _judge_running(service, container, now)


def _judge_ended(
    service: DesiredService, container: InspectedContainer, asleep: Mapping[str, int], oom: frozenset[str]
) -> Verdict:
    if asleep.get(container.id) == container.exit_code:
        return Verdict("asleep", "the gateway put it to sleep", container)
    if container.exit_code == 0 and service.may_end:
        return Verdict("completed", "it ended with 0", container)
    cause = f"it ended with exit code {container.exit_code}"
    if container.id in oom or container.oom_killed:
        cause += " because it ran out of memory"
    elif container.error:
        cause += f" ({container.error})"
    elif container.exit_code == 0:
        cause += ", but it is meant to run on (for one that is meant to end: x-modelyard: {one_shot: true})"
    return Verdict("failed", cause, container)


def _is_looping(service: DesiredService, container: InspectedContainer, now: float) -> bool:
    settled = now >= _settled_at(service, container)
    return container.restart_count >= CRASH_LOOP_RESTARTS and not settled and container.health != "healthy"


def _settled_at(service: DesiredService, container: InspectedContainer) -> float:
    """Return when a container has run long enough, Unix seconds."""
    seconds = service.extras.settle_seconds
    return container.started_at + (max(seconds, RESTARTED_SETTLE_SECONDS) if container.restart_count else seconds)


def _judge_restarting(container: InspectedContainer) -> Verdict:
    if container.restart_count >= CRASH_LOOP_RESTARTS:
        cause = f"it crashes again and again: {container.restart_count} restarts, exit code {container.exit_code}"
        return Verdict("failed", cause, container)
    return Verdict("pending", f"it is restarting, exit code {container.exit_code}", container)


def _judge_running(service: DesiredService, container: InspectedContainer, now: float) -> Verdict:
    if service.one_shot:
        return Verdict("pending", "it has not ended yet", container)
    if service.is_sleeper and container.health != "unhealthy":
        # How long it takes to wake is the gateway's to judge.
        return Verdict("healthy" if container.health == "healthy" else "running", "it is awake, or wakes", container)
    if container.has_check and container.health != "none":
        return _judge_health(container)
    settled_at = _settled_at(service, container)
    if now < settled_at:
        return Verdict("pending", "it has not run long enough yet", container, recheck_at=settled_at)
    return Verdict("running", "it runs", container)


def _judge_health(container: InspectedContainer) -> Verdict:
    if container.health == "healthy":
        return Verdict("healthy", "its health check passes", container)
    if container.health == "unhealthy":
        return Verdict("failed", "it is unhealthy", container)
    return Verdict("pending", "its health check has not passed yet", container)
