# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the names of a site lead to its edge, as far as that host itself can tell.

It asks the host's own resolver, so ``/etc/hosts`` counts and the authority may see something else; and a request from
the host to itself says nothing of a firewall that only others meet.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

#: Where an authority asks for the answer to HTTP-01, whatever port the edge listens on. Source: RFC 8555, section 8.3.
CHALLENGE_PORT = 80
_CHALLENGE_PATH = "/.well-known/acme-challenge/modelyard-"
_REQUEST_SECONDS = 3.0

#: Names below these are in no public DNS. Source: RFC 6761, 6762, 8375, 9476; ICANN keeps "internal" for such uses.
_PRIVATE_TOP_LEVELS = frozenset(
    {"test", "example", "local", "localhost", "internal", "invalid", "arpa", "alt", "lan", "home"}
)

Resolve = Callable[[str], Sequence[str]]
Returning = Callable[[Sequence[str], int], "Collection[str] | None"]


@dataclass(frozen=True)
class Edge:
    """What the edge is to be reached by.

    ``challenge`` is how an authority convinces itself, empty where none is asked. ``public_addresses`` lead here though
    this host does not have them, such as those of a NAT. ``certified`` names have a certificate already.
    ``is_rehearsed``: an authority for tests is asked first, whose limits are wide.
    """

    names: tuple[str, ...]
    challenge: str = ""
    http_port: int = CHALLENGE_PORT
    public_addresses: tuple[str, ...] = ()
    certified: frozenset[str] = frozenset()
    is_rehearsed: bool = False


@dataclass(frozen=True)
class Finding:
    """A sentence, and whether it must stop the deployment."""

    text: str
    is_refusal: bool


def find_wrong_names(
    edge: Edge,
    *,
    resolve: Resolve | None = None,
    is_own: Callable[[str], bool] | None = None,
    returning: Returning | None = None,
) -> list[Finding]:
    """Return what is wrong with the names of a site.

    Only where an authority has to reach the host by a name that it has given no certificate for yet does it stop a
    deployment: an order that cannot succeed counts against the authority's limits.

    :param returning: which of some addresses bring a request back to a port of this host; None where nobody can tell.
    """
    plain = [name for name in edge.names if not name.startswith("*.")]
    names = [name for name in plain if edge.challenge or not is_private(name)]
    found = _resolve_all(names, resolve or resolve_name)
    strange = _find_strange(edge, found, is_own or is_own_address)
    asked = sorted({address for addresses in strange.values() for address in addresses})
    back: Collection[str] | None = ()
    if asked and edge.challenge == "http-01":
        back = (returning or find_returning)(asked, edge.http_port)
        strange = {name: [one for one in addresses if one not in (back or ())] for name, addresses in strange.items()}
    # An order that may be in vain is the authority's for tests, and the real one's only after that has worked.
    may_try = back is None and edge.is_rehearsed
    return [
        *_judge_wildcards(edge),
        *_judge_port(edge),
        *(finding for name in names for finding in _judge(edge, name, found[name], strange[name], may_try=may_try)),
    ]


def is_private(name: str) -> bool:
    """Tell whether a name cannot be in the public DNS."""
    return name.rpartition(".")[2].lower() in _PRIVATE_TOP_LEVELS


def resolve_name(name: str) -> list[str]:
    """Return the addresses of a name as this host's programs see them; none where nobody knows it."""
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def is_own_address(address: str) -> bool:
    """Tell whether a network interface of this host has the address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def find_returning(addresses: Sequence[str], port: int) -> set[str] | None:
    """Return those addresses at which a request to the challenge's port reaches ``port`` of this host.

    It listens there for as long as it asks. Where somebody listens already nothing can be told, and the answer is None.
    """
    token = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_listening(port, token))
        except OSError:
            return None
        return {address for address in addresses if _is_answered(address, token)}


def _resolve_all(names: Sequence[str], resolve: Resolve) -> dict[str, Sequence[str]]:
    """Resolve at once: one after the other, a name server that is silent would cost its time for each name."""
    found: dict[str, Sequence[str]] = {}

    def ask(name: str) -> None:
        found[name] = resolve(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def _find_strange(
    edge: Edge, found: Mapping[str, Sequence[str]], is_own: Callable[[str], bool]
) -> dict[str, list[str]]:
    """Return name to those of its addresses that are neither this host's nor known to lead here."""
    known = {*edge.public_addresses, *(one for name in edge.certified & found.keys() for one in found[name])}
    return {
        name: [address for address in addresses if address not in known and not is_own(address)]
        for name, addresses in found.items()
    }


def _judge(edge: Edge, name: str, addresses: Sequence[str], strange: Sequence[str], *, may_try: bool) -> list[Finding]:
    is_asked = edge.challenge in ("http-01", "tls-alpn-01")
    must = is_asked and name not in edge.certified
    doing = f"Cannot get a certificate for '{name}'" if must else f"Nobody may reach '{name}'"
    if not addresses:
        return [Finding(f"{doing}: this host finds no address of it; make a record of it in the DNS.", must)]
    at = ", ".join(strange)
    if strange and must and may_try:
        text = (
            f"Whether '{name}' leads to this edge cannot be told from here: it is at {at}, which is no address of this "
            "host; if that leads here, as through a NAT, say so in traefik_public_addresses."
        )
        return [Finding(text, False)]
    if strange:
        text = (
            f"{doing}: it is at {at}, which is no address of this host; correct the DNS, or if that leads here "
            "nevertheless, as through a NAT, say so in traefik_public_addresses."
        )
        return [Finding(text, must)]
    if is_asked and any(ipaddress.ip_address(one).is_loopback for one in addresses):
        text = (
            f"What others see of '{name}' cannot be told from here: for this host itself it is {addresses[0]}; look "
            "into /etc/hosts, and ask a name server of others."
        )
        return [Finding(text, False)]
    return []


def _judge_wildcards(edge: Edge) -> list[Finding]:
    if edge.challenge not in ("http-01", "tls-alpn-01"):
        return []
    # Source: RFC 8555, section 7.1.3 and 8; Let's Encrypt, "Challenge Types".
    return [
        Finding(
            f"Cannot get a certificate for '{name}': an authority certifies a wildcard by the challenge 'dns-01' "
            "alone; set it in traefik_acme, or name the names.",
            True,
        )
        for name in edge.names
        if name.startswith("*.")
    ]


def _judge_port(edge: Edge) -> list[Finding]:
    if edge.challenge != "http-01" or edge.http_port == CHALLENGE_PORT:
        return []
    text = (
        f"An authority asks at port {CHALLENGE_PORT} of a name, and this edge listens at {edge.http_port}; see that "
        f"the one leads to the other, or set site_ports.http to {CHALLENGE_PORT}."
    )
    return [Finding(text, False)]


@contextlib.contextmanager
def _listening(port: int, token: str) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(token)))
            self.end_headers()
            self.wfile.write(token.encode())

        def log_message(self, *_parts: object) -> None:
            """Say nothing: a module's output is its answer."""

    with http.server.ThreadingHTTPServer(("", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def _is_answered(address: str, token: str) -> bool:
    connection = http.client.HTTPConnection(address, CHALLENGE_PORT, timeout=_REQUEST_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", f"{_CHALLENGE_PATH}{token[:8]}")
            return connection.getresponse().read(len(token)) == token.encode()
        except (OSError, http.client.HTTPException):
            return False
