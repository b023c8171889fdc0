# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a service is woken, and how it is put to sleep. Each runs as the one transition of its service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .engine import Container, Engine, EngineError, MissingContainerError, UnreachableError
from .errors import GatewayError
from .metrics import Metrics
from .room_queue import NobodyWaitsError, RoomQueue
from .services import Call, ServiceConfig
from .sleep_record import SleepRecord
from .state import ServiceState, Timing

LOG = logging.getLogger("modelyard_gateway")
#: Each must find nothing in flight.
READS = 3


class _NotReadyError(Exception):
    """The container runs no more, or was not ready in time."""


class Transitions:
    """Wakes and puts to sleep.

    :param count: what is in flight to a service now; None where that is not known.
    """

    def __init__(
        self,
        engine: Engine,
        record: SleepRecord,
        prober: Callable[[ServiceConfig, Call], Awaitable[bool]],
        count: Callable[[ServiceState], Awaitable[int | None]],
        room: RoomQueue,
        metrics: Metrics,
        timing: Timing,
    ) -> None:
        self._engine, self._record, self._prober, self._count = engine, record, prober, count
        self._room, self._metrics, self._timing = room, metrics, timing

    async def wake(self, state: ServiceState) -> None:
        """Make a service ready, or its state say why it is not. A container that runs already is waited for only."""
        before, state.phase = state.phase, "waking"
        state.wake_began = _now()
        name = state.config.name
        try:
            await self._wake(state)
        except NobodyWaitsError:
            state.phase = before
        except UnreachableError as error:
            # It says nothing of the service. Whether its container was started is not known either.
            LOG.warning("%s", error)
            state.phase, state.retry_at = "unknown", _now() + self._timing.look_seconds
            self._metrics.woke(name, "unreachable")
        except (GatewayError, _NotReadyError) as error:
            await self._look_after_failure(state, error, is_ours=not state.adopted)
            state.fail(str(error), _now(), self._timing)
            LOG.error("Service %r does not wake: %s", name, error)
            self._metrics.woke(name, "failed")
            if state.container is not None:
                self._write_down(self._record.did_not_wake, state.container.id, str(error))

    async def _wake(self, state: ServiceState) -> None:
        container = await self._see(state)
        if container.holds_resources and self._record.is_stopping(container.id):
            # It may answer until the engine kills it. Whoever was let through to it would be cut.
            container = await self._stop(state, container)
        state.adopted = container.holds_resources
        await self._room.take(state)
        began = _now()
        self._record.forget(container.id)
        if state.config.network:
            await self._engine.connect(state.config.network)
        await self._engine.start(state.config.container)
        until = began + state.config.wake_seconds
        await self._until(state, state.config.ready, until)
        if state.config.warm_up:
            await self._until(state, state.config.warm_up, until)
        state.rise(_now())
        self._write_down(self._record.woke, container.id)
        if state.adopted:
            LOG.info("Service %r is awake: it was running.", state.config.name)
            return
        state.wake_seconds = _now() - began
        self._metrics.woke(state.config.name, "ready", state.wake_seconds)
        LOG.info("Service %r is awake after %.1f s.", state.config.name, state.wake_seconds)

    @staticmethod
    def _write_down(write: Callable[..., None], *facts: str) -> None:
        """Write down how a wake ended, for whoever asks later: it is as it is when that cannot be written."""
        try:
            write(*facts)
        except GatewayError as error:
            LOG.warning("%s", error)

    async def _until(self, state: ServiceState, call: Call, until: float) -> None:
        first: Container | None = None
        look_at = 0.0
        while True:
            if _now() >= look_at:
                first = await self._look(state, first)
                look_at = _now() + self._timing.look_seconds
            if await self._prober(state.config, call):
                return
            if _now() >= until:
                raise _NotReadyError(f"{call.method} {call.path} did not answer {call.status} in time")
            await asyncio.sleep(self._timing.poll_seconds)

    async def _look(self, state: ServiceState, first: Container | None) -> Container | None:
        """See that the container still runs, and is the one that was started."""
        try:
            container = await self._see(state)
        except UnreachableError:
            return first  # the service can come up without the engine's answer
        if container.status != "running":
            raise _NotReadyError(container.why_ended())
        if first is not None and first.run != container.run:
            raise _NotReadyError("it ended and was started again while it woke")
        return container

    async def _look_after_failure(self, state: ServiceState, failure: Exception, *, is_ours: bool) -> None:
        """Stop what we started and did not become ready: it would have memory that others need.

        It is not put on record as asleep. What somebody else started is theirs to stop.
        """
        if isinstance(failure, MissingContainerError):
            state.holds_memory, state.container = False, None
            return
        try:
            container = await self._see(state)
            if container.holds_resources and is_ours and isinstance(failure, _NotReadyError):
                await self._engine.stop(state.config.container, state.config.stop_seconds)
                await self._see(state)
        except GatewayError as error:
            LOG.warning("%s", error)  # its memory stays taken until its end is seen

    async def sleep(self, state: ServiceState, why: str) -> None:
        """Stop a service that is ``sleeping``, which nobody is let through to, unless something is in flight."""
        known = state.container
        try:
            container = await self._see(state)
            if known is not None and container.holds_resources and known.run != container.run:
                # Somebody has started it anew just now, and may be waiting for it: it is in use when it is ready.
                state.phase = "unknown"
                return
            if container.holds_resources:
                # Once a stop was begun nobody was let through, so there is nothing to wait for.
                if not self._record.is_stopping(container.id) and not await self._is_quiet(state, why):
                    state.phase = "awake"
                    return
                container = await self._stop(state, container)
        except GatewayError as error:
            # It may run or not: it is looked at again, and is in use until then.
            LOG.warning("%s", error)
            state.phase = "unknown"
            return
        if self.settle_ended(state, container):
            LOG.info("Service %r is asleep (%s).", state.config.name, why)
            self._metrics.slept(state.config.name, why)

    async def _stop(self, state: ServiceState, container: Container) -> Container:
        """Stop a container as one that is put to sleep, and return what it is then.

        :raises GatewayError: it does not stop. If the engine said so, it is not stopping any more.
        """
        self._record.intend(container.id)
        try:
            await self._engine.stop(state.config.container, state.config.stop_seconds)
            ended = await self._see(state)
            if ended.holds_resources:
                raise EngineError(
                    f"Cannot stop container {state.config.container!r}: it is {ended.status} after that; "
                    "see its restart policy."
                )
        except UnreachableError:
            raise
        except EngineError:
            self._record.forget(container.id)
            raise
        return ended

    async def _is_quiet(self, state: ServiceState, why: str) -> bool:
        for read in range(READS):
            if read:
                await asyncio.sleep(self._timing.read_gap_seconds)
            state.count(await self._count(state), _now())
            if state.connections != 0 or (state.waiting and why in ("idle", "proof")):
                return False
        return True

    def settle_ended(self, state: ServiceState, container: Container) -> bool:
        """Say of a container that does not run whether it sleeps or failed; tell whether it sleeps."""
        never_ran = container.status == "created" and not container.error and not state.failures
        try:
            if never_ran or self._record.is_asleep(container):
                state.rest()
                return True
        except GatewayError as error:
            LOG.warning("%s", error)  # the next look tries again
            return False
        if state.phase in ("awake", "sleeping"):
            state.fail(container.why_ended(), _now(), self._timing)
            LOG.error("Service %r failed: %s", state.config.name, container.why_ended())
        elif state.phase != "failed":
            # Nobody saw how it came to that: a request may try at once.
            state.set_failed(container.why_ended())
        return False

    async def _see(self, state: ServiceState) -> Container:
        container = await self._engine.inspect(state.config.container)
        state.see(container)
        return container


def _now() -> float:
    return asyncio.get_running_loop().time()
