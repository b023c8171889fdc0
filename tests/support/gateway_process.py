# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway as the program that it is: a process, and an engine whose containers are listeners of this one."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .gateway import GOOD_CLIENTS, GOOD_KEY, keys_file, service, services_file
from .ports import free_ports
from .tree import ROOT

ADDRESS = "127.0.0.1"
_ASKED = re.compile(r"/containers/([^/?]+)/(json|start|stop)(?:\?t=[0-9]+)?")


class _Ready(http.server.BaseHTTPRequestHandler):
    """A service that is ready."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class StandInEngine(http.server.ThreadingHTTPServer):
    """Docker's API for one container, whose process is a listener on a port of this machine."""

    daemon_threads = True

    def __init__(self, container: str, service_port: int) -> None:
        super().__init__((ADDRESS, 0), _Docker)
        self.container, self.service_port = container, service_port
        self.asked: list[str] = []
        self.process: http.server.ThreadingHTTPServer | None = None
        self.runs = 0
        #: A start takes until it is False again.
        self.is_held = False

    def inspect(self) -> dict[str, Any]:
        running = self.process is not None
        return {
            "Id": "0123abcd",
            "State": {
                "Status": "running" if running else "exited", "ExitCode": 0 if running else 143, "OOMKilled": False,
                "StartedAt": f"run {self.runs}",
            },
            "NetworkSettings": {"Networks": {"edge": {"IPAddress": ADDRESS if running else ""}}},
        }  # fmt: skip

    def start(self) -> None:
        while self.is_held:
            time.sleep(0.02)
        if self.process is None:
            self.runs += 1
            self.process = http.server.ThreadingHTTPServer((ADDRESS, self.service_port), _Ready)
            self.process.daemon_threads = True
            threading.Thread(target=self.process.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self.process is not None:
            self.process.shutdown()
            self.process.server_close()
            self.process = None


class _Docker(http.server.BaseHTTPRequestHandler):
    server: StandInEngine

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        found = _ASKED.fullmatch(self.path)
        if not found or found[1] != self.server.container:
            self._say(404, {"message": "No such container"})
            return
        if found[2] == "json":
            self._say(200, self.server.inspect())
            return
        self.server.asked.append(found[2])
        getattr(self.server, found[2])()
        self._say(204, None)

    def _say(self, status: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        with contextlib.suppress(ConnectionError):  # who asked may be gone
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@dataclass
class GatewayProcess:
    """A gateway that runs, and its files."""

    folder: Path
    port: int
    engine: StandInEngine
    service_port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    def ask(self, key: str = GOOD_KEY, service: str = "chat", timeout_seconds: float = 30.0) -> int:
        """Return the status that the client gets, asked as the gate does."""
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=timeout_seconds)
        try:
            return ask_over(connection, key, service)
        finally:
            connection.close()

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def replace(self, name: str, content: bytes) -> None:
        """Write a file as the role does: at no moment is it missing or half there."""
        (self.folder / f".{name}").write_bytes(content)
        os.replace(self.folder / f".{name}", self.folder / name)

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def until(self, phase: str, seconds: float = 20.0) -> None:
        """Wait until the service is in this phase."""
        until = time.monotonic() + seconds
        wanted = f'phase{{service="chat",phase="{phase}"}} 1'
        while wanted not in (found := self.get("/-/metrics").decode()):
            assert time.monotonic() < until, f"no {wanted} in\n{found}"
            time.sleep(0.02)


def ask_over(connection: http.client.HTTPConnection, key: str, service: str = "chat") -> int:
    """Return the status that the client gets, over a connection that stays open."""
    connection.request("GET", "/auth", headers={"X-API-Key": key, "X-Gate-Service": service})
    answer = connection.getresponse()
    answer.read()
    assert answer.status in (204, 403), f"auth_request makes 500 of {answer.status}"
    return 200 if answer.status == 204 else int(answer.headers["X-Gate-Status"])


@contextlib.contextmanager
def running_gateway(
    folder: Path, clients: dict[str, Any] | None = None, more: int = 0, issued: Path | None = None, **given: Any
) -> Iterator[GatewayProcess]:
    """Run a gateway with one service that is real, and ``more`` that have no container.

    :param issued: the second file of keys; one beside the first if left out.
    """
    service_port, port = free_ports(2)
    engine = StandInEngine("c-chat", service_port)
    threading.Thread(target=engine.serve_forever, args=(0.01,), daemon=True).start()
    chat = service("chat", **{"address": ADDRESS, "port": service_port, "idle_seconds": 1, **given})
    timing = {"dial_seconds": 0.5, "watch_seconds": 0.1, "observe_seconds": 0.5, "read_gap_seconds": 0.02}
    settings = {
        "format": 1, "listen": {"port": port}, "engine": f"http://{ADDRESS}:{engine.server_address[1]}",
        "keys": [f"{folder}/keys.json", str(issued or folder / "issued.json")],
        "services": f"{folder}/services.json", "state": f"{folder}/asleep.json", "timing": timing,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "keys.json").write_bytes(keys_file(GOOD_CLIENTS if clients is None else clients))
    (folder / "services.json").write_bytes(services_file([chat, *(service(f"s{one}") for one in range(more))]))
    # Files: a pipe that nobody empties would hold up the gateway.
    with (folder / "audit.log").open("w") as audit, (folder / "program.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard_gateway", f"{folder}/settings.json"],
            stdout=audit, stderr=log, env={**os.environ, "PYTHONPATH": f"{ROOT}/gateway"},
        )  # fmt: skip
    try:
        gateway = GatewayProcess(folder, port, engine, service_port, process)
        _until_it_listens(gateway)
        yield gateway
    finally:
        process.kill()
        process.wait()
        engine.is_held = False
        engine.shutdown()
        engine.server_close()
        engine.stop()


def _until_it_listens(gateway: GatewayProcess) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            gateway.get("/-/live")
            return
        except OSError:
            assert gateway.process.poll() is None, (gateway.folder / "program.log").read_text()
            assert time.monotonic() < until, "it does not listen"
            time.sleep(0.02)
