# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for room in the GPUs: one after the other, and nobody for ever.

Who needs a GPU waits behind whoever came before and needs the same one. A small service does not slip in before a
large one: the large one would never come up. The first one gets room by putting idle services to sleep. If busy ones
are in its way, it waits for them; after a while they get no new requests (which wait in turn, behind it), so that a
service that is never idle shuts out nobody. A proof is no request: it takes what is free or idle, drains nobody, and
lets everybody pass. What is in flight is never cut: a stream that does not end by then wins,
and its service is left alone for as long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from .room import choose_sleepers, shortage_mib, used_mib
from .services import Mebibytes
from .state import Left, ServiceState, Timing

_POLL_SECONDS = 0.25


class NobodyWaitsError(Exception):
    """The service got no room, and nobody wants it any more, or it rests."""


class RoomQueue:
    """Who waits for room, and what is used of each GPU."""

    def __init__(
        self,
        states: Mapping[str, ServiceState],
        put_to_sleep: Callable[[ServiceState, str], asyncio.Task[None]],
        timing: Timing,
    ) -> None:
        self.budget_mib: Mebibytes = {}
        #: Those that are declared no more and may have memory still, and who waits for their end.
        self.left: dict[Left, asyncio.Task[None]] = {}
        self._states, self._put_to_sleep, self._timing = states, put_to_sleep, timing
        self._queue: list[ServiceState] = []

    def used_mib(self) -> dict[str, int]:
        """Return what is used of each GPU, or may be."""
        holding = [self._needs(state) for state in self._states.values() if state.holds_memory]
        return used_mib([*holding, *(self._of_ours(left.running.vram_mib) for left in self.left)])

    def _needs(self, state: ServiceState) -> dict[str, int]:
        """Return what a service takes of each GPU: as it is declared, and of others what its container was made for."""
        return {**self._of_ours(state.made_for.vram_mib), **state.config.vram_mib}

    def _of_ours(self, needs: Mebibytes) -> dict[str, int]:
        return {gpu: mib for gpu, mib in needs.items() if gpu in self.budget_mib}

    async def take(self, state: ServiceState) -> None:
        """Return when ``state`` has its memory, which is its own from then on.

        :raises NobodyWaitsError: all who wanted it have been gone for a while, or it is about to be replaced.
        """
        if state.holds_memory:
            return
        self._queue.append(state)
        began = _now()
        try:
            while not self._grab(state):
                await self._make_room(state, began)
        finally:
            self._queue.remove(state)
            self._undrain(state)

    def _grab(self, state: ServiceState) -> bool:
        if state.rests_until:
            raise NobodyWaitsError
        if self._is_first(state) and not self._shortage(state):
            state.holds_memory = True
        return state.holds_memory

    def _is_first(self, state: ServiceState) -> bool:
        before = self._queue[: self._queue.index(state)]
        if not state.is_only_proven:
            before = [other for other in before if not other.is_only_proven]  # a request is not held up by a proof
        return not any(self._needs(other).keys() & self._needs(state).keys() for other in before)

    def _shortage(self, state: ServiceState) -> dict[str, int]:
        return shortage_mib(self._needs(state), self.used_mib(), self.budget_mib)

    async def _make_room(self, state: ServiceState, began: float) -> None:
        now = _now()
        if not state.waiting and now > self._patience_until(state, began):
            raise NobodyWaitsError
        sleepers: list[ServiceState] = []
        if self._is_first(state):
            sleepers = self._sleepers(self._idle(now), self._shortage(state))
            if not sleepers and now - began >= self._timing.patience_seconds and not state.is_only_proven:
                self._drain(state, now)
        if sleepers:
            await asyncio.wait({self._put_to_sleep(sleeper, "room") for sleeper in sleepers})
        if not sleepers or any(sleeper.holds_memory for sleeper in sleepers):
            await asyncio.sleep(_POLL_SECONDS)

    def _patience_until(self, state: ServiceState, began: float) -> float:
        """Return until when it waits though nobody waits for it."""
        if state.proof_until is not None:
            return state.proof_until
        return max(state.wanted_at, began) + self._timing.linger_seconds

    def _idle(self, now: float) -> list[ServiceState]:
        return [state for state in self._states.values() if state.is_idle(now, self._timing)]

    def _sleepers(
        self, candidates: Iterable[ServiceState], missing: Mebibytes, wanting: ServiceState | None = None
    ) -> list[ServiceState]:
        # Those that are being drained come first, so that a choice once made stays.
        longest_idle_first = sorted(
            candidates, key=lambda state: (wanting is None or state.drained_for is not wanting, state.last_used)
        )
        chosen = choose_sleepers([(state.config.name, self._needs(state)) for state in longest_idle_first], missing)
        return [self._states[name] for name in chosen]

    def _drain(self, wanting: ServiceState, now: float) -> None:
        """Choose busy services that get no new requests, and give up on those that do not end."""
        for state in self._states.values():
            if state.drained_for is wanting and now >= state.drained_until:
                state.drained_for, state.undrained_until = None, now + self._timing.drain_seconds
        awake = [state for state in self._states.values() if state.phase == "awake" and now >= state.undrained_until]
        for state in self._sleepers(awake, self._shortage(wanting), wanting):
            if state.drained_for is None:
                state.drained_for, state.drained_until = wanting, now + self._timing.drain_seconds

    def _undrain(self, wanting: ServiceState) -> None:
        for state in self._states.values():
            if state.drained_for is wanting:
                state.drained_for = None

    def relieve(self, now: float) -> None:
        """Put idle services to sleep while more is used than there is: others start containers too."""
        used = self.used_mib()
        excess = {gpu: used.get(gpu, 0) - mib for gpu, mib in self.budget_mib.items()}
        for sleeper in self._sleepers(self._idle(now), {gpu: mib for gpu, mib in excess.items() if mib > 0}):
            self._put_to_sleep(sleeper, "room")


def _now() -> float:
    return asyncio.get_running_loop().time()
