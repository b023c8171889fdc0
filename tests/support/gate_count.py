# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service has open by its own word, and what the gateway says is in flight to it. All times are ``time.time()``.

The gateway's figure is what it read last, so it is held against the least that was open since it can have read it.
"""

from __future__ import annotations

import contextlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from support import images
from support.gate import STAND_IN, TIMING, GateSite

#: How old a figure may be: a look at the connections and its pause, on a machine that has other things to do.
_OLD_SECONDS = 3 * TIMING["watch_seconds"]
#: In the network of the gate and the gateway, where it asks on while the gateway is started anew.
_READ = """
import http.client, sys, time, urllib.request
while True:
    asked, told = time.time(), b""
    try:
        with urllib.request.urlopen("http://127.0.0.1:9090/-/metrics", timeout=5) as answer:
            told = answer.read()
    except (OSError, http.client.HTTPException):
        pass
    answered = time.time()
    for line in told.decode().splitlines():
        if line.startswith(sys.argv[1]):
            print(asked, answered, line.rpartition(" ")[2], flush=True)
    time.sleep(0.1)
"""


@dataclass(frozen=True)
class Served:
    """A request that reached a service, and until when whoever sent it surely waited for more."""

    path: str
    status: int
    began: float
    until: float


@dataclass(frozen=True)
class Reading:
    """What the gateway said is in flight, and between which times."""

    asked: float
    answered: float
    in_flight: float


def served_by(gate: GateSite, service: str) -> list[Served]:
    """Return the requests that a service is through with, in the order of their ends."""
    lines = gate.container(service).logs(stdout=True, stderr=False).splitlines()
    return [Served(**json.loads(line)) for line in lines]


@contextlib.contextmanager
def reading_in_flight(gate: GateSite, service: str) -> Iterator[list[Reading]]:
    """Ask the gateway ten times a second during the block; what it said is in the list when that has ended."""
    found: list[Reading] = []
    reader = gate.site.engine.containers.run(
        images.ensure(STAND_IN), ["python3", "-c", _READ, f'modelyard_gateway_in_flight{{service="{service}"}} '],
        name=gate.site.name("reader"), network_mode=f"container:{gate.part('pod').id}", detach=True,
    )  # fmt: skip
    try:
        yield found
        found += [Reading(*map(float, line.split())) for line in reader.logs().decode().splitlines()]
    finally:
        reader.remove(force=True)


def least_open(served: Sequence[Served], since: float, until: float) -> int:
    """Return how many requests were open at the moment of that time at which there were fewest."""
    begins, ends = sorted(one.began for one in served), sorted(one.until for one in served)
    moments = [since, *(end for end in ends if since <= end <= until)]
    return min(bisect_right(begins, moment) - bisect_right(ends, moment) for moment in moments)


def too_low(readings: Sequence[Reading], served: Sequence[Served]) -> list[tuple[Reading, int]]:
    """Return each reading that is below what was open, with that."""
    least = [(one, least_open(served, one.asked - _OLD_SECONDS, one.answered)) for one in readings]
    return [(one, number) for one, number in least if one.in_flight < number]
