# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role traefik on a site of its own, looked at as a client would, with full verification of certificates."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support.modules import ModuleResult, run_module
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site

DOMAIN = "edge.test"
SECRETS: list[dict[str, Any]] = [
    {"name": "traefik_admin_password", "kind": "password", "length": 16},
    {"name": "traefik_admin_login", "kind": "htpasswd", "of": "traefik_admin_password", "user": "admin"},
    {"name": "site_ca", "kind": "x509_ca"},
    {"name": "site_tls", "kind": "x509_leaf", "of": "site_ca", "names": [DOMAIN, f"*.{DOMAIN}"]},
]
PROJECT_TASK = "Apply the project"
# What a route needs until Traefik serves it: it waits for the folder to be quiet.
ROUTE_SECONDS = 15.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _number in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@dataclass(frozen=True)
class Edge:
    """A running edge, and how to speak to it."""

    roles: SiteOfRoles
    ports: dict[str, int]
    first: RoleRun

    @property
    def project(self) -> str:
        return self.roles.site.name("traefik")

    def again(self, **more: Any) -> RoleRun:
        return self.roles.run("traefik", secrets=SECRETS, **more)

    def secret(self, name: str) -> dict[str, Any]:
        stored = json.loads(self.roles.secret_store.read_text(encoding="utf-8"))
        return dict(stored["secrets"][name])

    def container(self, service: str) -> Container:
        return self.roles.site.engine.containers.get(f"{self.project}-{service}-1")

    def context(self) -> ssl.SSLContext:
        ca = self.roles.site.directory / "projects" / self.project / "private/ca/ca.pem"
        context = ssl.create_default_context(cadata=ca.read_text(encoding="ascii"))
        # What Python 3.13 asks for by default.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def connect(self, host: str) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(f"{host}", self.ports["https"], timeout=40, context=self.context())
        raw = socket.create_connection(("127.0.0.1", self.ports["https"]), timeout=40)
        connection.sock = self.context().wrap_socket(raw, server_hostname=host)
        return connection

    def ask(self, host: str, path: str = "/", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        connection = self.connect(host)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        found = (answer.status, answer.read().decode(errors="replace"), answer.headers)
        connection.close()
        return found

    def wait_for(self, host: str, status: int) -> None:
        deadline = time.monotonic() + ROUTE_SECONDS
        while (found := self.ask(host)[0]) != status:
            assert time.monotonic() < deadline, f"{host} answers {found}, not {status}"
            time.sleep(0.2)

    def route(self, project: str, image: str, **route: Any) -> ModuleResult:
        """Apply a project of the fixture app with one route, as another role would."""
        filtered = self._filter([{"name": project, "hosts": [f"{project}.{DOMAIN}"], "service": "web", "port": 8080,
                                  **route}])  # fmt: skip
        network = self.roles.site.name("edge")
        return run_module(
            "compose_project",
            {
                "name": self.roles.site.name(project), "directory": str(self.roles.site.directory), "pull": "never",
                "layers": [{"services": {"web": {"image": image, "networks": ["edge"]}},
                            "networks": {"edge": {"external": True, "name": network}}}],
                "networks": [{"name": network}],
                "edge": {"file": f"{self.roles.site.directory}/edge/routes/{project}.yml", "config": filtered,
                         "api": f"http://127.0.0.1:{self.ports['edge_api']}"},
            },
        )  # fmt: skip

    @staticmethod
    def _filter(routes: list[dict[str, Any]]) -> dict[str, Any]:
        from ansible_collections.modelyard.platform.plugins.filter.traefik_routes import traefik_routes

        return traefik_routes(routes)


@pytest.fixture(scope="module")
def edge(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    ports = dict(zip(("http", "https", "postgres", "edge_api"), free_ports(4), strict=True))
    values = {
        "site_domain": DOMAIN, "site_address": "127.0.0.1", "site_ports": ports, "site_tls": "local_ca",
        "traefik_socket_gid": Path("/var/run/docker.sock").stat().st_gid,
    }  # fmt: skip
    roles = SiteOfRoles(site, folder, values)
    try:
        first = roles.run("traefik", secrets=SECRETS)
        assert first.rc == 0, first.output[-3000:]
        yield Edge(roles, ports, first)
    finally:
        site.remove()


@pytest.fixture(scope="module")
def routed(edge: Edge, app_images: dict[str, str]) -> Edge:
    done = edge.route("first", app_images["v1"])
    assert not done.failed, done.msg
    edge.wait_for(f"first.{DOMAIN}", 200)
    return edge


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def current(secret: dict[str, Any]) -> str:
    """Return the value that counts now, from a secret's record in the store."""
    version = secret["versions"][str(secret["current"])]
    return str(version["secret"][version["main"]])


def test_a_second_run_changes_nothing_and_check_mode_says_so(routed: Edge) -> None:
    before = {service: routed.container(service).id for service in ("traefik", "proxy")}
    assert routed.again(check=True).changed == []
    again = routed.again()
    assert again.rc == 0, again.output[-3000:]
    assert again.changed == [], again.output[-3000:]
    assert {service: routed.container(service).id for service in before} == before


def test_a_route_is_served_with_the_sites_certificate_and_security_headers(routed: Edge) -> None:
    status, body, headers = routed.ask(f"first.{DOMAIN}")
    assert (status, body) == (200, "v1")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert "Server" not in headers


def test_a_name_without_a_route_is_not_found(routed: Edge) -> None:
    assert routed.ask(f"nobody.{DOMAIN}")[0] == 404


def test_http_leads_to_https_with_its_port(routed: Edge) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", routed.ports["http"], timeout=10)
    connection.request("GET", "/x?y=1", headers={"Host": f"first.{DOMAIN}"})
    answer = connection.getresponse()
    connection.close()
    assert (answer.status, answer.headers["Location"]) == (
        301,
        f"https://first.{DOMAIN}:{routed.ports['https']}/x?y=1",
    )


@pytest.mark.parametrize(
    ("version", "is_refused"),
    [(ssl.TLSVersion.TLSv1_1, True), (ssl.TLSVersion.TLSv1_2, False)],
    ids=["1.1 is refused", "1.2 is served"],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_below_1_2_is_refused(routed: Edge, version: ssl.TLSVersion, is_refused: bool) -> None:
    context = routed.context()
    # Else this client itself would not offer it.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", routed.ports["https"]), timeout=10) as raw:
        if not is_refused:
            with context.wrap_socket(raw, server_hostname=f"first.{DOMAIN}") as spoken:
                assert spoken.version() == "TLSv1.2"
            return
        with pytest.raises(ssl.SSLError, match="protocol version"):
            context.wrap_socket(raw, server_hostname=f"first.{DOMAIN}")


def test_a_client_that_names_no_host_of_the_site_gets_no_certificate(routed: Edge) -> None:
    with (
        socket.create_connection(("127.0.0.1", routed.ports["https"]), timeout=10) as raw,
        pytest.raises(ssl.SSLError, match="unrecognized name"),
    ):
        routed.context().wrap_socket(raw, server_hostname="elsewhere.example.org")


def test_the_dashboard_is_the_administrators(routed: Edge) -> None:
    host = f"traefik.{DOMAIN}"
    password = current(routed.secret("traefik_admin_password"))
    assert routed.ask(host, "/dashboard/")[0] == 401
    assert routed.ask(host, "/dashboard/", Authorization=basic("admin", "wrong"))[0] == 401
    status, body, _headers = routed.ask(host, "/dashboard/", Authorization=basic("admin", password))
    assert status == 200
    assert "Traefik" in body


def test_only_the_declared_ports_listen_on_the_declared_addresses(routed: Edge) -> None:
    routed.container("traefik").reload()
    published = {
        (binding["HostIp"], int(binding["HostPort"]))
        for bindings in routed.container("traefik").attrs["NetworkSettings"]["Ports"].values()
        for binding in bindings or ()
    }
    assert published == {("127.0.0.1", routed.ports[name]) for name in ("http", "https", "edge_api")}


def test_containers_are_confined(routed: Edge) -> None:
    for service in ("traefik", "proxy"):
        attributes = routed.container(service).attrs
        host = attributes["HostConfig"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert attributes["Config"]["User"].partition(":")[0] not in ("", "0"), service


def test_no_secret_is_shown_by_the_engine_or_by_ansible(routed: Edge) -> None:
    values = [current(routed.secret(name)) for name in ("traefik_admin_password", "traefik_admin_login", "site_tls")]
    shown = json.dumps([routed.container(service).attrs for service in ("traefik", "proxy")])
    for value in values:
        # A key has several lines, which JSON would write otherwise.
        for line in [part for part in value.splitlines() if len(part) > 12 and "-----" not in part]:
            assert line not in shown
            assert line not in routed.first.output


REFUSED = [
    ("POST", "/containers/create"),
    ("POST", "/containers/{id}/stop"),
    ("POST", "/containers/{id}/exec"),
    ("DELETE", "/containers/{id}"),
    ("GET", "/containers/{id}/archive?path=/etc/traefik"),
    ("GET", "/containers/{id}/logs?stdout=1"),
    ("GET", "/images/json"),
    ("GET", "/secrets"),
    ("GET", "/info"),
]


def test_the_socket_proxy_reads_what_traefik_needs_and_nothing_else(routed: Edge) -> None:
    proxy = routed.container("proxy")
    [network] = proxy.attrs["NetworkSettings"]["Networks"].values()
    container_id = routed.container("traefik").id

    def ask(method: str, path: str) -> int:
        connection = http.client.HTTPConnection(network["IPAddress"], 2375, timeout=10)
        connection.request(method, path.format(id=container_id))
        with contextlib.closing(connection):
            return connection.getresponse().status

    assert ask("GET", "/containers/json") == 200
    assert ask("GET", "/v1.41/containers/{id}/json") == 200
    assert {(method, path): ask(method, path) for method, path in REFUSED} == dict.fromkeys(REFUSED, 403)
    assert routed.roles.site.engine.networks.get(f"{routed.project}_socket").attrs["Internal"]


def test_a_container_elsewhere_cannot_route_itself_by_labels(
    routed: Edge, engine: docker.DockerClient, app_images: dict[str, str]
) -> None:
    name = routed.roles.site.name("intruder")
    labels = {"traefik.enable": "true", "traefik.http.routers.intruder.rule": f"Host(`intruder.{DOMAIN}`)"}
    network = routed.roles.site.name("edge")
    intruder = engine.containers.run(app_images["v1"], name=name, detach=True, labels=labels, network=network)
    time.sleep(4)
    assert routed.ask(f"intruder.{DOMAIN}")[0] == 404
    intruder.remove(force=True)


def test_a_new_route_leaves_the_container_and_open_connections(routed: Edge, app_images: dict[str, str]) -> None:
    before = routed.container("traefik")
    connection = routed.connect(f"first.{DOMAIN}")
    connection.request("GET", "/stream")
    stream = connection.getresponse()
    assert stream.readline() == b"0\n"
    done = routed.route("second", app_images["v2"], auth="admin")
    assert not done.failed, done.msg
    routed.wait_for(f"second.{DOMAIN}", 401)
    assert [stream.readline() for _number in range(3)] == [b"1\n", b"2\n", b"3\n"]
    after = routed.container("traefik")
    assert (after.id, after.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])
    password = current(routed.secret("traefik_admin_password"))
    login = basic("admin", password)
    assert routed.ask(f"second.{DOMAIN}", Authorization=login)[:2] == (200, "v2")
    connection.close()


def test_a_rotated_password_counts_at_once_and_nothing_restarts(routed: Edge) -> None:
    old = current(routed.secret("traefik_admin_password"))
    container = routed.container("traefik")
    done = run_module(
        "secrets",
        {"path": str(routed.roles.secret_store), "site_directory": str(routed.roles.site.directory),
         "secrets": SECRETS, "rotate": ["traefik_admin_password"]},
    )  # fmt: skip
    assert not done.failed, done.msg
    new = current(routed.secret("traefik_admin_password"))
    assert new != old
    again = routed.again()
    assert again.changed == [PROJECT_TASK], again.output[-3000:]
    assert [step["action"] for step in again.results[PROJECT_TASK]["plan"]] == ["reload"]
    deadline = time.monotonic() + ROUTE_SECONDS
    host = f"traefik.{DOMAIN}"
    while routed.ask(host, "/dashboard/", Authorization=basic("admin", new))[0] != 200:
        assert time.monotonic() < deadline, "the new password is not accepted"
        time.sleep(0.2)
    assert routed.ask(host, "/dashboard/", Authorization=basic("admin", old))[0] == 401
    assert routed.container("traefik").id == container.id
