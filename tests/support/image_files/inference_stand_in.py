# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands for an inference service: tells what reached it, streams, and speaks WebSocket.

Variables: ``PORT``; ``START_SECONDS`` until its port is open; ``LOADING_SECONDS`` after that it answers 503 to all.

``/health``            200
``/echo``              method, path, headers and digest of the body of the request, as JSON
``/stream?seconds=S``  a line every tenth of a second for so long, then ``end``
``/slow?seconds=S``    the same as ``/echo``, after so long
``/status?code=N``     that status
``/redirected``        200, with headers by which nginx would send the request to another place
``/ws``                WebSocket, whose every message comes back

Of each request, when it is through, it writes a line of JSON: path, status, when it began, and until when whoever sent
it surely waited for more (both as ``time.time()``).
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import socketserver
import struct
import sys
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    loaded_at = 0.0

    def _number(self, name: str) -> float:
        return float(parse_qs(urlsplit(self.path).query).get(name, ["0"])[0])

    def do_GET(self) -> None:
        self._status, self._began = 0, time.time()
        self._until = self._began
        try:
            self._serve()
        finally:
            told = {"path": self.path, "status": self._status, "began": self._began, "until": self._until}
            sys.stdout.write(f"{json.dumps(told)}\n")
            sys.stdout.flush()

    def _serve(self) -> None:
        body = self._body()
        path = urlsplit(self.path).path
        if time.monotonic() < self.loaded_at:
            self._say({}, 503)
        elif path == "/ws":
            self._websocket()
        elif path == "/stream":
            self._stream(self._number("seconds"))
        elif path == "/status":
            self._say({"status": self._number("code")}, int(self._number("code")))
        elif path == "/redirected":
            self._say({}, more={"X-Accel-Redirect": "/-/auth", "Access-Control-Allow-Origin": "*"})
        elif path == "/health":
            self._say({})
        else:
            time.sleep(self._number("seconds"))
            digest = hashlib.sha256(body).hexdigest()
            self._say({"method": self.command, "path": self.path, "headers": list(self.headers.items()),
                       "length": len(body), "sha256": digest})  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.do_GET
        raise AttributeError(name)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _say(self, told: Any, status: int = 200, more: dict[str, str] | None = None) -> None:
        content = json.dumps(told).encode()
        self._until = time.time()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(more or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _stream(self, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end = time.monotonic() + seconds
        before = self._began
        while time.monotonic() < end:
            now = time.time()
            self._chunk(b"data: part\n\n")
            # The first write to one who has left succeeds.
            self._until, before = before, now
            time.sleep(0.1)
        self._until = time.time()
        self._chunk(b"data: end\n\n")
        self._chunk(b"")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _websocket(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + _MAGIC
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 0x0F == 8:
                return
            size = head[1] & 0x7F
            if size == 126:
                (size,) = struct.unpack("!H", self.rfile.read(2))
            mask, masked = self.rfile.read(4), self.rfile.read(size)
            plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
            self._until = time.time()
            self.wfile.write(bytes([0x81, len(plain)]) + plain)

    def log_request(self, code: int | str = 0, _size: int | str = 0) -> None:
        self._status = int(code)


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512


if __name__ == "__main__":
    time.sleep(float(os.environ.get("START_SECONDS", "0")))
    Handler.loaded_at = time.monotonic() + float(os.environ.get("LOADING_SECONDS", "0"))
    Server(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
