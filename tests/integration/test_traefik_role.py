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
from pathlib import Path

import docker
import pytest
import yaml
from support.edge import ADMIN_SECRETS, DOMAIN, ROUTE_SECONDS, Edge
from support.modules import run_module
from support.ports import free_ports
from support.role_run import SiteOfRoles
from support.site import Site

SECRETS = [
    *ADMIN_SECRETS,
    {"name": "site_ca", "kind": "x509_ca"},
    {"name": "site_tls", "kind": "x509_leaf", "of": "site_ca", "names": [DOMAIN, f"*.{DOMAIN}"]},
]
PROJECT_TASK = "Apply the project"


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
        ca = site.directory / "projects" / site.name("traefik") / "private/ca/ca.pem"
        yield Edge(roles, ports, first, SECRETS, ca.read_text(encoding="ascii"))
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
    password = routed.secret("traefik_admin_password")
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
    values = [routed.secret(name) for name in ("traefik_admin_password", "traefik_admin_login", "site_tls")]
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
    password = routed.secret("traefik_admin_password")
    login = basic("admin", password)
    assert routed.ask(f"second.{DOMAIN}", Authorization=login)[:2] == (200, "v2")
    connection.close()


def test_a_rotated_password_counts_at_once_and_nothing_restarts(routed: Edge) -> None:
    old = routed.secret("traefik_admin_password")
    container = routed.container("traefik")
    done = run_module(
        "secrets",
        {"path": str(routed.roles.secret_store), "site_directory": str(routed.roles.site.directory),
         "secrets": SECRETS, "rotate": ["traefik_admin_password"]},
    )  # fmt: skip
    assert not done.failed, done.msg
    new = routed.secret("traefik_admin_password")
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


def test_certificates_may_come_from_elsewhere(routed: Edge) -> None:
    own = routed.roles.site.directory / "projects" / routed.project / "private/site.pem"
    given = {"certificate": own.read_text(encoding="ascii"), "key": "@@secret:site_tls.private@@"}
    done = routed.again(site_tls="files", traefik_certificates=[given])
    assert done.rc == 0, done.output[-3000:]
    assert not own.exists()
    routed.wait_for(f"first.{DOMAIN}", 200)
    assert "Strict-Transport-Security" in routed.ask(f"first.{DOMAIN}")[2]


def test_the_variables_of_a_dns_provider_reach_traefik_as_files(routed: Edge) -> None:
    secrets = [*SECRETS, {"name": "dns_token", "kind": "token"}]
    # Nobody answers there: what counts is what Traefik would use.
    acme = {"directory": "https://127.0.0.1:9/dir", "challenge": "dns-01", "provider": "cloudflare",
            "variables": {"CF_DNS_API_TOKEN": "@@secret:dns_token@@"}}  # fmt: skip
    done = routed.roles.run("traefik", secrets=secrets, site_tls="acme", traefik_acme=acme)
    assert done.rc == 0, done.output[-3000:]
    container = routed.container("traefik")
    assert "CF_DNS_API_TOKEN_FILE=/etc/traefik/private/dns/CF_DNS_API_TOKEN" in container.attrs["Config"]["Env"]
    assert routed.secret("dns_token") not in json.dumps(container.attrs)
    folder = routed.roles.site.directory / "projects" / routed.project
    token = folder / "private/dns/CF_DNS_API_TOKEN"
    assert token.read_text(encoding="ascii") == routed.secret("dns_token")
    assert token.stat().st_mode & 0o777 == 0o400
    static = yaml.safe_load((folder / "traefik.yml").read_text(encoding="utf-8"))
    assert static["certificatesResolvers"]["acme"]["acme"]["dnsChallenge"] == {"provider": "cloudflare"}
    again = routed.again()
    assert again.rc == 0, again.output[-3000:]


def test_stopped_and_started_again_it_is_the_same_and_absent_leaves_nothing_that_runs(routed: Edge) -> None:
    before = {service: routed.container(service).id for service in ("traefik", "proxy")}
    stopped = routed.again(site_state="stopped")
    assert stopped.rc == 0, stopped.output[-3000:]
    assert {routed.container(service).status for service in before} == {"exited"}
    started = routed.again()
    assert started.rc == 0, started.output[-3000:]
    assert {service: routed.container(service).id for service in before} == before
    routed.wait_for(f"first.{DOMAIN}", 200)

    absent = routed.again(site_state="absent")
    assert absent.rc == 0, absent.output[-3000:]
    filters = {"label": f"com.docker.compose.project={routed.project}"}
    assert routed.roles.site.engine.containers.list(all=True, filters=filters) == []
