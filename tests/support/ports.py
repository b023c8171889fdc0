# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ports for what tests start.

They come from below those that the kernel gives to connections, each process has numbers of its own, and none is given
twice: a server of a test that starts anew finds its port free, whatever else runs meanwhile.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _OF_A_PROCESS, _PROCESSES = 20_000, 400, 25
_own = _FIRST + os.getpid() % _PROCESSES * _OF_A_PROCESS
_numbers = itertools.cycle(range(_own, _own + _OF_A_PROCESS))


def free_ports(count: int) -> list[int]:
    """Return ports of TCP on which nobody listens."""
    tried = itertools.islice(_numbers, _OF_A_PROCESS)
    found = list(itertools.islice(filter(_is_free, tried), count))
    assert len(found) == count, f"of the ports from {_own} on only {found} are free"
    return found


def free_port() -> int:
    return free_ports(1)[0]


def _is_free(number: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", number)).close()
    except OSError:
        return False
    return True
