# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site with the real gateway program beside a real engine, and services that only it starts.

No image of it is built: the program, and the three packages that it needs, are mounted into a bare one.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from .applied import AppliedProject
from .declared import address
from .events import SERVICE
from .gateway import GOOD_CLIENTS, GOOD_KEY, keys_file, service, services_file
from .modules import ModuleResult
from .site import PROJECT_LABEL, Site
from .tree import ROOT

GPU_MIB = 1000
_PORT = 9090
_ANYWHERE = "0.0.0.0"  # noqa: S104 - in a container, on a network of the test's own
_UID = 65534

#: Lets through all that it is asked, which only the gateway's network may do.
_RELAY = """
import socket, threading
def copy(source, target):
    try:
        while block := source.recv(65536):
            target.sendall(block)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
listening = socket.create_server(("0.0.0.0", 2375), backlog=64)
while True:
    asking, _address = listening.accept()
    engine = socket.socket(socket.AF_UNIX)
    engine.connect("/var/run/docker.sock")
    for ends in ((asking, engine), (engine, asking)):
        threading.Thread(target=copy, args=ends, daemon=True).start()
"""

#: Serves, and takes memory until the kernel ends it when it is asked for that.
GREEDY = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/eat":
            eaten = [bytearray(1 << 20) for _ in range(500)]
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


class SleepingSite:
    """The gateway's project, and one of services ``a`` and ``b`` of which only one fits into the GPU at a time."""

    def __init__(self, engine: docker.DockerClient, site: Site, base_image: str) -> None:
        self.engine, self.site, self._base = engine, site, base_image
        self.network = site.name("inference")
        self.gateway = AppliedProject(engine, site, "gateway")
        self.project = AppliedProject(engine, site, "models", wait_seconds=60)

    def start_gateway(self) -> None:
        """Apply the gateway's project; it knows ``a`` and ``b`` before they are there."""
        state, program = self.site.directory / "state", self.site.directory / "program"
        (program / "bin").mkdir(parents=True)
        (program / "bin" / "python").symlink_to("/usr/bin/python3")
        state.mkdir(mode=0o700, exist_ok=True)
        (state / "gateway").mkdir(mode=0o700)
        os.chown(state / "gateway", _UID, _UID)
        self.declare("a", "b")

    def declare(self, *names: str) -> None:
        """Apply the gateway's project with these services, of which it knows the change within a second."""
        state, program = self.site.directory / "state", self.site.directory / "program"
        packages = {name: _folder_of(name) for name in ("uvicorn", "click", "h11")}
        mounts = [f"{path}:/packages/{name}:ro" for name, path in packages.items()]
        mounts += [f"{ROOT}/gateway/modelyard_gateway:/packages/modelyard_gateway:ro", f"{program}:/program:ro"]
        gateway = {
            "image": self._base,
            "command": ["python", "-m", "modelyard_gateway", "/config/settings.json"],
            "user": f"{_UID}:{_UID}",
            "environment": {
                "PATH": "/program/bin:/usr/bin:/bin", "PYTHONPATH": "/packages", "PYTHONDONTWRITEBYTECODE": "1",
            },
            "volumes": [*mounts, "./config:/config:ro", f"{state}/gateway:/state"],
            "networks": ["inference"],
            "healthcheck": {"test": ["CMD", "python", "-c", _PROBE], "interval": "1s", "retries": 30},
        }  # fmt: skip
        relay = {
            "image": self._base,
            "command": ["python3", "-c", _RELAY],
            "volumes": ["/var/run/docker.sock:/var/run/docker.sock"],
            "networks": ["inference"],
        }
        networks = {"inference": {"external": True, "name": self.network}}
        self.gateway.apply(
            layers=[{"services": {"gateway": gateway, "engine": relay}, "networks": networks}],
            files=[
                {"path": f"config/{name}", "content": content, "mode": "0644", "on_change": "watch"}
                for name, content in self._configuration(names).items()
            ],
            networks=[{"name": self.network}],
        )

    def _configuration(self, names: Sequence[str]) -> dict[str, str]:
        timing = {
            "dial_seconds": 0.5, "watch_seconds": 0.2, "observe_seconds": 0.5, "read_gap_seconds": 0.02,
            "patience_seconds": 0.5, "proof_room_seconds": 2, "first_backoff_seconds": 1,
        }  # fmt: skip
        settings = {
            "format": 1, "listen": {"host": _ANYWHERE, "port": _PORT}, "engine": "http://engine:2375",
            "keys": ["/config/keys.json"], "services": "/config/services.json", "state": "/state/asleep.json",
            "timing": timing,
        }  # fmt: skip
        ready = {"path": "/healthz"}
        services = [
            service(
                name, container=f"{self.project.name}-{name}-1", vram_mib={"0": 600}, idle_seconds=600, wake_seconds=30,
                ready=ready,
            )
            for name in names
        ]  # fmt: skip
        return {
            "settings.json": json.dumps(settings),
            "keys.json": keys_file(GOOD_CLIENTS).decode(),
            "services.json": services_file(services, {"0": GPU_MIB}).decode(),
        }

    def sleeper(self, name: str, image: str, **more: Any) -> dict[str, Any]:
        """Return a service that only the gateway starts."""
        extras = {"sleeper": {"project": self.gateway.name, "service": "gateway", "name": name}, "drain_seconds": 5}
        return {"image": image, "networks": ["inference"], "x-modelyard": extras, **more}

    def params(self, services: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of the project with these services."""
        networks = {"inference": {"external": True, "name": self.network}}
        return {
            "layers": [{"services": dict(services), "networks": networks}], "networks": [{"name": self.network}],
        }  # fmt: skip

    def run(self, services: Mapping[str, Any], **options: Any) -> ModuleResult:
        return self.project.run(**self.params(services), **options)

    def apply(self, services: Mapping[str, Any]) -> ModuleResult:
        return self.project.apply(**self.params(services))

    def ask(self, name: str) -> int:
        """Ask as the gate does, with a good key; return the status that the client gets."""
        connection = http.client.HTTPConnection(address(self.gateway.container("gateway")), _PORT, timeout=60)
        try:
            connection.request("GET", "/auth", headers={"X-API-Key": GOOD_KEY, "X-Gate-Service": name})
            answer = connection.getresponse()
            return 200 if answer.status == 204 else int(answer.headers["X-Gate-Status"])
        finally:
            connection.close()

    def order(self, path: str) -> int:
        """Order something of the gateway from outside of its network namespace; return the status."""
        connection = http.client.HTTPConnection(address(self.gateway.container("gateway")), _PORT, timeout=60)
        try:
            connection.request("POST", path)
            return connection.getresponse().status
        finally:
            connection.close()

    @contextmanager
    def in_flight(self, name: str) -> Iterator[None]:
        """Have a request in flight to a service that is awake, from where the gate is."""
        dial = f"opened = socket.create_connection(('{name}', 8080))"
        program = f"import socket, sys; {dial}; print(1, flush=True); sys.stdin.read()"
        argv = ["docker", "exec", "-i", self.gateway.container("gateway").name or "", "python", "-c", program]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"1\n"
            yield

    def state(self, name: str) -> dict[str, Any]:
        """Return what the engine says of a service's container."""
        found: dict[str, Any] = self.project.container(name).attrs["State"]
        return found

    def ids(self, name: str, status: str) -> set[str]:
        """Return the ids of a service's containers in this state, at a moment at which some may be about to go."""
        labels = [f"{PROJECT_LABEL}={self.project.name}", f"{SERVICE}={name}"]
        filters = {"label": labels, "status": status}
        return {entry["Id"] for entry in self.engine.api.containers(all=True, filters=filters)}

    def until(self, name: str, status: str, seconds: float = 20.0) -> Container:
        """Wait until a service's container is in this state; return it."""
        until = time.monotonic() + seconds
        while True:
            container = self.project.container(name)
            if container.status == status:
                return container
            assert time.monotonic() < until, f"{name} is {container.status}"
            time.sleep(0.1)


_PROBE = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{_PORT}/-/live')"


def _folder_of(package: str) -> str:
    found = find_spec(package)
    assert found is not None, f"the tests' environment has no {package}"
    assert found.origin is not None, package
    return str(Path(found.origin).parent)
