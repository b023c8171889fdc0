# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for what tests start.

They come from below those that the kernel gives to connections, each process has numbers of its own, and none is given
twice: a server of a test that starts anew finds its port free, whatever else runs meanwhile.
"""

from __future__ import annotations

import functools
import itertools
import socket
from collections.abc import Iterator

_FIRST, _OF_A_PROCESS, _PROCESSES = 20_000, 400, 25


@functools.cache
def _own_range() -> tuple[range, socket.socket]:
    """Return this process's numbers, and what keeps others from taking them: the first one, bound and never served."""
    for first in range(_FIRST, _FIRST + _PROCESSES * _OF_A_PROCESS, _OF_A_PROCESS):
        guard = socket.socket()
        try:
            guard.bind(("127.0.0.1", first))
        except OSError:
            guard.close()
        else:
            return range(first + 1, first + _OF_A_PROCESS), guard
    raise RuntimeError(f"Cannot give ports to tests: {_PROCESSES} processes have taken all from {_FIRST} on.")


@functools.cache
def _numbers() -> Iterator[int]:
    return itertools.cycle(_own_range()[0])


def free_ports(count: int) -> list[int]:
    """Return ports of TCP on which nobody listens."""
    tried = itertools.islice(_numbers(), _OF_A_PROCESS)
    found = list(itertools.islice(filter(_is_free, tried), count))
    assert len(found) == count, f"of the ports in {_own_range()[0]} only {found} are free"
    return found


def free_port() -> int:
    return free_ports(1)[0]


def _is_free(number: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", number)).close()
    except OSError:
        return False
    return True
