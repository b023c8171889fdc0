# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in flight: open connections from the gate to each service, as the kernel lists them.

The gateway shares the gate's network namespace, so ``/proc/net/tcp`` there is the list of the gate's connections.
Counters of grants and ends drift both ways (a client leaves just when it is let through; a proxy dials twice), and do
not survive a restart. Open connections do neither: they are the thing itself.

Counted are the states ESTABLISHED and SYN_SENT, seen from the gate's end:

* SYN_SENT: the gate dials for a request that was let through. Without it, a stop could slip in between.
* ESTABLISHED: a request, a stream or a WebSocket, or an upload; the gate keeps no idle connection to a service
  (it must not be given ``keepalive``: an idle one would count for ever).
* Not CLOSE_WAIT: the service has sent all of its answer and closed; the rest is the gate's alone, and a stop of the
  service cuts nothing. Not FIN_WAIT and later: the gate has closed, nobody waits for an answer any more. A client that
  is slow to take an answer would otherwise keep a GPU awake.

One read may miss a connection: the kernel lists its table page by page, and rows move between pages while others come
and go. That is why a decision takes several reads, of which each must be zero.
"""

from __future__ import annotations

import ipaddress
import re
import sys
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from .errors import GatewayError

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
#: ``sl local_address rem_address st``: https://docs.kernel.org/networking/proc_net_tcp.html. A whole table is gone
#: through in C: most rows are TIME_WAIT on a busy gate.
_ROW = re.compile(
    rb"^ *[0-9]+: [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) (?:01|02) ", re.MULTILINE
)

#: Address and port of the far end. IPv4 in its IPv6 form is IPv4.
Endpoint = tuple[str, int]


def parse_tables(tables: Iterable[bytes]) -> Counter[Endpoint]:
    """Return how many open connections go to each far end, from the kernel's tables."""
    raw: Counter[tuple[bytes, bytes]] = Counter()
    for table in tables:
        raw.update((found[1], found[2]) for found in _ROW.finditer(table))
    counted: Counter[Endpoint] = Counter()
    for (address, port), number in raw.items():
        counted[_address_of(address), int(port, 16)] += number
    return counted


def read_connections() -> Counter[Endpoint]:
    """Return the open connections of this network namespace. It blocks for some milliseconds on a busy gate.

    :raises GatewayError: a table cannot be read, so nothing is known.
    """
    tables = []
    for path in _TABLES:
        try:
            with open(path, "rb") as stream:
                tables.append(stream.read())
        except FileNotFoundError:
            if path == _TABLES[0]:
                raise GatewayError(f"Cannot count connections: there is no {path}; mount /proc.") from None
            # A kernel without IPv6 has no such connection.
        except OSError as error:
            raise GatewayError(f"Cannot count connections: {path}: {error.strerror}; mount /proc.") from error
    return parse_tables(tables)


def to_service(counted: Counter[Endpoint], addresses: Iterable[str], port: int) -> int:
    """Return how many of them go to a service."""
    return sum(counted[address, port] for address in {canonical(address) for address in addresses})


@lru_cache(maxsize=4096)
def canonical(address: str) -> str:
    """Return an address as :func:`parse_tables` writes it."""
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _address_of(digits: bytes) -> str:
    # The kernel prints each 32 bits as a number of the machine, of bytes that are in network order.
    raw = bytes.fromhex(digits.decode())
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    packed = b"".join(words) if sys.byteorder == "big" else b"".join(word[::-1] for word in words)
    return canonical(str(ipaddress.ip_address(packed)))
