# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a site promises, tried from outside as a client would, with full verification of certificates."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from .._compose.desired import DIRECTORY_LABEL
from .._errors import PlatformError

Kind = Literal["answers", "redirects", "refuses_tls", "postgres_tls"]
TIMEOUT_SECONDS = 10.0
#: PostgreSQL's SSLRequest. Source: PostgreSQL's manual, "Message Formats".
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@dataclass(frozen=True)
class Promise:
    """One promise. ``login`` is ``USER:PASSWORD``; ``status`` what is promised to be answered."""

    name: str
    kind: Kind
    url: str
    status: int = 200
    login: str = ""
    version: str = "TLSv1_1"


@dataclass(frozen=True)
class Outcome:
    """How trying went; ``cause`` says why it does not hold."""

    name: str
    holds: bool
    cause: str = ""


def try_promises(promises: Iterable[Promise]) -> list[Outcome]:
    """Try each, and return how it went, in their order."""
    return [_try(promise) for promise in promises]


def _try(promise: Promise) -> Outcome:
    attempt = _ATTEMPTS[promise.kind]
    try:
        cause = attempt(promise)
    except ssl.SSLCertVerificationError as error:
        cause = f"its certificate is not trusted: {error.verify_message}"
    except (OSError, http.client.HTTPException) as error:
        cause = str(error) or type(error).__name__
    return Outcome(promise.name, not cause, cause)


def _answers(promise: Promise) -> str:
    status, _headers = _get(promise.url, promise.login)
    return "" if status == promise.status else f"it answers {status} instead of {promise.status}"


def _redirects(promise: Promise) -> str:
    status, headers = _get(promise.url, "")
    target = headers.get("location", "")
    if status in (301, 302, 307, 308) and target.startswith("https://"):
        return ""
    return f"it answers {status} and leads to {target or 'nowhere'} instead of to https"


def _refuses_tls(promise: Promise) -> str:
    """A client that would take the old version must be sent away; one that takes a new one is let in."""
    host, port = _place(promise.url)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion[promise.version]
    # OpenSSL's own level would refuse for us.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    try:
        with (
            socket.create_connection((host, port), TIMEOUT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            return f"it speaks {connection.version()}"
    except ssl.SSLCertVerificationError:
        return f"it speaks {promise.version}"
    except (ssl.SSLError, ConnectionResetError):
        return ""


def _postgres_tls(promise: Promise) -> str:
    """What ``sslmode=verify-full`` asks for, up to the login."""
    host, port = _place(promise.url)
    context = ssl.create_default_context()
    context.set_alpn_protocols(["postgresql"])
    with socket.create_connection((host, port), TIMEOUT_SECONDS) as plain:
        plain.sendall(_SSL_REQUEST)
        if (answer := plain.recv(1)) != b"S":
            return f"it answers {answer!r} to a request for TLS"
        with context.wrap_socket(plain, server_hostname=host):
            return ""


_ATTEMPTS: Mapping[Kind, Callable[[Promise], str]] = {
    "answers": _answers,
    "redirects": _redirects,
    "refuses_tls": _refuses_tls,
    "postgres_tls": _postgres_tls,
}


def _get(url: str, login: str) -> tuple[int, Mapping[str, str]]:
    """Return status and headers, names in lower case; no proxy, no redirect is followed."""
    parts = urlsplit(url)
    host, port = _place(url)
    connection = (
        http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    )
    headers = {"Authorization": "Basic " + base64.b64encode(login.encode()).decode()} if login else {}
    try:
        connection.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    default = {"http": 80, "https": 443, "postgresql": 5432}.get(parts.scheme)
    port = parts.port or default
    if not parts.hostname or port is None:
        raise PlatformError(f"Cannot try {url!r}: it names no host or no port; give http, https or postgresql.")
    return parts.hostname, port


def find_open_ports(listed: Sequence[Mapping[str, Any]], directory: str, allowed: Iterable[int]) -> list[Outcome]:
    """Return the outcome of the promise that the site's containers publish nothing but their declared ports.

    :param listed: the running containers, as ``GET /containers/json`` gives them.
    :param directory: the site's.
    """
    wanted = set(allowed)
    open_ports = sorted(
        {
            f"{port['IP']}:{port['PublicPort']} ({entry['Names'][0].removeprefix('/')})"
            for entry in listed
            if (entry.get("Labels") or {}).get(DIRECTORY_LABEL) == directory
            for port in entry.get("Ports") or ()
            if port.get("PublicPort") and port["PublicPort"] not in wanted and not _is_loopback(port["IP"])
        }
    )
    cause = f"these are open too: {', '.join(open_ports)}" if open_ports else ""
    return [Outcome("nothing but declared ports listens outside loopback", not open_ports, cause)]


def _is_loopback(address: str) -> bool:
    return bool(address) and ipaddress.ip_address(address).is_loopback


def as_table(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each promise, for people."""
    return [
        f"{'holds ' if outcome.holds else 'BROKEN'}  {outcome.name}" + (f": {outcome.cause}" if outcome.cause else "")
        for outcome in outcomes
    ]
