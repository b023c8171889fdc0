# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unix-socket proxy before the engine's socket that writes down each request, and can hold one back.

It parses what the client sends just far enough to know where a request ends: heads, bodies by length or in chunks,
and connections that were upgraded, after which nothing is HTTP any more. Answers pass through unread.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ENGINE_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True)
class Request:
    """One request as it stood on its first line."""

    method: str
    path: str


class RecordingProxy:
    """A context manager: while it lives, ``docker_host`` leads to the engine and ``requests`` grows.

    >>> with RecordingProxy(tmp_path / "engine.sock") as proxy:
    ...     run_module("compose_project", params, environment={"DOCKER_HOST": proxy.docker_host})
    ...     assert proxy.writes() == []
    """

    def __init__(self, path: Path, *, engine_socket: str = ENGINE_SOCKET) -> None:
        self.path = path
        self.requests: list[Request] = []
        #: Which requests never reach the engine; ``held`` tells that there was one.
        self.hold: Callable[[Request], bool] = lambda _request: False
        self.held = threading.Event()
        self._engine_socket = engine_socket
        self._listener = socket.socket(socket.AF_UNIX)

    @property
    def docker_host(self) -> str:
        return f"unix://{self.path}"

    def writes(self) -> list[Request]:
        """Return the requests that may change something: all but GET and HEAD."""
        return [request for request in self.requests if request.method not in ("GET", "HEAD")]

    def __enter__(self) -> RecordingProxy:
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Without shutdown() the thread in accept() would keep the socket alive.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        engine = socket.socket(socket.AF_UNIX)
        try:
            engine.connect(self._engine_socket)
        except OSError:
            client.close()  # what a client sees of an engine that is down
            return
        answers = threading.Thread(target=_pass_on, args=(engine, client), daemon=True)
        answers.start()
        with contextlib.suppress(OSError):
            for part in self._record(_Reader(client)):
                engine.sendall(part)
        with contextlib.suppress(OSError):
            engine.shutdown(socket.SHUT_WR)
        answers.join()
        client.close()
        engine.close()

    def _record(self, reader: _Reader) -> Iterator[bytes]:
        """Yield all that the client sends, unchanged."""
        while head := reader.until(b"\r\n\r\n"):
            first, _crlf, rest = head.decode("latin-1").partition("\r\n")
            method, path, _version = first.split(" ", 2)
            request = Request(method, path)
            self.requests.append(request)
            if self.hold(request):
                self.held.set()
                for _part in reader.rest():
                    pass  # until the client gives up
                return
            yield head
            headers = {
                name.strip().lower(): value.strip().lower()
                for name, _colon, value in (line.partition(":") for line in rest.splitlines())
            }
            if "upgrade" in headers:
                yield from reader.rest()
            elif headers.get("transfer-encoding") == "chunked":
                yield from _chunks(reader)
            else:
                yield from reader.exactly(int(headers.get("content-length", 0)))


def _chunks(reader: _Reader) -> Iterator[bytes]:
    size = -1
    while size != 0:
        line = reader.until(b"\r\n")
        if not line:
            return
        yield line
        size = int(line.split(b";")[0], 16)
        if size:
            yield from reader.exactly(size + 2)
    yield reader.until(b"\r\n")  # the engine's clients send no trailers


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
        target.shutdown(socket.SHUT_WR)


class _Reader:
    """Bytes of a socket, by delimiter or by number; an end of the stream gives what there is."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._buffer = b""

    def until(self, delimiter: bytes) -> bytes:
        while delimiter not in self._buffer:
            part = self._source.recv(65536)
            if not part:
                return b""
            self._buffer += part
        end = self._buffer.index(delimiter) + len(delimiter)
        found, self._buffer = self._buffer[:end], self._buffer[end:]
        return found

    def exactly(self, size: int) -> Iterator[bytes]:
        while size:
            part = self._buffer or self._source.recv(65536)
            if not part:
                return
            self._buffer = part[size:]
            yield part[:size]
            size -= len(part[:size])

    def rest(self) -> Iterator[bytes]:
        if self._buffer:
            yield self._buffer
        while part := self._source.recv(65536):
            yield part
