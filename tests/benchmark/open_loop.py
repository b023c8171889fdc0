# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests at a steady pace, whatever the server does, and how long each took.

A request never waits for another one: it takes a connection that nobody uses, or opens one. So a server that hangs for
a moment is seen by all that came in that moment, not by one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Target:
    """Where requests go, and what is sent."""

    host: str
    port: int
    head: bytes

    @classmethod
    def get(cls, host: str, port: int, path: str, **headers: str) -> Target:
        """Return a target of GET requests; underscores in names of headers are dashes."""
        given = {"host": "benchmark", **{name.replace("_", "-"): value for name, value in headers.items()}}
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return cls(host, port, f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())


@dataclass
class Taken:
    """Seconds of every request that was answered with 200, and what became of all others."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def percentile(self, percent: float) -> float:
        """Return the seconds that so many of all requests were at or below.

        :raises RuntimeError: one has failed, so that the rest means nothing.
        """
        if self.failures:
            raise RuntimeError(f"{len(self.failures)} requests failed, the first with: {self.failures[0]}")
        return percentile(self.seconds, percent)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that ``percent`` of all values are at or below."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class _Client(asyncio.Protocol):
    """A connection, on which one request is under way at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._got = b""
        self._wanted = -1
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._wanted < 0 and (end := self._got.find(b"\r\n\r\n")) >= 0:
            self._wanted = end + 4 + _length_of(self._got[:end])
        if 0 <= self._wanted <= len(self._got):
            self._settle(int(self._got.split(b" ", 2)[1]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(str(exc or "closed before the answer was whole")))

    def _settle(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)

    async def ask(self, head: bytes) -> int:
        """Send a request; return the status of its answer once that is whole."""
        assert self._transport is not None
        self._got, self._wanted = b"", -1
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head)
        return await asyncio.wait_for(self._answer, _ANSWER_SECONDS)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    raise ValueError("an answer without a length")


@dataclass
class OpenLoop:
    """``per_second`` requests for so many ``seconds``; ``stop`` ends it sooner."""

    target: Target
    per_second: int
    seconds: float
    taken: Taken = field(default_factory=Taken)
    stopped: bool = False
    _idle: list[_Client] = field(default_factory=list)

    def run(self) -> Taken:
        """Send it all, and wait for the last answer."""
        asyncio.run(self._run())
        return self.taken

    def stop(self) -> None:
        self.stopped = True

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        tasks = []
        for number in range(int(self.per_second * self.seconds)):
            await asyncio.sleep(max(0.0, begin + number / self.per_second - loop.time()))
            if self.stopped:
                break
            tasks.append(asyncio.create_task(self._ask()))
        await asyncio.gather(*tasks)
        for client in self._idle:
            client.close()

    async def _ask(self) -> None:
        try:
            client = await self._take()
            begin = time.perf_counter()
            status = await client.ask(self.target.head)
        except (OSError, TimeoutError, asyncio.TimeoutError, ValueError) as error:
            self.taken.failures.append(f"{type(error).__name__}: {error}")
            return
        if status == 200:
            self.taken.seconds.append(time.perf_counter() - begin)
        else:
            self.taken.failures.append(f"status {status}")
        self._idle.append(client)

    async def _take(self) -> _Client:
        while self._idle:
            if (client := self._idle.pop()).is_open:
                return client
        loop = asyncio.get_running_loop()
        _transport, made = await loop.create_connection(_Client, self.target.host, self.target.port)
        return made
