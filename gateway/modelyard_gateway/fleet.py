# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All services together: who is let through now, who waits, and what is seen from time to time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

from .decision import Denial
from .engine import Container, Engine, EngineError, MissingContainerError
from .errors import GatewayError
from .inflight import Endpoint, to_service
from .metrics import Metrics
from .rate import whole_seconds
from .room_queue import RoomQueue
from .services import Call, Declared, ServiceConfig
from .sleep_record import Running, SleepRecord
from .state import Left, ServiceState, Timing
from .transitions import READS, Transitions

LOG = logging.getLogger("modelyard_gateway")

_POLL_SECONDS = 0.25
#: What is complained of beside services, whose names begin otherwise.
_CONNECTIONS, _RECORD = "/connections", "/record"
#: Whether a service answers a call as it should.
Prober = Callable[[ServiceConfig, Call], Awaitable[bool]]
#: The open connections of the gate.
Reader = Callable[[], Awaitable[Counter[Endpoint]]]


class Fleet:
    """The services and what moves them.

    Each service has at most one *transition* at a time, a task that wakes it or puts it to sleep. Requests wait for
    that task and do not own it: when they leave, it goes on. Everything runs in one event loop, so that between two
    ``await`` nothing changes: this is the lock.
    """

    def __init__(
        self, engine: Engine, record: SleepRecord, prober: Prober, reader: Reader, metrics: Metrics, timing: Timing
    ) -> None:
        self.states: dict[str, ServiceState] = {}
        #: Services that may be asked for, and their containers' names here.
        self.replicas: dict[str, tuple[str, ...]] = {}
        self.room = RoomQueue(self.states, self.put_to_sleep, timing)
        self._engine, self._record, self._reader, self.timing = engine, record, reader, timing
        self._metrics = metrics
        self._transitions = Transitions(engine, record, prober, self._count, self.room, metrics, timing)
        self._loops: list[asyncio.Task[None]] = []
        self._complaints: dict[str, str] = {}
        self._closing = False

    # What is declared

    def use(self, declared: Declared) -> None:
        """Serve these services from now on. Those that stay keep what is known of them."""
        now = _now()
        for name, state in list(self.states.items()):
            config = declared.services.get(name)
            if config is None or config.container != state.config.container:
                self._remove(name)
            else:
                state.config = config
        for name, config in declared.services.items():
            if name not in self.states:
                # What an earlier gateway let through is not known: to this one, everything was in use just now.
                self.states[name] = ServiceState(config, last_grant=now, last_used=now)
                self._recall(self.states[name])
                self._go_on_resting(self.states[name], now)
        containers = {config.container for config in declared.services.values()}
        for left, ending in self.room.left.items():
            if left.running.container in containers:
                ending.cancel()
        known = containers | {left.running.container for left in self.room.left}
        for container, running in self._record.running.items():
            if container not in known:  # its service left before this gateway began
                self._leave(running, now)
        self.replicas = declared.replicas()
        self.room.budget_mib = dict(declared.budget_mib)

    def _recall(self, state: ServiceState) -> None:
        """Note what the container of a service was made for, where it is the one that an earlier gateway has seen."""
        if running := self._record.running.get(state.config.container):
            state.seen_id = running.id
            state.made_for = replace(state.config, port=running.port, vram_mib=running.vram_mib)

    def _go_on_resting(self, state: ServiceState, now: float) -> None:
        """Have a service rest that an earlier gateway was asked to; as long at most as one that rests already."""
        container_id, seconds = self._record.rest_of(state.config.name)
        if seconds:
            state.seen_id = container_id or state.seen_id
            state.rests_until = now + min(seconds, self.timing.rest_seconds)

    def _remove(self, name: str) -> None:
        state = self.states.pop(name)
        state.removed = True
        if state.transition:
            state.transition.cancel()
        if state.holds_memory:
            self._leave(self._running_of(state), state.last_grant)

    def _leave(self, running: Running, last_grant: float) -> None:
        """Count a container's memory until it has ended; others remove it."""
        left = Left(running, last_grant)
        ending = self.room.left[left] = asyncio.create_task(self._wait_for_end(running.container))
        ending.add_done_callback(lambda _task: self.room.left.pop(left))

    def _running_of(self, state: ServiceState) -> Running:
        """Return what is known of a container that has memory, or may have it."""
        config = state.config
        if state.container is None and config.container in self._record.running:
            return self._record.running[config.container]  # nobody has looked at it yet
        return Running(
            service=config.name,
            container=config.container,
            id=state.seen_id,
            port=state.made_for.port,
            vram_mib={**state.made_for.vram_mib, **config.vram_mib},
            addresses=state.container.addresses if state.container else (),
        )

    def _note_running(self) -> None:
        holding = [self._running_of(state) for state in self.states.values() if state.holds_memory]
        try:
            self._record.note_running([*holding, *(left.running for left in self.room.left)])
        except GatewayError as error:
            self._complain(_RECORD, error)
            return
        self._complaints.pop(_RECORD, None)

    async def _wait_for_end(self, container: str) -> None:
        has_ended = False
        while not has_ended:
            try:
                has_ended = await self._engine.has_ended(container)
            except EngineError as error:
                self._complain(container, error)
            await asyncio.sleep(self.timing.look_seconds)

    # Requests

    def scopes_of(self, name: str) -> frozenset[str]:
        """Return the scopes that open a service; of one that is not known its name."""
        state = self.states.get(name)
        return state.config.scopes if state else frozenset((name,))

    def grant(self, name: str) -> bool:
        """Let a request through to a service that is awake; tell whether it is."""
        state = self.states.get(name)
        if state is None or not state.is_open:
            return False
        state.use(_now())
        return True

    async def hold(self, name: str) -> Denial | None:
        """Wake a service for an authorised request and wait for it, as long as a request may be held.

        :returns: None when the request is let through.
        """
        state = self.states.get(name)
        if state is None:
            return Denial("unknown_service", 5)
        if state.waiting >= self.timing.most_waiting:
            return Denial("crowded", whole_seconds(state.retry_seconds(_now())))
        state.waiting += 1
        try:
            return await self._hold(state)
        finally:
            state.waiting -= 1
            state.wanted_at = _now()

    async def _hold(self, state: ServiceState) -> Denial | None:
        until = _now() + state.config.hold_seconds
        while True:
            now = _now()
            if refusal := self._refusal(state, now):
                return refusal
            if state.is_open:
                state.use(now)
                return None
            may_wake = state.phase != "awake" and not state.rests_until and now >= state.retry_at
            if state.transition is None and may_wake:
                self.wake(state)
            if now >= until:
                return Denial("waking", whole_seconds(state.retry_seconds(now)))
            await self._wait_for_change(state, until - now)

    async def _wait_for_change(self, state: ServiceState, seconds: float) -> None:
        if state.transition is None:  # it is drained for another service, or the engine did not answer
            await asyncio.sleep(min(seconds, _POLL_SECONDS))
            return
        # Unlike wait_for, this does not cancel what it waits for: neither after that time nor when the client leaves.
        await asyncio.wait({state.transition}, timeout=seconds)

    def _refusal(self, state: ServiceState, now: float) -> Denial | None:
        if self._closing:
            return Denial("stopping", 2)
        if state.removed:
            return Denial("removed", 5)
        if state.phase == "failed" and state.transition is None and now < state.retry_at:
            return Denial("failed", whole_seconds(state.retry_at - now))
        return None

    # Transitions

    @property
    def is_closing(self) -> bool:
        """Whether it ends: nothing is begun any more."""
        return self._closing

    def wake(self, state: ServiceState) -> asyncio.Task[None]:
        """Begin to wake a service that has no transition."""
        return self._begin(state, self._transitions.wake(state))

    def put_to_sleep(self, state: ServiceState, why: str) -> asyncio.Task[None]:
        """Begin to put a service to sleep that is awake and has no transition.

        :param why: ``idle`` and ``proof`` call it off if somebody wants the service meanwhile; ``room`` and ``rest``
            do not.
        """
        # Now, and not when the task runs: whoever asks in between would be let through to what is being stopped.
        state.phase = "sleeping"
        return self._begin(state, self._transitions.sleep(state, why))

    def let_rest(self, state: ServiceState, seconds: float) -> None:
        """Let nobody through to a service for so long, nor wake it, also if this gateway is started anew."""
        state.rests_until = _now() + seconds
        try:
            self._record.rest(state.config.name, state.seen_id, seconds)
        except GatewayError as error:
            LOG.warning("%s", error)

    def end_rest(self, state: ServiceState) -> None:
        """Have a service rest no more."""
        state.rests_until = 0.0
        try:
            self._record.end_rest(state.config.name)
        except GatewayError as error:
            LOG.warning("%s", error)

    def _begin(self, state: ServiceState, moving: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        state.moves += 1
        state.transition = asyncio.create_task(moving)
        state.transition.add_done_callback(lambda task: self._end(state, task))
        return state.transition

    def _end(self, state: ServiceState, task: asyncio.Task[None]) -> None:
        state.transition = None
        if task.cancelled() or task.exception() is None:
            return
        # A mistake of ours. What became of the container is found out by looking, and not in a hurry.
        LOG.error(
            "Cannot move service %r: a bug in the gateway; report it.", state.config.name, exc_info=task.exception()
        )
        state.phase, state.retry_at = "unknown", _now() + self.timing.first_backoff_seconds

    # What is seen

    async def observe(self) -> None:
        """Look at all containers: others start and stop them too, and they fail."""
        # All at once: a proxy that hangs holds up one look, and not one after the other.
        seen = await asyncio.gather(*(self._observe_one(state) for state in self.states.values()))
        if None not in seen:
            try:
                # And of those that were made anew during a slow look.
                kept = {container.id for container in seen if container}
                self._record.keep(kept | {state.seen_id for state in self.states.values()})
            except GatewayError as error:
                LOG.warning("%s", error)

    async def _observe_one(self, state: ServiceState) -> Container | None:
        try:
            container = await self.look(state)
        except MissingContainerError:
            return None
        except EngineError as error:
            self._complain(state.config.name, error)
            return None
        self._complaints.pop(state.config.name, None)
        return container

    async def look(self, state: ServiceState) -> Container:
        """Return what a service's container is now, and act on it unless a transition is at it.

        :raises EngineError: there is none, or no answer.
        """
        moves = state.moves
        try:
            container = await self._engine.inspect(state.config.container)
        except MissingContainerError as error:
            if state.transition is None and state.moves == moves:
                state.holds_memory, state.container = False, None
                if not state.rests_until:  # its replacement has the name in a moment
                    state.set_failed(str(error))
            raise
        if state.transition is None and state.moves == moves and not state.removed:
            self._compare(state, container)
        return container

    def _compare(self, state: ServiceState, container: Container) -> None:
        known = state.container
        if state.see(container):
            state.phase = "unknown"
        if not container.holds_resources:
            self._transitions.settle_ended(state, container)
            return
        if self._record.is_stopping(container.id):
            self.put_to_sleep(state, "idle")  # what an earlier gateway began, or this one when the engine was away
            return
        same_run = known is not None and known.run == container.run
        if state.phase == "awake" and not same_run:
            # The engine brings back what its restart policy says, also what was killed for memory.
            LOG.error("Service %r ended while it was awake, and runs again; see its log.", state.config.name)
        if (state.phase != "awake" or not same_run) and _now() >= state.retry_at:
            # Somebody else started it, or an earlier gateway did. It is in use as soon as it is ready.
            self._begin(state, self._transitions.wake(state))

    async def watch(self) -> None:
        """Look at the connections, and put to sleep what is idle for too long or more than the GPUs have."""
        connections = await self._read()
        now = _now()
        for state in self.states.values():
            if now >= state.rests_until:
                state.rests_until = 0.0  # whoever was to replace it did not come back
            if state.phase == "awake":
                state.count(self._in_flight(state, connections), now)
                if now - state.woke_at >= self.timing.stable_seconds:
                    state.failures = 0
        for state in list(self.states.values()):
            if state.is_idle_too_long(now, self.timing):
                self.put_to_sleep(state, "idle")
        self.room.relieve(now)
        self._note_running()

    async def _count(self, state: ServiceState) -> int | None:
        return self._in_flight(state, await self._read())

    async def _read(self) -> Counter[Endpoint] | None:
        try:
            connections = await self._reader()
        except GatewayError as error:
            self._complain(_CONNECTIONS, error)
            return None
        self._complaints.pop(_CONNECTIONS, None)
        return connections

    def _complain(self, subject: str, error: GatewayError) -> None:
        """Log what is wrong with a service, the connections or the record, once and not at every look."""
        if self._complaints.get(subject) != str(error):
            self._complaints[subject] = str(error)
            LOG.warning("%s", error)

    @staticmethod
    def _in_flight(state: ServiceState, connections: Counter[Endpoint] | None) -> int | None:
        if connections is None or state.container is None or not state.container.addresses:
            return None
        # What was dialled at a port that is declared no more is in flight as before.
        ports = {state.config.port, state.made_for.port}
        return sum(to_service(connections, state.container.addresses, port) for port in ports)

    def find_left(self, name: str) -> Left | None:
        """Return a container of a service that is declared no more; None where none may run."""
        return next((left for left in self.room.left if left.running.service == name), None)

    async def count_left(self, left: Left) -> int | None:
        """Return what is in flight to a container that left, by the most of several reads; None if not known."""
        most = 0
        for _read in range(READS):
            connections = await self._read()
            if connections is None or not left.running.addresses:
                return None
            most = max(most, to_service(connections, left.running.addresses, left.running.port))
            await asyncio.sleep(self.timing.read_gap_seconds)
        return most

    # Its life

    def start(self, died: Callable[[], None]) -> None:
        """Begin to look after the services.

        :param died: called if that ends by a mistake of ours. A gateway that begins anew is right again; one that goes
            on without looking is not.
        """
        self._loops = [
            asyncio.create_task(self._repeat(self.observe, self.timing.observe_seconds)),
            asyncio.create_task(self._repeat(self.watch, self.timing.watch_seconds)),
        ]
        for loop in self._loops:
            loop.add_done_callback(lambda task: _tell_of_death(task, died))

    async def _repeat(self, look: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            await look()
            await asyncio.sleep(seconds)

    def refuse(self) -> None:
        """Tell whoever waits, or comes, to come again, and leave what was begun as it is, on record."""
        self._closing = True
        for state in self.states.values():
            if state.transition:
                state.transition.cancel()

    async def close(self) -> None:
        """End all of it."""
        self.refuse()
        ours = [*self._loops, *self.room.left.values()]
        tasks = [*ours, *(state.transition for state in self.states.values() if state.transition)]
        for task in ours:
            task.cancel()
        self._note_running()
        await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _tell_of_death(task: asyncio.Task[None], died: Callable[[], None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        LOG.critical("Cannot look after the services: a bug in the gateway; report it.", exc_info=task.exception())
        died()
