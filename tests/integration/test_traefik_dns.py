# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role traefik and DNS-01: a provider of DNS that wants a password, which only the secret store has."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from support.acme import Authority
from support.edge import ADMIN_SECRETS, DOMAIN, Edge
from support.modules import run_module
from support.ports import free_ports
from support.role_run import SiteOfRoles
from support.site import Site, new_prefix

WILDCARD, DASHBOARD = f"*.{DOMAIN}", f"traefik.{DOMAIN}"
USER, PASSWORD = "traefik", "kept-in-the-store-alone"


@dataclass
class Provider:
    """A provider of DNS that lego speaks to as ``httpreq``: it sets records where the authority looks for them."""

    address: str
    authority: Authority
    #: What was asked of it: the path, and whether the password was right.
    asked: list[tuple[str, bool]] = field(default_factory=list)
    port: int = 0

    def answer(self, path: str, authorization: str, body: dict[str, str]) -> int:
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        is_right = authorization == wanted
        self.asked.append((path, is_right))
        if is_right:
            action = {"/present": "set-txt", "/cleanup": "clear-txt"}[path]
            self.authority.set_record(action, body["fqdn"], body["value"])
        return 200 if is_right else 401

    @contextlib.contextmanager
    def serving(self) -> Iterator[Provider]:
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(provider.answer(self.path, self.headers.get("Authorization", ""), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_parts: object) -> None:
                pass

        with http.server.ThreadingHTTPServer((self.address, 0), Handler) as server:
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def provider(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Provider]:
    network = engine.networks.create(f"{new_prefix()}-provider")
    try:
        network.reload()
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        *ports, http_port, records_port = free_ports(6)
        (tmp_path / "acme").mkdir()
        with (
            Authority(
                tmp_path / "acme", address=gateway, ports=ports, http_port=http_port, records_port=records_port
            ) as authority,
            Provider(gateway, authority).serving() as serving,
        ):
            yield serving
    finally:
        network.remove()


def test_a_wildcard_is_certified_with_the_password_from_the_store(
    engine: docker.DockerClient, provider: Provider, tmp_path: Path
) -> None:
    (tmp_path / "site").mkdir()
    site = Site(engine, tmp_path / "site")
    ports = dict(zip(("http", "https", "postgres", "edge_api"), free_ports(4), strict=True))
    # Of records, nobody but the authority's own server knows: lego need not look for them anywhere.
    lego: dict[str, Any] = {"propagation": {"disableChecks": True}, "resolvers": [provider.authority.dns]}
    values = {
        "site_domain": DOMAIN, "site_address": "127.0.0.1", "site_ports": ports, "site_tls": "acme", "site_needs": {},
        "traefik_socket_gid": Path("/var/run/docker.sock").stat().st_gid, "traefik_names": [WILDCARD],
        "traefik_acme": {
            "directory": provider.authority.directory, "ca_certificate": provider.authority.certificate,
            "challenge": "dns-01", "provider": "httpreq",
            "variables": {"HTTPREQ_ENDPOINT": "@@secret:dns_endpoint@@", "HTTPREQ_USERNAME": "@@secret:dns_user@@",
                          "HTTPREQ_PASSWORD": "@@secret:dns_password@@"},
        },
        "traefik_configuration": {"certificatesResolvers": {"acme": {"acme": {"dnsChallenge": lego}}}},
    }  # fmt: skip
    given = {"dns_endpoint": f"http://{provider.address}:{provider.port}", "dns_user": USER, "dns_password": PASSWORD}
    secrets = [*ADMIN_SECRETS, *({"name": name, "kind": "password", "value": text} for name, text in given.items())]
    roles = SiteOfRoles(site, tmp_path, values)
    try:
        done = roles.run("traefik", secrets=secrets)
        assert done.rc == 0, done.output[-3000:]
        edge = Edge(roles, ports, done, secrets, provider.authority.root())
        # The dashboard is served with the wildcard's certificate or its own: both were asked for in the DNS.
        edge.wait_for(DASHBOARD, 401, seconds=60)
        assert set(provider.asked) == {("/present", True), ("/cleanup", True)}
        file = re.sub("[^A-Za-z0-9.]+", "-", provider.authority.directory.removeprefix("https://")) + ".json"
        wanted = {"volume": f"{edge.project}_acme", "file": file, "project": edge.project, "wait_seconds": 60}
        # Of a name below the wildcard Traefik asks for no certificate of its own.
        waited = run_module("acme_certificates", {**wanted, "names": [WILDCARD, DASHBOARD, f"web.{DOMAIN}"]})
        assert not waited.failed, waited.msg
        late = run_module("acme_certificates", {**wanted, "names": [f"a.b.{DOMAIN}"], "wait_seconds": 1})
        assert late.msg.startswith(f"Cannot get a certificate for 'a.b.{DOMAIN}': no authority answered within 1 s; ")
        container = edge.container("traefik")
        assert PASSWORD not in json.dumps(container.attrs) + container.logs().decode() + done.output
        assert PASSWORD not in roles.run("traefik", secrets=secrets).output
    finally:
        site.remove()
