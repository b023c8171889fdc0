# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests at a steady pace, whatever the server does: one that hangs does not slow the next ones down.

Plain HTTP/1.1 over asyncio's streams, without any retry: what a client library would mend in silence is a failure here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REQUEST_SECONDS = 30.0
STREAM_SECONDS = 60.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Answer:
    """What came of one request; ``failure`` is empty when it was answered with 200, whole."""

    kind: str
    second: float
    failure: str = ""
    body: bytes = b""


@dataclass
class Load:
    """``per_second`` requests to ``host:port``: every tenth a slow POST, every other one on a kept connection."""

    host: str
    port: int
    seconds: float
    per_second: int = 100
    #: Second at which ``GET /stream`` is sent; never without.
    stream_at: float | None = None
    answers: list[Answer] = field(default_factory=list)
    _idle: list[Connection] = field(default_factory=list)
    _started: float = 0.0

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.failure]

    def count(self) -> Counter[str]:
        """Return how many answers of each kind there are."""
        return Counter(answer.kind for answer in self.answers)

    def bodies(self, kind: str) -> list[bytes]:
        return [answer.body for answer in self.answers if answer.kind == kind]

    def run(self) -> None:
        """Send it all and wait for the last answer."""
        asyncio.run(self._send_all())

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        self._started = loop.time()
        tasks = [asyncio.create_task(self._stream())] if self.stream_at is not None else []
        for number in range(int(self.seconds * self.per_second)):
            await asyncio.sleep(max(0.0, self._started + number / self.per_second - loop.time()))
            tasks.append(asyncio.create_task(self._request(number)))
        await asyncio.gather(*tasks)
        for _rest, writer in self._idle:
            writer.close()

    async def _request(self, number: int) -> None:
        # Slow and kept must not always coincide: of ten numbers in a row one is slow, the kept ones alternate by tens.
        slow = number % 10 == 0
        kept = (number + number // 10) % 2 == 0
        head = f"POST /slow HTTP/1.1\r\nContent-Length: {len(str(number))}" if slow else "GET / HTTP/1.1"
        payload = str(number) if slow else ""
        kind = f"{'slow' if slow else 'quick'} {'kept' if kept else 'new'}"
        await self._ask(kind, f"{head}\r\nHost: test\r\n", payload, kept=kept, limit=REQUEST_SECONDS)

    async def _stream(self) -> None:
        await asyncio.sleep(self.stream_at or 0)
        await self._ask("stream", "GET /stream HTTP/1.1\r\nHost: test\r\n", "", kept=False, limit=STREAM_SECONDS)

    async def _ask(self, kind: str, head: str, payload: str, *, kept: bool, limit: float) -> None:
        second = asyncio.get_running_loop().time() - self._started
        try:
            status, body = await asyncio.wait_for(self._exchange(head, payload, kept=kept), limit)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            self.answers.append(Answer(kind, second, f"{type(error).__name__}: {error}"))
            return
        failure = "" if status == 200 else f"status {status}"
        self.answers.append(Answer(kind, second, failure, body))

    async def _exchange(self, head: str, payload: str, *, kept: bool) -> tuple[int, bytes]:
        reused = bool(kept and self._idle)
        reader, writer = self._idle.pop() if reused else await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(f"{head}{'' if kept else 'Connection: close' + chr(13) + chr(10)}\r\n{payload}".encode())
            status, body = await _read_answer(reader)
        except BaseException:
            writer.close()
            raise
        if kept:
            self._idle.append((reader, writer))
        else:
            writer.close()
        return status, body


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = int(head.split(" ", 2)[1])
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    if fields.get("transfer-encoding") == "chunked":
        return status, await _read_chunks(reader)
    return status, await reader.readexactly(int(fields.get("content-length", "0")))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


class Background:
    """Runs something beside the test; ``join`` waits and raises what it raised."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._action = action
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._action()
        except Exception as error:  # noqa: BLE001 (handed on by join)
            self._error = error

    def join(self, *, timeout: float) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"still running after {timeout:g} s"
        if self._error is not None:
            raise self._error
