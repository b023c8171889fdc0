# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment asks of the gateway: to prove a service that it made anew, and to let one rest that it replaces.

Nobody else starts these containers, so that what is awake together always fits into the GPUs, also during a deployment.

A *proof* wakes a service as the first request would, readiness and warm-up call with it. It takes the room that is free
or that idle services make, and no other. If it was asleep before and nobody has asked for it meanwhile, it goes back to
sleep at once.

A service that *rests* lets nobody through and is not woken: requests wait. It is stopped when nothing is in flight any
more, and stays down until another container has its name, its proof is asked for, or ``rest_seconds`` of the settings'
timing are over: whoever asked may have been killed. A gateway that is started anew meanwhile goes on with it. One that
is declared no more is not the gateway's to stop: it is waited for until nothing is in flight.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from .engine import Container, EngineError, MissingContainerError
from .fleet import Fleet
from .state import ServiceState

Outcome = Literal[
    "proven", "rested", "failed", "busy", "no_room", "unknown", "unreachable", "stopping", "in_use", "refused"
]

_POLL_SECONDS = 0.5
_DRAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Report:
    """What came of it.

    ``proven``, ``rested``: as asked. ``failed``: the service does not wake. ``busy``: something is in flight still.
    ``in_use``: the files are, as they are now. ``refused``: one is not. All else says nothing of the service.
    ``cause``: one line, empty where there is nothing to add.
    """

    outcome: Outcome
    cause: str = ""


_STOPPING = Report("stopping", "the gateway ends")


class Commands:
    """The commands, for services of one fleet. A command goes on when the one who asked has gone."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._locks: dict[str, asyncio.Lock] = {}

    async def prove(self, name: str) -> Report:
        """Wake a service to see that it can be woken; put it back to sleep if it slept."""
        state = await self._find(name)
        if state is None:
            return Report("unknown", "the gateway knows no such service")
        self._fleet.end_rest(state)
        async with self._locks.setdefault(name, asyncio.Lock()):
            return await self._prove(state)

    def _longest_wake_seconds(self, state: ServiceState) -> float:
        """Return how long a proof may take: a wake that requests of clients want waits for room without end."""
        warm_up = state.config.warm_up.timeout_seconds if state.config.warm_up else 0.0
        return self._fleet.timing.proof_room_seconds + state.config.wake_seconds + warm_up

    def _no_room(self, state: ServiceState) -> Report:
        if state.rests_until:
            return Report("no_room", "it is about to be replaced")
        return Report("no_room", f"its GPUs had no room for it within {self._fleet.timing.proof_room_seconds:g} s")

    async def _prove(self, state: ServiceState) -> Report:
        woken_by_request = False
        until = _now() + self._longest_wake_seconds(state)
        while True:
            if refusal := self._refusal(state):
                return refusal
            if state.transition is None:
                try:
                    container = await self._fleet.look(state)
                except MissingContainerError as error:
                    return _report("failed", str(error))
                except EngineError as error:
                    return _report("unreachable", str(error))
            if state.transition is None:
                break
            woken_by_request = state.phase == "waking"
            if _now() >= until:
                return self._no_room(state)
            await asyncio.wait({state.transition}, timeout=until - _now())
        if state.phase == "awake":
            return Report("proven")
        if state.phase == "failed" and woken_by_request and state.retry_at:
            return _report("failed", state.cause)
        return await self._wake(state, container)

    async def _wake(self, state: ServiceState, container: Container) -> Report:
        began = _now()
        state.proof_until = began + self._fleet.timing.proof_room_seconds
        try:
            await asyncio.wait({self._fleet.wake(state)}, timeout=self._longest_wake_seconds(state))
        finally:
            state.proof_until = None
        if state.woke_at >= began:
            await self._put_back(state, was_running=container.holds_resources)
            return Report("proven")
        if refusal := self._refusal(state):
            return refusal
        if state.phase == "failed":
            return _report("failed", state.cause)
        if state.phase == "unknown":
            return Report("unreachable", "the engine did not answer; see the gateway's log")
        return self._no_room(state)

    async def _put_back(self, state: ServiceState, *, was_running: bool) -> None:
        is_wanted = state.grants or state.waiting or was_running or state.adopted
        if not is_wanted and state.transition is None and state.phase == "awake":
            await asyncio.wait({self._fleet.put_to_sleep(state, "proof")})

    async def rest(self, name: str, seconds: float = _DRAIN_SECONDS) -> Report:
        """Stop a service when nothing is in flight, within ``seconds``, and keep it down for its replacement.

        It is never cut here: one that is ``busy`` still runs, and gets no new requests either.
        """
        state = self._fleet.states.get(name)
        until = _now() + seconds
        if state is None:
            return await self._drain(name, until)
        self._fleet.let_rest(state, seconds + self._fleet.timing.rest_seconds)
        report = await self._rest(state, until)
        if state.rests_until:
            self._fleet.let_rest(state, self._fleet.timing.rest_seconds)
        return report

    async def _drain(self, name: str, until: float) -> Report:
        """Wait until nothing is in flight to a service that is declared no more: who asked removes it."""
        # One that ends has given up looking after it.
        while not self._fleet.is_closing:
            left = self._fleet.find_left(name)
            if left is None:
                return Report("rested", "the gateway knows no such service")
            in_flight = await self._fleet.count_left(left)
            if in_flight == 0 and _now() - left.last_grant >= self._fleet.timing.dial_seconds:
                return Report("rested")
            if _now() >= until:
                return _busy("declared no more", in_flight)
            await asyncio.sleep(_POLL_SECONDS)
        return _STOPPING

    async def _rest(self, state: ServiceState, until: float) -> Report:
        report: Report | None = None
        while report is None:
            if refusal := self._refusal(state):
                return refusal
            report = await self._try_to_rest(state, is_late=_now() >= until)
            if report is None and state.transition is not None:
                await asyncio.wait({state.transition}, timeout=max(until - _now(), 0.0))
            elif report is None:
                await asyncio.sleep(_POLL_SECONDS)
        return report

    async def _try_to_rest(self, state: ServiceState, *, is_late: bool) -> Report | None:
        if state.transition is None:
            try:
                container = await self._fleet.look(state)
            except MissingContainerError:
                return Report("rested", "there is no container")
            except EngineError as error:
                return _report("unreachable", str(error)) if is_late else None
            if state.transition is None and not container.holds_resources:
                return Report("rested")
            if state.phase == "failed" and state.transition is None:
                return _report("rested", f"nobody is let through to it: {state.cause}")
            if state.is_idle(_now(), self._fleet.timing):
                self._fleet.put_to_sleep(state, "rest")
                return None
        if not is_late:
            return None
        return _busy(state.phase, state.connections)

    async def _find(self, name: str) -> ServiceState | None:
        """Return a service; one that was declared just now is known in a moment."""
        until = _now() + self._fleet.timing.known_seconds
        while name not in self._fleet.states and _now() < until:
            await asyncio.sleep(_POLL_SECONDS)
        return self._fleet.states.get(name)

    def _refusal(self, state: ServiceState) -> Report | None:
        if self._fleet.is_closing:
            return _STOPPING
        return Report("unknown", "the service was removed meanwhile") if state.removed else None


def _report(outcome: Outcome, cause: str) -> Report:
    return Report(outcome, " ".join(cause.split()))


def _busy(what: str, in_flight: int | None) -> Report:
    counted = "what is in flight is not known" if in_flight is None else f"{in_flight} in flight"
    return Report("busy", f"it is {what}, {counted}")


def _now() -> float:
    return asyncio.get_running_loop().time()
