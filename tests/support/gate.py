# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site with an edge, a gate and services behind it that stand for engines, and clients of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from support import images
from support.edge import ADMIN_SECRETS, DOMAIN, Edge
from support.ports import free_ports
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site

STAND_IN = images.Layered(
    "inference",
    images.BASE,
    ("inference_stand_in.py",),
    '\nFROM {parent}\nCOPY inference_stand_in.py /\nUSER 65534:65534\nCMD ["python3", "/inference_stand_in.py"]\n',
)
#: Clients by name; the one whose key is too old is among them.
CLIENTS: list[dict[str, Any]] = [
    {"name": "app", "scopes": ["*"], "keys": [{"id": "1"}, {"id": "old", "not_after": "2020-01-01T00:00:00Z"}]},
    {"name": "narrow", "scopes": ["other"]},
    {"name": "limited", "scopes": ["*"], "rate": {"per_minute": 0.01, "burst": 1}},
    {"name": "going", "scopes": ["*"]},
]
TLS_SECRETS = [
    *ADMIN_SECRETS,
    {"name": "site_ca", "kind": "x509_ca"},
    {"name": "site_tls", "kind": "x509_leaf", "of": "site_ca", "names": [DOMAIN, f"*.{DOMAIN}"]},
]
#: Shorter than those of a site where a test waits for them.
TIMING = {"dial_seconds": 6, "watch_seconds": 0.5, "observe_seconds": 1, "patience_seconds": 1}
NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True)
class Service:
    """What stands for an engine: how long until its port is open, what is declared of it, how long it answers 503."""

    name: str
    start_seconds: float = 0.0
    declared: Mapping[str, Any] = field(default_factory=dict)
    loading_seconds: float = 0.0


@dataclass(frozen=True)
class Reply:
    """What a client got, and how long that took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def told(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class GateSite:
    """A running site."""

    roles: SiteOfRoles
    edge: Edge
    services: Mapping[str, Service]

    @property
    def site(self) -> Site:
        return self.roles.site

    @property
    def project_folder(self) -> Path:
        return self.site.directory / "projects" / self.site.name("gateway")

    def part(self, service: str) -> Container:
        """Return a container of the role's own project."""
        return self.site.engine.containers.get(f"{self.site.name('gateway')}-{service}-1")

    def ids(self) -> dict[str, tuple[str, str]]:
        """Return which containers the project has, and since when they run."""
        parts = {name: self.part(name) for name in ("pod", "gate", "gateway", "engine", "storage")}
        return {name: (str(part.id), part.attrs["State"]["StartedAt"]) for name, part in parts.items()}

    def container(self, name: str) -> Container:
        return self.site.engine.containers.get(self.site.name(f"inference-{name}"))

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.container(name).attrs["State"]
        return found

    def is_running(self, name: str) -> bool:
        return bool(self.state(name)["Running"])

    def key(self, client: str, number: str = "1") -> str:
        return self.edge.secret(f"gateway_key_{client}_{number}")

    def connect(self, service: str, seconds: float = 150.0) -> http.client.HTTPSConnection:
        connection = self.edge.connect(host_of(service))
        assert connection.sock is not None
        connection.sock.settimeout(seconds)
        return connection

    def ask(
        self, service: str, path: str = "/echo", *, method: str = "GET", key: str | None = "app",
        headers: Mapping[str, str] | None = None, body: bytes | None = None,
    ) -> Reply:  # fmt: skip
        """Ask a service through the edge.

        :param key: the client whose key is sent.
        """
        sent = {**({"X-API-Key": self.key(key)} if key else {}), **(headers or {})}
        with contextlib.closing(self.connect(service)) as connection:
            return reply_to(connection, method, path, sent, body)

    def gate_address(self) -> str:
        """Return where the gate is in the edge's network, as this machine reaches it."""
        networks = self.part("pod").attrs["NetworkSettings"]["Networks"]
        return str(networks[self.site.name("edge")]["IPAddress"])

    def figure(self, name: str) -> float:
        """Return a figure of the gateway, such as ``in_flight{service="chat"}``; NaN where it is not known."""
        script = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/-/metrics').read().decode())"
        told = self.inside("gateway", "python", "-c", script)
        found = [line.rpartition(" ")[2] for line in told.splitlines() if line.startswith(f"modelyard_gateway_{name} ")]
        return float(found[0]) if found else math.nan

    def inside(self, part: str, *command: str) -> str:
        """Return what a command in a container of the project writes."""
        done = self.part(part).exec_run(list(command))
        assert isinstance(done.output, bytes)
        assert done.exit_code == 0, done.output
        return done.output.decode()

    def phase(self, service: str) -> str:
        return str(self.ask(service, f"/-/health/{service}", key=None).told["state"])

    def until(self, service: str, phase: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while (found := self.phase(service)) != phase:
            assert time.monotonic() < deadline, f"{service} is {found}, not {phase}"
            time.sleep(0.1)

    def until_stopped(self, service: str, seconds: float = 20.0) -> None:
        """Wait until its container has ended: who is about to sleep is told to clients as asleep already."""
        deadline = time.monotonic() + seconds
        while self.is_running(service):
            assert time.monotonic() < deadline, f"{service} still runs"
            time.sleep(0.1)

    def apply(
        self, *, check: bool = False, services: Mapping[str, Service] | None = None, fails: bool = False, **more: Any
    ) -> RoleRun:
        """Run the role with the clients of the site, or with other ones; ``fails``: it may."""
        clients = more.pop("clients", CLIENTS)
        needs = {
            "gated": [_need(self.declaration(service)) for service in (services or self.services).values()],
            "api_client": [_need(client) for client in clients],
        }
        done = self.roles.run("gateway", secrets=[*self.edge.secrets, *_secrets(CLIENTS)], check=check,
                              site_needs=needs, gateway_timing=TIMING, **more)  # fmt: skip
        assert done.rc == 0 or fails, done.output[-4000:]
        return done

    def declaration(self, service: Service) -> dict[str, Any]:
        name = self.site.name(f"inference-{service.name}")
        return {
            "name": service.name, "container": name, "address": name, "port": 8080, "ready": {"path": "/health"},
            "hosts": [host_of(service.name)], "idle_seconds": 3600, "hold_seconds": 30, "stop_seconds": 1,
            **service.declared,
        }  # fmt: skip

    def make(self, service: Service) -> None:
        """Make its container, which is not started, in the network that it has for itself or in that of all others."""
        if network := service.declared.get("network"):
            self.site.engine.networks.create(network, internal=True)
        self.site.engine.containers.create(
            images.ensure(STAND_IN), name=self.site.name(f"inference-{service.name}"), init=True,
            network=network or self.site.name("inference"),
            environment=[f"START_SECONDS={service.start_seconds}", f"LOADING_SECONDS={service.loading_seconds}"],
        )  # fmt: skip


def host_of(service: str) -> str:
    return f"{service}.{DOMAIN}"


def reply_to(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
) -> Reply:
    """Send a request over a connection that may stay open, and return what came back."""
    started = time.monotonic()
    connection.request(method, path, body=body, headers=dict(headers))
    answer = connection.getresponse()
    content = answer.read()
    return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, content,
                 time.monotonic() - started)  # fmt: skip


def _need(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "inference", "host": "localhost", "at": "localhost", "data": dict(data)}


def _secrets(clients: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": f"gateway_key_{client['name']}_{key['id']}", "kind": "api_key"}
        for client in clients
        for key in client.get("keys") or [{"id": "1"}]
    ]


@contextlib.contextmanager
def running_site(engine: docker.DockerClient, folder: Path, services: list[Service]) -> Iterator[GateSite]:
    """Run a site with these services, all of them asleep."""
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    ports = dict(zip(("http", "https", "postgres", "edge_api"), free_ports(4), strict=True))
    gid = Path("/var/run/docker.sock").stat().st_gid
    values = {
        "site_domain": DOMAIN, "site_address": "127.0.0.1", "site_ports": ports, "site_tls": "local_ca",
        "traefik_socket_gid": gid, "gateway_socket_gid": gid, "gateway_gpu_memory_mib": {"0": 100},
        "traefik_rate": {"average": 0},
    }  # fmt: skip
    roles = SiteOfRoles(site, folder, values)
    try:
        first = roles.run("traefik", secrets=TLS_SECRETS)
        assert first.rc == 0, first.output[-3000:]
        ca = site.directory / "projects" / site.name("traefik") / "private/ca/ca.pem"
        edge = Edge(roles, ports, first, TLS_SECRETS, ca.read_text(encoding="ascii"))
        found = GateSite(roles, edge, {service.name: service for service in services})
        found.apply()
        for service in services:
            found.make(service)
        edge.wait_for(host_of(services[0].name), 401)
        for service in services:
            if "replica_of" not in service.declared:
                found.until(service.name, "asleep")
        yield found
    finally:
        site.remove()
