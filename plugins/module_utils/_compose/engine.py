# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Engine API over its socket, with nothing but sockets and JSON.

The CLI's ``--format json`` joins labels with commas, so a label can forge another one, and gives health and
exit code only as a sentence; the API gives them exactly. Importing the Docker SDK costs 0.15 s, a CLI start
0.07 s: this module costs neither, which is why every observation of a no-op run goes through it.

Paths carry no version: the engine then answers with its newest one. The fields that are read here have been the
same since API 1.40 (engine 19.03); engine 29.0 refuses versions below 1.44, so a fixed one would break there.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from .._errors import PlatformError

DEFAULT_SOCKET = "/var/run/docker.sock"
REQUEST_SECONDS = 60.0
_CHUNK_BYTES = 65536


class EngineError(PlatformError):
    """The engine refused a request, or cannot be reached (then ``status`` is 0)."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def socket_path_of(environment: Mapping[str, str]) -> str:
    """Return the engine's socket, as ``DOCKER_HOST`` names it.

    :raises PlatformError: it names an engine on another machine.
    """
    host = environment.get("DOCKER_HOST", "")
    if not host:
        return DEFAULT_SOCKET
    if not host.startswith("unix://"):
        raise PlatformError(
            f"Cannot use the engine at DOCKER_HOST={host!r}: only a unix:// socket of this host is supported; "
            "unset DOCKER_HOST, or run the module on the host that has the engine."
        )
    return host.removeprefix("unix://")


class Engine:
    """Requests to one engine; each opens a connection of its own, so it is safe in threads."""

    def __init__(self, socket_path: str = DEFAULT_SOCKET) -> None:
        self.socket_path = socket_path

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        """Return the parsed JSON answer. Values of ``query`` that are no text are sent as JSON.

        :raises EngineError: any status but 2xx, or an answer that broke off.
        """
        return _parse_json(self.request("GET", path, query), f"GET {path}")

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        *,
        timeout_seconds: float = REQUEST_SECONDS,
    ) -> bytes:
        """Return the body of the answer.

        :param body: sent as JSON.
        :raises EngineError: any status but 2xx and 304 (already so), or no engine.
        """
        with self._open(method, path, query, body, timeout_seconds) as connection:
            return self._read(connection, f"{method} {path}")

    def request_all(self, wanted: Sequence[tuple[str, Mapping[str, object]]]) -> list[bytes]:
        """Return the bodies of several ``GET`` requests, of path and query each, that the engine works on at once.

        :raises EngineError: one of them was refused, or there is no engine.
        """
        with contextlib.ExitStack() as open_connections:
            connections = [
                open_connections.enter_context(self._open("GET", path, query, None, REQUEST_SECONDS))
                for path, query in wanted
            ]
            return [
                self._read(connection, f"GET {path}")
                for connection, (path, _query) in zip(connections, wanted, strict=True)
            ]

    def _read(self, connection: socket.socket, request: str) -> bytes:
        answer = bytearray()
        try:
            while chunk := connection.recv(_CHUNK_BYTES):
                answer += chunk
        except OSError as error:
            raise self._unreachable(error) from error
        return self._parse(bytes(answer), request)

    def is_alive(self) -> bool:
        """Whether an engine answers at the socket."""
        try:
            return self.request("GET", "/_ping", timeout_seconds=5.0) == b"OK"
        except EngineError:
            return False

    def wait_alive(self, *, timeout_seconds: float) -> bool:
        """Wait for an engine that is being restarted; tell whether it came back."""
        deadline = time.monotonic() + timeout_seconds
        while not self.is_alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.2)
        return True

    def events(self, filters: Mapping[str, object], *, since: float | None = None) -> EventStream:
        """Open the stream of events from ``since`` (Unix seconds) on; the caller closes it."""
        query: dict[str, object] = {"filters": filters}
        if since is not None:
            query["since"] = f"{since:.9f}"
        return EventStream(self._open("GET", "/events", query, None, REQUEST_SECONDS))

    def logs(self, container_id: str, *, lines: int) -> str:
        """Return the last lines of a container, both streams in the order the engine gives them."""
        query = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        try:
            return _plain_log(self.request("GET", f"/containers/{container_id}/logs", query))
        except EngineError as error:
            return f"(no log: {error})"

    def open_raw(self, path: str, body: object) -> tuple[socket.socket, bytes]:
        """Return the connection that an answered POST leaves open both ways, and what came with the answer's head.

        Its reads and writes wait without a limit; the caller closes it.

        :raises EngineError: any status but 2xx, or no engine.
        """
        connection = self._open("POST", path, None, body, REQUEST_SECONDS, upgrade=True)
        answer = b""
        try:
            while b"\r\n\r\n" not in answer and (chunk := connection.recv(_CHUNK_BYTES)):
                answer += chunk
            rest = self._parse(answer, f"POST {path}")
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                raise self._unreachable(error) from error
            raise
        connection.settimeout(None)
        return connection, rest

    def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        body: object,
        timeout_seconds: float,
        *,
        upgrade: bool = False,
    ) -> socket.socket:
        payload = b"" if body is None else json.dumps(body).encode()
        # HTTP/1.0: the answer ends with the connection, so there are no chunks to decode. An upgrade is said, as the
        # engine's manual has it: a proxy on the way would drop what comes after the body otherwise.
        version = "1.1\r\nConnection: Upgrade\r\nUpgrade: tcp" if upgrade else "1.0"
        head = (
            f"{method} {path}{_query_text(query)} HTTP/{version}\r\nHost: docker\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(self.socket_path)
            connection.sendall(head.encode() + payload)
        except OSError as error:
            connection.close()
            raise self._unreachable(error) from error
        return connection

    def _unreachable(self, error: OSError) -> EngineError:
        if not os.path.exists(self.socket_path):
            return EngineError(
                f"Cannot reach the Docker engine: there is no socket {self.socket_path}; "
                "install Docker, or start it (systemctl start docker).",
                status=0,
            )
        return EngineError(
            f"Cannot reach the Docker engine at {self.socket_path}: {error.strerror or error}; "
            "start it (systemctl start docker) and look at its log (journalctl -u docker).",
            status=0,
        )

    def _parse(self, answer: bytes, request: str) -> bytes:
        head, separator, body = answer.partition(b"\r\n\r\n")
        status = _status_of(head)
        if not separator or status is None:
            raise _broken_off(request)
        if not (200 <= status < 300 or status in (101, 304)):
            raise EngineError(_refusal(request, status, body), status=status)
        return body


class EventStream:
    """The engine's events as they come; one JSON object per line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._pending = b""
        self._head_seen = False

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def read(self, *, timeout_seconds: float) -> Iterator[dict[str, Any]]:
        """Yield what arrived within the time, at once when something did.

        :raises EngineError: the engine closed the stream, as it does when it is stopped.
        """
        ready, _writable, _failed = select.select([self._connection], [], [], max(0.0, timeout_seconds))
        if not ready:
            return
        try:
            chunk = self._connection.recv(_CHUNK_BYTES)
        except OSError:
            chunk = b""
        if not chunk:
            raise EngineError("The Docker engine closed its event stream.", status=0)
        yield from self._feed(chunk)

    def _feed(self, chunk: bytes) -> Iterator[dict[str, Any]]:
        self._pending += chunk
        if not self._head_seen:
            head, separator, rest = self._pending.partition(b"\r\n\r\n")
            if not separator:
                return
            status = _status_of(head) or 0
            if status != 200:
                raise EngineError(_refusal("GET /events", status, rest), status=status)
            self._head_seen, self._pending = True, rest
        *lines, self._pending = self._pending.split(b"\n")
        for line in filter(None, (line.strip() for line in lines)):
            yield _parse_json(line, "GET /events")


def _status_of(head: bytes) -> int | None:
    found = re.match(rb"HTTP/[0-9.]+ ([0-9]{3})\b", head)
    return int(found[1]) if found else None


def _broken_off(request: str) -> EngineError:
    return EngineError(
        f"Cannot read the Docker engine's answer to {request}: it broke off; the engine was stopped or "
        "restarted, run again when it is up.",
        status=0,
    )


def _parse_json(text: bytes, request: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _broken_off(request) from None


def _query_text(query: Mapping[str, object] | None) -> str:
    if not query:
        return ""
    pairs = (
        f"{quote(name)}={quote(value if isinstance(value, str) else json.dumps(value), safe='')}"
        for name, value in query.items()
    )
    return "?" + "&".join(pairs)


def _refusal(request: str, status: int, body: bytes) -> str:
    try:
        message = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        message = body.decode(errors="replace").strip()
    return f"The Docker engine refused {request} with status {status}: {message}"


def _plain_log(raw: bytes) -> str:
    """Decode the multiplexed log format: 8 bytes (stream, 0, 0, 0, size as big endian), then the text.

    A container with a terminal sends its text as it is.
    Source: the Engine API's manual, "Attach to a container", stream format.
    """
    text, position = bytearray(), 0
    while position + 8 <= len(raw):
        header = raw[position : position + 8]
        if header[0] > 2 or header[1:4] != b"\0\0\0":
            return raw.decode(errors="replace")
        size = int.from_bytes(header[4:8], "big")
        text += raw[position + 8 : position + 8 + size]
        position += 8 + size
    return text.decode(errors="replace") if position or not raw else raw.decode(errors="replace")
