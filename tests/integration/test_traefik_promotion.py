# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role traefik with an authority for tests and a real one: what cannot work never reaches the real one's limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from support.acme import Authority
from support.edge import ADMIN_SECRETS, DOMAIN, Edge
from support.ports import free_ports
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site, new_prefix

WEB, DASHBOARD = f"web.{DOMAIN}", f"traefik.{DOMAIN}"
REDEPLOYS = 20


@dataclass(frozen=True)
class Deployed:
    """A site's edge, and both authorities."""

    roles: SiteOfRoles
    ports: dict[str, int]
    tests: Authority
    real: Authority

    def run(self, *, names: list[str] | None = None, **values: Any) -> RoleRun:
        """Look at the host and apply the role, as role site does."""
        hosts = [
            {"role": "web", "host": "localhost", "at": "localhost", "data": {"name": "web", "hosts": names or [WEB]}}
        ]
        look = {
            "name": "Look", "register": "seen",
            "modelyard.platform.preflight": {
                "edge": {"names": [], "challenge": "dns-01", "volume": f"{self.roles.site.prefix}-traefik_acme"},
            },
        }  # fmt: skip
        return self.roles.run(
            "traefik", secrets=ADMIN_SECRETS, first=[look], site_certificates="{{ seen.certificates }}",
            site_needs={"route": hosts}, site_ports=self.ports, **values,
        )  # fmt: skip

    def edge(self, first: RoleRun) -> Edge:
        return Edge(self.roles, self.ports, first, ADMIN_SECRETS, self.real.root())


@pytest.fixture(scope="module")
def deployed(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    network = engine.networks.create(f"{new_prefix()}-authorities")
    folder = tmp_path_factory.mktemp("promotion")
    for name in ("site", "tests", "real"):
        (folder / name).mkdir()
    site = Site(engine, folder / "site")
    try:
        network.reload()
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        *ports, https, edge_api, records_port, http_port = free_ports(12)
        with (
            Authority(
                folder / "tests", address=gateway, ports=ports[:4], http_port=http_port, records_port=records_port
            ) as tests,
            Authority(folder / "real", address=gateway, ports=ports[4:], http_port=http_port) as real,
        ):
            values = {
                "site_domain": DOMAIN, "site_address": "127.0.0.1", "site_tls": "acme",
                "traefik_socket_gid": Path("/var/run/docker.sock").stat().st_gid,
                "traefik_acme": {"directory": real.directory, "staging": tests.directory,
                                 "ca_certificate": tests.certificate + real.certificate},
            }  # fmt: skip
            served = {"http": http_port, "https": https, "postgres": 5432, "edge_api": edge_api}
            yield Deployed(SiteOfRoles(site, folder, values), served, tests, real)
    finally:
        site.remove()
        network.remove()


def test_1_what_cannot_work_fails_with_the_authoritys_reason_and_the_real_one_hears_nothing(deployed: Deployed) -> None:
    deployed.tests.lead_all_names_to("127.0.0.9")
    done = deployed.run()
    assert done.rc != 0
    said = str(done.results["Wait until the authority for tests has certified every name"]["msg"])
    lines = said.splitlines()
    assert [line.split("'")[1] for line in lines] == [DASHBOARD, WEB]
    assert all("onnection refused" in line for line in lines), said
    assert all(line.endswith("and 443 for TLS-ALPN-01, and run again.") for line in lines)
    assert deployed.tests.orders() >= 2
    assert deployed.real.orders() == 0


def test_2_when_it_works_the_same_run_goes_on_to_the_real_one(deployed: Deployed) -> None:
    # Nothing of the site is changed: it is only asked for once more.
    deployed.tests.lead_all_names_to("127.0.0.1")
    done = deployed.run()
    assert done.rc == 0, done.output[-3000:]
    assert deployed.tests.issued() == 2
    assert (deployed.real.orders(), deployed.real.issued()) == (2, 2)
    # With the real one's certificate: another would not verify.
    deployed.edge(done).wait_for(DASHBOARD, 401)

    again = deployed.run()
    assert again.rc == 0, again.output[-3000:]
    assert again.changed == [], again.output[-3000:]


def test_3_twenty_redeploys_order_nothing(deployed: Deployed) -> None:
    before = (deployed.tests.orders(), deployed.real.orders())
    edge = deployed.edge(deployed.run(traefik_configuration={"log": {"level": "WARN"}}))
    assert edge.first.changed, edge.first.output[-3000:]
    container = edge.container("traefik")
    for _time in range(REDEPLOYS - 2):
        container.restart(timeout=40)
        edge.wait_for(DASHBOARD, 401)
    last = deployed.run()
    assert last.changed, last.output[-3000:]
    edge.wait_for(DASHBOARD, 401)
    time.sleep(3)
    assert (deployed.tests.orders(), deployed.real.orders()) == before


def test_4_a_new_name_is_asked_of_the_real_one_alone(deployed: Deployed) -> None:
    before = deployed.tests.orders()
    done = deployed.run(names=[WEB, f"more.{DOMAIN}"])
    assert done.rc == 0, done.output[-3000:]
    deadline = time.monotonic() + 60
    while deployed.real.issued() < 3:
        assert time.monotonic() < deadline, "there is no certificate for the new name"
        time.sleep(0.5)
    assert deployed.real.orders() == 3
    assert deployed.tests.orders() == before
