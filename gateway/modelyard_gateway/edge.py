# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who a request is from: what the edge says of it counts, and what nobody else says.

Any container of the edge's network may dial the gate, and say in ``X-Forwarded-For`` what it likes. The edge writes
that header itself, so what it says is true. It is known by the name of its container, which no other container can
have; its address changes with each start, and is looked up again and again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from .inflight import canonical

_LOOK_SECONDS = 1.0
#: Where the edge may have another proxy before it, one of the site's or of its network.
_INSIDE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


class Edge:
    """The edge, and where it is.

    :param names: of its containers; an address stands for itself.
    :param resolve: returns the addresses of a name, none where it has none. It may take its time.
    """

    def __init__(self, names: Sequence[str] = (), resolve: Callable[[str], Iterable[str]] | None = None) -> None:
        self._names, self._resolve = names, resolve or _resolve
        self.addresses: Collection[str] = frozenset()

    def look(self) -> None:
        """Look up where it is now. One that is not there has no address: another container may get the one it had."""
        self.addresses = frozenset(canonical(found) for name in self._names for found in self._resolve(name))

    async def look_always(self) -> None:
        """Look again and again, in a thread of its own: a name server that hangs holds up nothing else."""
        if not self._names:
            return
        thread = ThreadPoolExecutor(1, "edge")
        try:
            while True:
                await asyncio.get_running_loop().run_in_executor(thread, self.look)
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            thread.shutdown(wait=False)

    def client_of(self, peer: str, forwarded: str) -> str:
        """Return the address that a request is from.

        :param peer: who dialled the gate.
        :param forwarded: what it said in ``X-Forwarded-For``: addresses, the nearest one last.
        """
        if not forwarded or peer not in self.addresses:
            return peer
        client = peer
        for hop in reversed(forwarded.split(",")):
            address = _address_of(hop.strip())
            if not address:
                break
            client = address
            if not (_is_inside(address) or address in self.addresses):
                break
        return client


@lru_cache(maxsize=4096)
def _is_inside(address: str) -> bool:
    return any(ipaddress.ip_address(address) in network for network in _INSIDE)


def _address_of(text: str) -> str:
    """Return an address as :func:`canonical` has it; empty where it is none."""
    try:
        return canonical(text)
    except ValueError:
        return ""


def _resolve(name: str) -> Iterable[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return ()
