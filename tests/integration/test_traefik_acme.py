# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role traefik and an authority that speaks ACME: certificates for HTTP and for PostgreSQL, each ordered once."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support.acme import Authority
from support.edge import ADMIN_SECRETS, DOMAIN, Edge
from support.ports import free_ports
from support.role_run import SiteOfRoles
from support.site import Site, new_prefix

WEB, DATABASE, DASHBOARD = f"web.{DOMAIN}", f"database.{DOMAIN}", f"traefik.{DOMAIN}"
ISSUE_SECONDS = 60.0
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


@pytest.fixture(scope="module")
def authority(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    # Every container reaches this machine at the gateway of any network.
    network = engine.networks.create(f"{new_prefix()}-authority")
    try:
        network.reload()
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        *ports, http_port = free_ports(5)
        folder = tmp_path_factory.mktemp("acme")
        with Authority(folder, address=gateway, ports=ports, http_port=http_port) as running:
            yield running
    finally:
        network.remove()


@pytest.fixture(scope="module")
def edge(
    engine: docker.DockerClient,
    authority: Authority,
    app_images: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    ports = dict(zip(("https", "postgres", "edge_api"), free_ports(3), strict=True))
    ports["http"] = authority.http_port
    need = {"role": "postgres", "host": "localhost", "at": "localhost",
            "data": {"name": "database", "kind": "postgres", "hosts": [DATABASE]}}  # fmt: skip
    values = {
        "site_domain": DOMAIN, "site_address": "127.0.0.1", "site_ports": ports, "site_tls": "acme",
        "site_needs": {"route": [need]}, "traefik_socket_gid": Path("/var/run/docker.sock").stat().st_gid,
        "traefik_acme": {"directory": authority.directory, "email": f"admin@{DOMAIN}",
                         "ca_certificate": authority.certificate},
    }  # fmt: skip
    roles = SiteOfRoles(site, folder, values)
    try:
        first = roles.run("traefik", secrets=ADMIN_SECRETS)
        assert first.rc == 0, first.output[-3000:]
        running = Edge(roles, ports, first, ADMIN_SECRETS, authority.root())
        for name, route in (
            ("web", {}),
            ("database", {"kind": "postgres", "allowed_ranges": ["127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]}),
        ):
            done = running.route(name, app_images["v1"], **route)
            assert not done.failed, done.msg
        yield running
    finally:
        site.remove()


def postgres_certificate(edge: Edge) -> bytes:
    """Return the certificate after STARTTLS as libpq 17 does it, verified against the authority."""
    context = edge.context()
    context.set_alpn_protocols(["postgresql"])
    with socket.create_connection(("127.0.0.1", edge.ports["postgres"]), timeout=10) as raw:
        raw.sendall(SSL_REQUEST)
        assert raw.recv(1) == b"S"
        with context.wrap_socket(raw, server_hostname=DATABASE) as spoken:
            assert spoken.selected_alpn_protocol() == "postgresql"
            found = spoken.getpeercert(binary_form=True)
            assert found is not None
            return found


def wait_for_postgres(edge: Edge) -> bytes:
    deadline = time.monotonic() + ISSUE_SECONDS
    while True:
        try:
            return postgres_certificate(edge)
        except (ssl.SSLError, ConnectionError) as error:
            if time.monotonic() > deadline:
                raise AssertionError("there is no certificate for PostgreSQL") from error
            time.sleep(0.5)


def test_each_name_gets_one_certificate_and_none_is_ordered_again(edge: Edge, authority: Authority) -> None:
    edge.wait_for(WEB, 200, seconds=ISSUE_SECONDS)
    edge.wait_for(DASHBOARD, 401, seconds=ISSUE_SECONDS)
    certificate = wait_for_postgres(edge)
    assert authority.issued() == 3

    again = edge.again()
    assert again.rc == 0, again.output[-3000:]
    assert again.changed == [], again.output[-3000:]
    assert authority.issued() == 3

    # What it has got outlives it.
    edge.container("traefik").restart(timeout=40)
    edge.wait_for(WEB, 200)
    assert wait_for_postgres(edge) == certificate
    time.sleep(3)
    assert authority.issued() == 3


def test_the_certificates_are_traefiks_own(edge: Edge) -> None:
    container = edge.container("traefik")
    [volume] = [mount for mount in container.attrs["Mounts"] if mount["Type"] == "volume"]
    [stored] = Path(volume["Source"]).iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert str(stored.stat().st_uid) == container.attrs["Config"]["User"].partition(":")[0]
