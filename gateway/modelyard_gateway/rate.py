# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often a client may call: a token bucket each."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A client's limit: so many requests a minute in the long run, and so many at once."""

    per_minute: float
    burst: float


class Buckets:
    """What is left to each client. It outlives a reload of the keys: a reload must not refill anything."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, client: str, rate: Rate | None, now: float) -> float:
        """Take one request of ``client``; return 0, or in how many seconds the next one is free.

        :param now: seconds of a clock that never goes back.
        """
        if rate is None:
            return 0.0
        tokens, since = self._left.get(client, (rate.burst, now))
        per_second = rate.per_minute / 60.0
        tokens = min(rate.burst, tokens + (now - since) * per_second)
        if tokens >= 1.0:
            self._left[client] = (tokens - 1.0, now)
            return 0.0
        self._left[client] = (tokens, now)
        return (1.0 - tokens) / per_second

    def keep(self, clients: frozenset[str]) -> None:
        """Forget all others: whoever is gone and comes back starts anew."""
        self._left = {client: left for client, left in self._left.items() if client in clients}


def whole_seconds(seconds: float) -> int:
    """Return the seconds of a ``Retry-After``: at least 1, never too early."""
    # To the millisecond: what a sum of floats has too much is no second.
    return max(1, math.ceil(round(seconds, 3)))
