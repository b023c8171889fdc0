# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of one service at this moment."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from .engine import Container
from .services import ServiceConfig
from .sleep_record import Running

Phase = Literal["unknown", "asleep", "waking", "awake", "sleeping", "failed"]
PHASES: tuple[Phase, ...] = ("unknown", "asleep", "waking", "awake", "sleeping", "failed")

_USUAL_WAKE_SECONDS = 10.0
_LEAST_RETRY_SECONDS = 2.0
_MOST_RETRY_SECONDS = 60.0


@dataclass(frozen=True)
class Timing:
    """How long things are given. The defaults are those of a site; tests that wait for one of them set it."""

    #: From a grant until the gate has surely dialled the service. Must be more than the gate's resolver_timeout.
    dial_seconds: float = 10.0
    #: Between two looks at the connections.
    watch_seconds: float = 2.0
    #: Between two looks at all containers: others start and stop them too, and they fail.
    observe_seconds: float = 15.0
    #: Between the reads, under the lock, that decide.
    read_gap_seconds: float = 0.1
    #: Between two calls of a waking service's readiness, and between two looks at its container.
    poll_seconds: float = 0.05
    look_seconds: float = 0.5
    #: How long a service waits for room before busy ones get no new requests any more, and for how long they get none.
    patience_seconds: float = 10.0
    drain_seconds: float = 60.0
    #: How long a service waits for room with nobody waiting for it: whoever got a 503 comes back.
    linger_seconds: float = 60.0
    #: After a failure, doubled with each further one; forgotten after so long awake.
    first_backoff_seconds: float = 5.0
    most_backoff_seconds: float = 300.0
    stable_seconds: float = 60.0
    #: How long a proof waits for a service to be known (its file is read anew within a second), and for room.
    known_seconds: float = 5.0
    proof_room_seconds: float = 30.0
    #: How long one that rests stays down when nobody says that its replacement is there.
    rest_seconds: float = 120.0
    #: Requests that may wait for one service.
    most_waiting: int = 1000


@dataclass(eq=False)
class Left:
    """A container whose service is declared no more, and which has memory until it has ended: others see to that.

    :param last_grant: when it was at the latest that a request was let through to it.
    """

    running: Running
    last_grant: float


@dataclass(eq=False)
class ServiceState:
    """One service. Times are of the event loop's clock.

    :param made_for: what was declared when its container was first seen, which keeps its port and GPUs until replaced.
    :param holds_memory: whether it may have memory of its GPUs: from before its start until its end was seen.
    :param connections: as last read; None where that is not known.
    :param moves: how many transitions began; tells an observation that it is out of date.
    :param adopted: whether the last wake found the container running: somebody else started it.
    :param drained_for: the service for whose sake it gets no new requests.
    :param seen_id: the container that was seen last, also when there is none at this moment.
    :param grants: requests that were let through since it woke.
    :param unread: requests that were let through since its connections were read.
    :param proof_until: while it is proven: until when that waits for room.
    :param rests_until: while it is about to be replaced: until when nobody is let through and nobody wakes it.
    """

    config: ServiceConfig
    phase: Phase = "unknown"
    holds_memory: bool = True
    container: Container | None = None
    connections: int | None = None
    last_grant: float = 0.0
    last_used: float = 0.0
    woke_at: float = 0.0
    wake_began: float = 0.0
    wake_seconds: float = _USUAL_WAKE_SECONDS
    waiting: int = 0
    wanted_at: float = 0.0
    transition: asyncio.Task[None] | None = None
    moves: int = 0
    drained_for: ServiceState | None = field(default=None, repr=False)
    drained_until: float = 0.0
    undrained_until: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    cause: str = ""
    adopted: bool = False
    removed: bool = False
    seen_id: str = ""
    grants: int = 0
    unread: int = 0
    proof_until: float | None = None
    rests_until: float = 0.0
    made_for: ServiceConfig = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.made_for = self.config

    @property
    def is_open(self) -> bool:
        """Whether a request may go to it right now."""
        return self.phase == "awake" and self.drained_for is None and not self.rests_until

    @property
    def load(self) -> int:
        """What is in flight at most, as far as it is known: what was, and what came since."""
        return (self.connections or 0) + self.unread

    @property
    def is_only_proven(self) -> bool:
        """Whether nobody wants it but a proof."""
        return self.proof_until is not None and not self.waiting

    def see(self, container: Container) -> bool:
        """Note what its container is now; tell whether it is another one than before, which ends a rest."""
        is_new = self.seen_id != container.id
        if is_new:
            self.failures, self.retry_at = 0, 0.0
            # The first one that is seen is the one that rests.
            self.rests_until = 0.0 if self.seen_id else self.rests_until
            self.made_for = self.config
        self.container, self.seen_id, self.holds_memory = container, container.id, container.holds_resources
        return is_new

    def is_idle(self, now: float, timing: Timing) -> bool:
        """Whether nothing is in flight, as far as was last seen, and what was granted has been dialled."""
        settled = now - self.last_grant >= timing.dial_seconds
        return self.phase == "awake" and self.transition is None and self.connections == 0 and settled

    def is_idle_too_long(self, now: float, timing: Timing) -> bool:
        """Whether its idle time is over."""
        idle_seconds = self.config.idle_seconds
        return idle_seconds is not None and self.is_idle(now, timing) and now - self.last_used >= idle_seconds

    def use(self, now: float) -> None:
        """Note a request that is let through."""
        self.last_grant = self.last_used = now
        self.grants += 1
        self.unread += 1

    def count(self, connections: int | None, now: float) -> None:
        """Note what is in flight; what is not known may be anything, and what ended since the last look did so now."""
        if connections != 0 or self.connections != 0 or self.unread:
            self.last_used = now
        self.connections, self.unread = connections, 0

    def rise(self, now: float) -> None:
        """Note that it is awake. Whoever waited for it is let through next: to them it is in use."""
        self.phase, self.cause, self.retry_at = "awake", "", 0.0
        self.woke_at, self.connections = now, None
        self.last_grant = self.last_used = now
        self.grants = self.unread = 0

    def rest(self) -> None:
        """Note that it is asleep."""
        self.phase, self.cause, self.retry_at, self.failures = "asleep", "", 0.0, 0
        self.holds_memory, self.connections = False, 0

    def fail(self, cause: str, now: float, timing: Timing) -> None:
        """Note a failure, and that it is not tried again for a while."""
        was_awake = self.phase in ("awake", "sleeping")
        if was_awake and now - self.woke_at >= timing.stable_seconds:
            self.failures = 0
        delay = min(timing.first_backoff_seconds * 2**self.failures, timing.most_backoff_seconds)
        self.failures = min(self.failures + 1, 32)
        self.retry_at = now + delay
        self.set_failed(cause)

    def set_failed(self, cause: str) -> None:
        """Note that its container failed, and that trying again is worth it now."""
        self.phase, self.cause = "failed", cause

    def retry_seconds(self, now: float) -> float:
        """Return when a client should come again: when the wake should be over, if it takes as long as the last one."""
        left = self.wake_began + self.wake_seconds - now if self.phase == "waking" else self.wake_seconds
        return min(max(left, _LEAST_RETRY_SECONDS), _MOST_RETRY_SECONDS)
