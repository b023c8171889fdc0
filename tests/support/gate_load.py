# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many requests to a gate at once, of all kinds, and many that are malformed."""

from __future__ import annotations

import base64
import contextlib
import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from support.gate import GateSite, host_of

#: What may be wrong with the name of a header or a key.
_STRANGE = bytes({*range(1, 256)} - {10, 13})
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def send_mix(gate: GateSite, service: str, number: int, seed: int, seconds: float) -> Counter[str]:
    """Send so many requests, a third streamed, a third given up by the client, WebSockets among them.

    :param seconds: over which they begin.
    :return: what became of them; ``cut`` is a request that was let through and got no whole answer.
    """
    chance = random.Random(seed)
    begins = sorted(chance.uniform(0, seconds) for _index in range(number))
    kinds: list[Callable[[GateSite, str, random.Random], str]] = [_streamed, _given_up, _answered, _spoken]
    weights = [33, 33, 24, 10]
    started = time.monotonic()

    def one(index: int) -> str:
        own = random.Random(seed + index)
        time.sleep(max(0.0, started + begins[index] - time.monotonic()))
        return own.choices(kinds, weights)[0](gate, service, own)

    with ThreadPoolExecutor(min(number, 60)) as pool:
        return Counter(pool.map(one, range(number)))


def _headers(gate: GateSite) -> dict[str, str]:
    return {"X-API-Key": gate.key("app")}


def _streamed(gate: GateSite, service: str, chance: random.Random) -> str:
    """A client that reads to the end, and comes again where the gate is closed for a moment."""
    for _attempt in range(30):
        with contextlib.closing(gate.connect(service)) as connection:
            connection.request("GET", f"/stream?seconds={chance.uniform(0.2, 3):.1f}", headers=_headers(gate))
            answer = connection.getresponse()
            if answer.status == 503:
                answer.read()
                time.sleep(float(answer.headers["Retry-After"]))
                continue
            try:
                content = answer.read()
            except OSError:
                return "cut"
            return "streamed" if answer.status == 200 and content.endswith(b"data: end\n\n") else f"cut {answer.status}"
    return "closed"


def _answered(gate: GateSite, service: str, chance: random.Random) -> str:
    body = chance.randbytes(chance.randrange(200_000))
    for _attempt in range(30):
        reply = gate.ask(service, f"/slow?seconds={chance.uniform(0, 1):.1f}", method="POST", body=body)
        if reply.status != 503:
            return "answered" if reply.status == 200 and reply.told["length"] == len(body) else f"cut {reply.status}"
        time.sleep(float(reply.headers["retry-after"]))
    return "closed"


def _given_up(gate: GateSite, service: str, chance: random.Random) -> str:
    with contextlib.closing(gate.connect(service)) as connection:
        connection.request("GET", "/stream?seconds=20", headers=_headers(gate))
        assert connection.sock is not None
        connection.sock.settimeout(chance.uniform(0.01, 2))
        with contextlib.suppress(OSError):
            connection.sock.recv(100_000)
        return "given up"


def _spoken(gate: GateSite, service: str, chance: random.Random) -> str:
    for _attempt in range(30):
        with contextlib.closing(gate.connect(service)) as connection:
            assert connection.sock is not None
            status, rest = open_websocket(connection.sock, host_of(service), gate.key("app"))
            if status == 503:
                time.sleep(2)
                continue
            if status != 101:
                return f"cut {status}"
            try:
                for _message in range(chance.randrange(2, 8)):
                    text = base64.b64encode(os.urandom(20))
                    if exchange_text(connection.sock, text, rest) != text:
                        return "cut websocket"
                    time.sleep(0.3)
            except OSError:
                return "cut websocket"
            return "spoken"
    return "closed"


def open_websocket(raw: socket.socket, host: str, key: str = "", path: str = "/ws") -> tuple[int, bytes]:
    """Ask for a WebSocket; return the status, and what came after the head of the answer."""
    credential = f"X-API-Key: {key}\r\n" if key else ""
    raw.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{credential}"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        got = raw.recv(4096)
        if not got:
            return 0, b""
        head += got
    return int(head.split()[1]), head.partition(b"\r\n\r\n")[2]


def exchange_text(raw: socket.socket, text: bytes, rest: bytes = b"") -> bytes:
    """Send a message of up to 125 bytes; return the one that comes back."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(text))
    raw.sendall(struct.pack("!BB", 0x81, 0x80 | len(text)) + mask + masked)
    while len(rest) < 2 or len(rest) < 2 + rest[1]:
        got = raw.recv(4096)
        if not got:
            raise ConnectionError("the WebSocket ended")
        rest += got
    return rest[2 : 2 + rest[1]]


def malformed_heads(chance: random.Random, number: int, good_key: str) -> Iterator[bytes]:
    """Yield lines of headers with keys that are none."""
    makers = (_wild_key, _wild_bearer, _two_headers, _near_key, _wild_name, _long_header, _wrong_scheme)
    for _index in range(number):
        yield chance.choice(makers)(chance, good_key.encode())


def _bytes(chance: random.Random, alphabet: bytes, least: int, most: int) -> bytes:
    return bytes(chance.choice(alphabet) for _index in range(chance.randint(least, most)))


def _wild_key(chance: random.Random, _key: bytes) -> bytes:
    return b"X-API-Key: " + _bytes(chance, _STRANGE, 0, 120)


def _wild_bearer(chance: random.Random, _key: bytes) -> bytes:
    return b"Authorization: Bearer " + _bytes(chance, _STRANGE, 0, 120)


def _two_headers(chance: random.Random, key: bytes) -> bytes:
    other = _bytes(chance, _PLAIN, 16, 40)
    return chance.choice(
        (
            b"X-API-Key: " + key + b"\r\nX-API-Key: " + other,
            b"X-API-Key: " + key + b"\r\nX-API-Key: " + key,
            b"X-API-Key: " + key + b"\r\nAuthorization: Bearer " + other,
            b"Authorization: Bearer " + key + b"\r\nAuthorization: Bearer " + key,
        )
    )


def _near_key(chance: random.Random, key: bytes) -> bytes:
    """One byte of a good key is another one, or one is missing, or there is one too many."""
    at = chance.randrange(len(key))
    changed = bytes([chance.choice([byte for byte in _PLAIN if byte != key[at]])])
    near = chance.choice((key[:at] + changed + key[at + 1 :], key[:at] + key[at + 1 :], key + changed, key.swapcase()))
    return b"X-API-Key: " + near


def _wild_name(chance: random.Random, key: bytes) -> bytes:
    """A good key under a name that is not quite the right one."""
    names = (b"X_API_Key", b"X-API-Key ", b"X-API-Keys", b"Api-Key", b"Authorisation", b"X-Auth-Client", b"X.API.Key")
    name = chance.choice((*names, _bytes(chance, _STRANGE.replace(b":", b""), 1, 20)))
    return name + b": " + key


def _long_header(chance: random.Random, _key: bytes) -> bytes:
    return b"X-API-Key: " + _bytes(chance, _PLAIN, 1, 40) * chance.randrange(30, 900)


def _wrong_scheme(chance: random.Random, key: bytes) -> bytes:
    scheme = chance.choice((b"Basic", b"Digest", b"Token", b"Bearer:", b"bear er", b"", _bytes(chance, _PLAIN, 1, 9)))
    return b"Authorization: " + scheme + b" " + key


def status_of(address: str, head: bytes, host: str) -> int:
    """Return what the gate answers to a request with these headers; 0 where it hangs up without a word."""
    with socket.create_connection((address, 8080), timeout=30) as raw:
        raw.sendall(b"GET /echo HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n" + head + b"\r\n\r\n")
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while b"\r\n" not in answer and (got := raw.recv(4096)):
                answer += got
    return int(answer.split()[1]) if answer else 0
