# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate: wait until every service is what it should be, or say why one is not.

It lives on the engine's events, so a verdict falls when the engine tells, not when a poll comes round.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .._errors import PlatformError
from .asleep import read_sleep_record
from .desired import PROJECT_LABEL, SERVICE_LABEL, DesiredService
from .engine import Engine, EngineError, EventStream
from .observe import is_one_off
from .site import Site
from .verdict import InspectedContainer, Verdict, judge, parse_container

LOG_LINES = 10
_HEARTBEAT_SECONDS = 0.25
#: What can change a verdict. A probe of a health check alone is three events of other kinds.
_TELLING_ACTIONS = frozenset({"start", "die", "oom", "health_status", "pause", "unpause", "destroy"})
#: An event that was missed is made up for after this time.
_SWEEP_SECONDS = 2.0
#: How long a failure waits for the verdicts of services that have started.
DIAGNOSIS_SECONDS = 5.0
#: An engine that is restarted under us gets this long to come back.
ENGINE_SECONDS = 60.0


@dataclass
class Gate:
    """Watches the containers of one project from the moment it is opened; use as a context manager."""

    engine: Engine
    project: str
    site: Site
    #: Container id to when it has read its files anew, Unix seconds: what a health check said before is said no more.
    reloaded: dict[str, float] = field(default_factory=dict)
    _stream: EventStream | None = None
    _oom: set[str] = field(default_factory=set)

    def __enter__(self) -> Gate:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.__exit__()

    def wait(
        self,
        services: Mapping[str, DesiredService],
        *,
        wait_seconds: float,
        still_working: Callable[[], bool] = lambda: False,
        stale: Mapping[str, float] = MappingProxyType({}),
    ) -> dict[str, Verdict]:
        """Return a verdict per service: all good, or at least one failed.

        A failure is not told alone: services that are about to come to a verdict of their own get a few seconds more.

        :param wait_seconds: what is pending after this time has failed.
        :param stale: container id to start time (Unix seconds) of what is about to be replaced or started: as long as
            it is the same it does not count.
        :param still_working: whether the program that makes the containers runs; a failed service ends the wait
            all the same. What it raises passes through.
        """
        deadline = time.monotonic() + wait_seconds
        told_by: float | None = None
        verdicts: dict[str, Verdict] = {}
        dirty = set(services)
        sweep_at = time.monotonic() + _SWEEP_SECONDS
        while True:
            verdicts.update(self.judge({name: services[name] for name in dirty if name in services}, stale))
            if any(verdict.kind == "failed" for verdict in verdicts.values()):
                told_by = told_by or min(deadline, time.monotonic() + DIAGNOSIS_SECONDS)
                if time.monotonic() >= told_by or not any(_is_deciding(verdict) for verdict in verdicts.values()):
                    return verdicts
            elif not still_working() and all(verdict.is_good for verdict in verdicts.values()):
                return verdicts
            elif time.monotonic() >= deadline:
                return {name: _timed_out(verdict, wait_seconds) for name, verdict in verdicts.items()}
            dirty = self._next_dirty(verdicts, deadline)
            if time.monotonic() >= sweep_at:
                dirty |= {name for name, verdict in verdicts.items() if not verdict.is_good}
                sweep_at = time.monotonic() + _SWEEP_SECONDS

    def inspect(self, services: Container[str]) -> list[InspectedContainer]:
        """Return the containers of these services as they are this moment."""
        filters = {"label": [f"{PROJECT_LABEL}={self.project}"]}
        listed = self.engine.get("/containers/json", {"all": "1", "filters": filters})
        return list(
            self._inspect_all(
                entry["Id"]
                for entry in listed
                if entry["Labels"].get(SERVICE_LABEL) in services and not is_one_off(entry["Labels"])
            )
        )

    def _inspect_all(self, ids: Iterable[str]) -> Iterable[InspectedContainer]:
        for container_id in ids:
            # Gone between list and inspect: a container of an older copy, nobody misses it.
            with contextlib.suppress(EngineError):
                yield parse_container(self.engine.get(f"/containers/{container_id}/json"))

    def judge(
        self, services: Mapping[str, DesiredService], stale: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, Verdict]:
        """Return the verdict on each of the services, as of now."""
        if not services:
            return {}
        found = self.inspect(services)
        containers = [container for container in found if stale.get(container.id) != container.started_at]
        asleep = read_asleep(self.site, services.values())
        return {
            name: judge(
                service,
                [container for container in containers if container.service == name],
                now=time.time(),
                asleep=asleep,
                oom=frozenset(self._oom),
                reloaded=self.reloaded,
            )
            for name, service in services.items()
        }

    def _next_dirty(self, verdicts: Mapping[str, Verdict], deadline: float) -> set[str]:
        """Wait for something to happen; return the services that it happened to."""
        rechecks = {name: verdict.recheck_at for name, verdict in verdicts.items() if verdict.recheck_at is not None}
        soonest = min((at - time.time() for at in rechecks.values()), default=_HEARTBEAT_SECONDS)
        timeout = min(_HEARTBEAT_SECONDS, soonest, deadline - time.monotonic())
        dirty: set[str] = set()
        try:
            if self._stream is not None:
                for event in self._stream.read(timeout_seconds=timeout):
                    dirty |= self._take(event)
        except EngineError:
            self._reopen()
            return set(verdicts)
        return dirty | {name for name, at in rechecks.items() if at <= time.time()}

    def _take(self, event: Mapping[str, Any]) -> set[str]:
        action, attributes = event.get("Action", ""), event.get("Actor", {}).get("Attributes", {})
        if action == "oom":
            self._oom.add(event["Actor"]["ID"])
        if action.partition(":")[0] not in _TELLING_ACTIONS:
            return set()
        service = attributes.get(SERVICE_LABEL)
        return {service} if service else set()

    def _open(self) -> None:
        filters = {"type": ["container"], "label": [f"{PROJECT_LABEL}={self.project}"]}
        self._stream = self.engine.events(filters)

    def _reopen(self) -> None:
        if self._stream is not None:
            self._stream.__exit__()
        self._stream = None
        if not self.engine.wait_alive(timeout_seconds=ENGINE_SECONDS):
            raise EngineError(
                f"Cannot watch project {self.project!r}: the Docker engine stopped and did not come back within "
                f"{ENGINE_SECONDS:g} s; start it and run again.",
                status=0,
            )
        self._open()


class GateError(PlatformError):
    """Services are not what they should be. ``verdicts``: service to kind of verdict, of all that were judged."""

    def __init__(self, message: str, verdicts: Mapping[str, str]) -> None:
        super().__init__(message)
        self.verdicts = dict(verdicts)


def _is_deciding(verdict: Verdict) -> bool:
    container = verdict.container
    return verdict.kind == "pending" and container is not None and container.status in ("running", "restarting")


def _timed_out(verdict: Verdict, wait_seconds: float) -> Verdict:
    if verdict.is_good:
        return verdict
    return Verdict("failed", f"{verdict.cause} after {wait_seconds:g} s", verdict.container)


def read_asleep(site: Site, services: Iterable[DesiredService]) -> Mapping[str, int]:
    """Return container id to exit code of what the gateway put to sleep; nothing where none of the services sleeps."""
    return read_sleep_record(site.asleep_path).codes if any(service.extras.sleeps for service in services) else {}


def explain(engine: Engine, service: str, verdict: Verdict, mask: Callable[[str], str]) -> str:
    """Return the cause of a failed service with its last health output and log lines, secrets masked."""
    parts = [f"service {service!r}: {verdict.cause}"]
    container = verdict.container
    if container is not None:
        if container.health_output and container.health != "healthy":
            parts.append(f"last health check: {container.health_output[-500:]}")
        lines = engine.logs(container.id, lines=LOG_LINES).strip()
        parts.append(f"last log lines of {container.name}:\n{lines}" if lines else f"{container.name} logged nothing")
    return mask("\n".join(parts))


def refuse_failed(engine: Engine, verdicts: Mapping[str, Verdict], mask: Callable[[str], str]) -> None:
    """Refuse verdicts of which one is bad.

    :raises GateError: every failed service with its cause.
    """
    failed = {name: verdict for name, verdict in verdicts.items() if verdict.kind == "failed"}
    if failed:
        causes = [explain(engine, name, verdict, mask) for name, verdict in sorted(failed.items())]
        raise GateError("\n".join(causes), {name: verdict.kind for name, verdict in verdicts.items()})
