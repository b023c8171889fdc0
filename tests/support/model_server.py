# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server of files as hosts of models are: ranges, redirects, tokens, and lines that break off."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 as models are declared with it."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class ModelServer:
    """What is served by path, and what was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    #: Path to how many answers break off, and after how many bytes of each.
    breaks: dict[str, tuple[int, int]] = field(default_factory=dict)
    #: Path to the token that it wants.
    tokens: dict[str, str] = field(default_factory=dict)
    knows_ranges: bool = True
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    port: int = 0

    def address(self, path: str, host: str = "127.0.0.1") -> str:
        """Return the address of a path."""
        return f"http://{host}:{self.port}{path}"

    def offer(self, path: str, content: bytes) -> dict[str, Any]:
        """Serve a file; return how a model declares it."""
        self.files[path] = content
        return {"path": path.strip("/"), "sha256": sha256_of(content), "sources": [self.address(path)]}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path, headers = handler.path, {name.lower(): value for name, value in handler.headers.items()}
        self.asked.append((path, headers))
        if path in self.redirects:
            _head(handler, 302, {"Location": self.redirects[path], "Content-Length": "0"})
        elif path not in self.files:
            _head(handler, 404, {"Content-Length": "0"})
        elif path in self.tokens and headers.get("authorization") != f"Bearer {self.tokens[path]}":
            _head(handler, 401, {"Content-Length": "0"})
        else:
            self._send(handler, path, self._start(headers))

    def _start(self, headers: dict[str, str]) -> int:
        asked = headers.get("range", "")
        return int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.knows_ranges else 0

    def _send(self, handler: BaseHTTPRequestHandler, path: str, start: int) -> None:
        content = self.files[path]
        if start >= len(content) > 0 and start:
            _head(handler, 416, {"Content-Length": "0"})
            return
        body = content[start:]
        _head(handler, 206 if start else 200, {"Content-Length": str(len(body))})
        left, after = self.breaks.get(path, (0, 0))
        if left:
            self.breaks[path] = (left - 1, after)
            body = body[:after]
        handler.wfile.write(body)


def _head(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()


@contextmanager
def serving() -> Iterator[ModelServer]:
    """Yield a server on a free port of loopback."""
    served = ModelServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
