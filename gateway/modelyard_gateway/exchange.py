# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTP request over one connection: all that the Docker proxy and the services' readiness need.

Written here and no library: the answers are small, nobody wants redirects, pools, cookies or TLS, and a client such as
httpx brings six packages into an image whose whole purpose is to be small and closed. HTTP/1.0 and ``Connection:
close`` make the end of the connection the end of the answer, so there are no chunks to put together.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_LENGTH = re.compile(rb"\r?\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r?\n", re.IGNORECASE)
MOST_BYTES = 4 * 1024 * 1024


class ExchangeError(Exception):
    """There was no whole answer; says why, without the address."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


@dataclass(frozen=True)
class Peer:
    """Where to ask."""

    host: str
    port: int


async def exchange(
    peer: Peer, method: str, path: str, *, timeout_seconds: float, body: bytes = b"", content_type: str = ""
) -> Answer:
    """Return the answer of ``peer``.

    :raises ExchangeError: no connection, no answer in time, a broken or an endless one.
    """
    head = [f"{method} {path} HTTP/1.0", f"Host: {peer.host}:{peer.port}", "Connection: close"]
    if body:
        head += [f"Content-Length: {len(body)}", f"Content-Type: {content_type or 'application/octet-stream'}"]
    elif method == "POST":
        head.append("Content-Length: 0")
    request = "\r\n".join([*head, "", ""]).encode() + body
    try:
        return _parse(await asyncio.wait_for(_send(peer, request), timeout_seconds))
    except asyncio.TimeoutError:
        raise ExchangeError(f"no answer within {timeout_seconds:g} s") from None
    except OSError as error:
        raise ExchangeError(error.strerror or str(error) or type(error).__name__) from None
    except UnicodeError as error:  # so Python calls a host whose name is too long
        raise ExchangeError(f"the name {peer.host!r:.80} cannot be looked up: {error}") from None


async def _send(peer: Peer, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(peer.host, peer.port)
    try:
        writer.write(request)
        with contextlib.suppress(ConnectionError):  # whoever refuses a body may have answered already
            await writer.drain()
        answer = bytearray()
        while chunk := await reader.read(65536):
            answer += chunk
            if len(answer) > MOST_BYTES:
                raise ExchangeError(f"an answer of more than {MOST_BYTES} bytes")
        return bytes(answer)
    finally:
        # At once, and unread: what would be left of the connection is not to be taken for a request in flight.
        writer.transport.abort()


def _parse(answer: bytes) -> Answer:
    head, end, body = answer.partition(b"\r\n\r\n")
    status = _STATUS_LINE.match(head + b"\r\n")
    if not status or not end:
        raise ExchangeError("no HTTP answer")
    length = _LENGTH.search(head + b"\r\n")
    if length and len(body) < int(length[1]):
        raise ExchangeError("an answer that broke off")
    return Answer(int(status[1]), body)
