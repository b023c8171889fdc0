# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several containers of one service: which of them a request goes to, and when one more is woken.

Each is a service to all else here: it is woken, proven, put to sleep and counted by itself. A request asks for the
first one by its name and goes to the one with least to do. Between equal ones that is the first in their order, so that
in quiet times the others have nothing to do, and sleep when their idle time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from .fleet import Fleet
from .state import ServiceState


class Replicas:
    """The containers of the services of one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def choose(self, service: str) -> ServiceState | None:
        """Return which of a service's replicas a request goes to; None where there is no such service.

        Where all that are awake are busy one more is woken, for those that come next.
        """
        replicas = self.all(service)
        if len(replicas) < 2:
            return replicas[0] if replicas else None
        now = asyncio.get_running_loop().time()
        if further := one_more(replicas, now):
            self._wake(further, now)
        return choose(replicas, now)

    def _wake(self, state: ServiceState, now: float) -> None:
        """Wake one that nobody waits for: like a proof, it takes room that is free or idle, and drains nobody."""

        def end(_task: object) -> None:
            state.proof_until = None

        state.proof_until = now + self._fleet.timing.proof_room_seconds
        self._fleet.wake(state).add_done_callback(end)

    def all(self, service: str) -> list[ServiceState]:
        """Return all replicas of a service, none where there is no such service."""
        return [self._fleet.states[name] for name in self._fleet.replicas.get(service, ())]


def choose(replicas: Sequence[ServiceState], now: float) -> ServiceState:
    """Return the one that a request goes to: one that is open, or the one that will be soonest.

    :param replicas: at least one, in their order.
    """
    if ready := [state for state in replicas if state.is_open]:
        return min(ready, key=lambda state: state.load)
    # One that is proven and waits for room has it last of all: whoever asked for it would wait as long.
    waking = [
        state for state in replicas if state.phase == "waking" and (state.holds_memory or not state.is_only_proven)
    ]
    return (waking or _sleepers(replicas, now) or replicas)[0]


def one_more(replicas: Sequence[ServiceState], now: float) -> ServiceState | None:
    """Return the one to wake beside those that are open, where all of these were busy when that was looked at last.

    One at a time: whether it is enough is seen when it is awake.
    """
    busy = [state.connections for state in replicas if state.is_open]
    if not busy or not all(busy) or any(state.phase == "waking" for state in replicas):
        return None
    return next(iter(_sleepers(replicas, now)), None)


def _sleepers(replicas: Sequence[ServiceState], now: float) -> list[ServiceState]:
    """Return those that may be woken."""
    still = [state for state in replicas if state.phase in ("asleep", "failed") and state.transition is None]
    return [state for state in still if not state.rests_until and now >= state.retry_at]
