# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small HTTP server whose misbehaviour is set by environment variables. Standard library only.

========================= =====================================================================================
``PORT``                  where it listens; 8080
``VERSION``               what ``GET /`` answers; set by the image
``BROKEN``                not empty: write three lines and exit with 3 before listening; set by the image ``broken``
``START_SECONDS``         how long ``/healthz`` answers 503 after the start; 0
``CRASH_AFTER_SECONDS``   exit with ``EXIT_CODE`` (1) that long after the start
``EAT_MEBIBYTES``         take that much memory, then go on: beyond the limit the kernel kills it
``ONE_SHOT``              not empty: write ``ONE_SHOT`` and exit with ``EXIT_CODE`` (0) instead of serving
``ONE_SHOT_SECONDS``      how long the one-shot works before it exits; 0
``FILE``                  path of the file that ``GET /file`` answers with, and that SIGHUP reads again for
                          ``GET /loaded``
========================= =====================================================================================

``GET /healthz``; ``GET /`` the version; ``GET /host`` the container's name; ``GET /env/NAME``; ``POST /slow`` answers
after 2 s and writes ``POST <body>`` to the output once per request; ``GET /stream`` sends a numbered line a second for
30 s; ``POST /unhealthy`` and ``POST /healthy`` set what ``/healthz`` says. It ends at once on SIGTERM.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STARTED = time.monotonic()
STATE = {"healthy": True}
LOADED = bytearray()
EATEN: list[bytes] = []
SLOW_SECONDS = 2
STREAM_LINES = 30


def setting(name: str, default: float = 0) -> float:
    return float(os.environ.get(name) or default)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_file() -> bytes:
    with open(os.environ["FILE"], "rb") as stream:
        return stream.read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/healthz":
            healthy = STATE["healthy"] and time.monotonic() - STARTED >= setting("START_SECONDS")
            self.answer(200 if healthy else 503, b"healthy\n" if healthy else b"not healthy yet, or told to be so\n")
        elif self.path == "/stream":
            self.stream()
        elif self.path == "/file":
            self.answer(200, read_file())
        elif self.path == "/loaded":
            self.answer(200, bytes(LOADED))
        elif self.path == "/host":
            self.answer(200, socket.gethostname().encode())
        elif self.path.startswith("/env/"):
            self.answer(200, os.environ.get(self.path.removeprefix("/env/"), "").encode())
        else:
            self.answer(200, os.environ.get("VERSION", "").encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/slow":
            say(f"POST {body.decode(errors='replace')}")
            time.sleep(SLOW_SECONDS)
        elif self.path in ("/unhealthy", "/healthy"):
            STATE["healthy"] = self.path == "/healthy"
        self.answer(200, os.environ.get("VERSION", "").encode())

    def stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(STREAM_LINES):
            line = b"%d\n" % number
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            time.sleep(1)
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Keep the output for what tests look for."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_signal: os._exit(0))
    if os.environ.get("BROKEN"):
        say("starting version " + os.environ.get("VERSION", ""))
        say("cannot read the schema: column 'colour' is missing")
        say("giving up")
        sys.exit(3)
    if os.environ.get("ONE_SHOT"):
        time.sleep(setting("ONE_SHOT_SECONDS"))
        say(os.environ["ONE_SHOT"])
        sys.exit(int(setting("EXIT_CODE")))
    if os.environ.get("CRASH_AFTER_SECONDS"):
        start_later(setting("CRASH_AFTER_SECONDS"), crash)
    if os.environ.get("EAT_MEBIBYTES"):
        start_later(0.5, eat)
    if os.environ.get("FILE"):
        load()
        signal.signal(signal.SIGHUP, lambda *_signal: load())
    say("serving version " + os.environ.get("VERSION", ""))
    Server(("", int(setting("PORT", 8080))), Handler).serve_forever()


def load() -> None:
    LOADED[:] = read_file()


def crash() -> None:
    say("crashing as told")
    os._exit(int(setting("EXIT_CODE", 1)))


def eat() -> None:
    EATEN.extend(os.urandom(1 << 20) for _number in range(int(setting("EAT_MEBIBYTES"))))
    say("has eaten")


def start_later(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    main()
