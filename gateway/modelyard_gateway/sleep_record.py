# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of what sleeps: so that whoever looks knows a container put to sleep from one that failed.

The file is the one that ``compose_project`` reads for its verdicts, ``state/gateway/asleep.json`` of the site::

    {"format": 1, "containers": {"ID": 143}, "stopping": ["ID"], "woken": ["ID"], "failed": {"ID": "why"},
     "resting": {"chat": {"container": "ID", "until": 1800000000}},
     "running": {"site-inference-chat-1": {"service": "chat", "id": "ID", "port": 8080, "vram_mib": {"0": 24000},
                                           "addresses": ["172.30.0.2"]}}}

``containers``: id to exit code. Whatever exited and is not in it with this very code has failed. ``stopping``: those
whose code is a guess, because their end was not seen yet. It is written before the stop: a gateway that is killed in
between would otherwise leave a container that looks like a failed one for ever, and the next one would let requests
through to a container that the engine is about to kill.

``woken``: those that became ready once since they were made. ``failed``: those whose last wake failed, and why. By
these ``compose_project`` knows what became of a service that it could not prove.

``resting``: services whose container is about to be replaced, and until when (Unix seconds) they wait for that. A
gateway that is started anew meanwhile must not wake the old one.

``running``: by name, containers that have memory of their GPUs or may have it, what they were made for, and where they
are dialled. A gateway that is started anew counts those of services that are declared no more, or otherwise, by it. It
is as it was at the last look, seconds ago.

A record goes before its container is started. One that is then killed for memory (137) must not be taken for one that
was once put to sleep by force (137 too).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass

from .engine import Container
from .errors import GatewayError
from .files import FORMAT, Fields, parse_fields, read_bytes, write_json
from .services import MOST_MIB

#: Of what ends by SIGTERM, as ``init: true`` reports it.
_USUAL_EXIT_CODE = 143
_LAST_SECOND = 1e11


@dataclass(frozen=True)
class Rest:
    """Which container is about to be replaced, empty where that is not known, and until when that may take."""

    container: str
    until: float


@dataclass(frozen=True)
class Running:
    """A container that has memory of its GPUs, or may have it. ``addresses``: none where they are not known."""

    service: str
    container: str
    id: str
    port: int
    vram_mib: Mapping[str, int]
    addresses: tuple[str, ...] = ()


class SleepRecord:
    """The file, and what it says.

    :param wall: Unix seconds.
    """

    def __init__(self, path: str, wall: Callable[[], float] = time.time) -> None:
        self._path, self._wall = path, wall
        self._codes: dict[str, int] = {}
        self._stopping: set[str] = set()
        self._woken: set[str] = set()
        self._failed: dict[str, str] = {}
        self._resting: dict[str, Rest] = {}
        #: By the container's name.
        self.running: dict[str, Running] = {}

    def load(self) -> None:
        """Read what an earlier gateway wrote.

        :raises GatewayError: it cannot be read, or is damaged: nothing is known then, and nothing may be guessed.
        """
        if not os.path.lexists(self._path):
            return
        fields = parse_fields(read_bytes(self._path), self._path)
        self._codes = fields.numbers("containers", least=-1, most=255)
        self._stopping = set(fields.texts("stopping")) if "stopping" in fields.found else set()
        self._woken = set(fields.texts("woken")) if "woken" in fields.found else set()
        failed = fields.inner("failed")
        self._failed = {} if failed is None else {key: failed.text(key) for key in failed.found}
        self._resting = {name: _parse_rest(inner) for name, inner in fields.named("resting", {}).items()}
        self.running = {name: _parse_running(name, inner) for name, inner in fields.named("running", {}).items()}

    def is_asleep(self, container: Container) -> bool:
        """Whether we stopped this container, and it ended as it did then.

        A stop whose end was not seen is known by this call: its exit code is written down.

        :raises GatewayError: that could not be written.
        """
        if container.id in self._stopping:
            if container.oom_killed:
                self.forget(container.id)
                return False
            self.confirm(container.id, container.exit_code)
        return self._codes.get(container.id) == container.exit_code

    def is_stopping(self, container_id: str) -> bool:
        """Whether a stop of it was begun whose end was not seen. The engine may still be at it."""
        return container_id in self._stopping

    def intend(self, container_id: str) -> None:
        """Say that the container is about to be stopped.

        :raises GatewayError: it could not be written: do not stop it.
        """
        codes = {**self._codes, container_id: self._codes.get(container_id, _USUAL_EXIT_CODE)}
        self._write(codes, self._stopping | {container_id})

    def confirm(self, container_id: str, exit_code: int) -> None:
        """Say how a container that was put to sleep ended.

        :raises GatewayError: it could not be written; :meth:`is_asleep` makes up for it.
        """
        self._write({**self._codes, container_id: exit_code}, self._stopping - {container_id})

    def forget(self, container_id: str) -> None:
        """Say that a container is not asleep (any more).

        :raises GatewayError: it could not be written: do not start it.
        """
        if container_id in self._codes or container_id in self._stopping:
            codes = {key: code for key, code in self._codes.items() if key != container_id}
            self._write(codes, self._stopping - {container_id})

    def woke(self, container_id: str) -> None:
        """Say that a container became ready.

        :raises GatewayError: it could not be written.
        """
        if container_id not in self._woken or container_id in self._failed:
            self._woken.add(container_id)
            self._failed.pop(container_id, None)
            self._write(self._codes, self._stopping)

    def did_not_wake(self, container_id: str, cause: str) -> None:
        """Say why a container did not become ready.

        :raises GatewayError: it could not be written.
        """
        if self._failed.get(container_id) != cause:
            self._failed[container_id] = cause
            self._write(self._codes, self._stopping)

    def rest(self, service: str, container_id: str, seconds: float) -> None:
        """Say that the container of a service is to be replaced within so long.

        :raises GatewayError: it could not be written.
        """
        self._resting[service] = Rest(container_id, self._wall() + seconds)
        self._write(self._codes, self._stopping)

    def end_rest(self, service: str) -> None:
        """Say that a service rests no more.

        :raises GatewayError: it could not be written.
        """
        if self._resting.pop(service, None) is not None:
            self._write(self._codes, self._stopping)

    def rest_of(self, service: str) -> tuple[str, float]:
        """Return the container of a service that rests, and for how many seconds it still does; 0 if it does not."""
        rest = self._resting.get(service, Rest("", 0.0))
        return rest.container, max(rest.until - self._wall(), 0.0)

    def note_running(self, found: Iterable[Running]) -> None:
        """Say which containers have memory of their GPUs, or may have it: these and no others.

        :raises GatewayError: it could not be written.
        """
        before, self.running = self.running, {one.container: one for one in found}
        if self.running != before:
            try:
                self._write(self._codes, self._stopping)
            except GatewayError:
                self.running = before  # so that the next look tries again
                raise

    def keep(self, container_ids: Iterable[str]) -> None:
        """Forget all others: containers that were made anew have other ids.

        :raises GatewayError: it could not be written.
        """
        kept = set(container_ids)
        if not {*self._codes, *self._woken, *self._failed} <= kept:
            self._woken &= kept
            self._failed = {key: cause for key, cause in self._failed.items() if key in kept}
            codes = {key: code for key, code in self._codes.items() if key in kept}
            self._write(codes, self._stopping & kept)

    def _write(self, codes: dict[str, int], stopping: set[str]) -> None:
        content = {
            "format": FORMAT,
            "containers": codes,
            "stopping": sorted(stopping),
            "woken": sorted(self._woken),
            "failed": self._failed,
            "resting": {name: asdict(rest) for name, rest in self._resting.items() if rest.until > self._wall()},
            "running": {name: _told(one) for name, one in self.running.items()},
        }
        write_json(self._path, content)
        self._codes, self._stopping = codes, stopping


def _parse_rest(fields: Fields) -> Rest:
    return Rest(fields.text("container"), fields.number("until", least=0, most=_LAST_SECOND))


def _parse_running(name: str, fields: Fields) -> Running:
    return Running(
        service=fields.text("service"),
        container=name,
        id=fields.text("id"),
        port=int(fields.number("port", least=1, most=65535)),
        vram_mib=fields.numbers("vram_mib", least=1, most=MOST_MIB),
        addresses=tuple(fields.texts("addresses")),
    )


def _told(running: Running) -> dict[str, object]:
    return {key: value for key, value in asdict(running).items() if key != "container"}
