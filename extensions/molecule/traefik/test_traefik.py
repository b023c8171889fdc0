# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge alone: TLS by the site's authority, a login, limits, and nothing more open than it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server

NAME = "traefik.molecule.test"
#: Sixty questions over one connection, and what they were answered with.
_HURRY = f"""python3 -c '
import http.client
c = http.client.HTTPSConnection("{NAME}", timeout=20)
for _ in range(60):
    c.request("GET", "/dashboard/"); a = c.getresponse(); a.read(); print(a.status)
'"""


def test_http_leads_to_https(server: Server) -> None:
    answer = server.ask(f"http://{NAME}/somewhere?a=b")
    assert answer.status in (301, 308)
    assert answer.headers["location"] == f"https://{NAME}/somewhere?a=b"


def test_the_dashboard_asks_for_a_login_and_lets_its_administrator_in(server: Server) -> None:
    assert server.ask(f"https://{NAME}/dashboard/").status == 401
    assert server.ask(f"https://{NAME}/dashboard/", login="admin:wrong").status == 401
    password = server.secret("traefik_admin_password")
    assert server.ask(f"https://{NAME}/dashboard/", login=f"admin:{password}").status == 200


def test_a_name_without_a_service_is_answered_with_the_sites_certificate(server: Server) -> None:
    server.must("echo 127.0.0.1 nobody.molecule.test >>/etc/hosts")
    try:
        assert server.ask("https://nobody.molecule.test/").status == 404
    finally:
        server.must("sed -i /nobody.molecule.test/d /etc/hosts")


def test_its_own_interface_is_open_to_the_host_alone(server: Server) -> None:
    assert server.ask("http://127.0.0.1:8099/api/version").status == 200
    address = server.must("hostname -I").split()[0]
    assert server.run(f"timeout 3 bash -c '</dev/tcp/{address}/8099'").rc != 0
    assert server.run(f"timeout 3 bash -c '</dev/tcp/{address}/443'").rc == 0


def test_it_cannot_tell_the_engine_what_to_do(server: Server) -> None:
    """What it reads of the engine passes a proxy that forwards questions alone."""
    asked = "exec 3<>/dev/tcp/127.0.0.1/2375 && printf '%s /containers/{} HTTP/1.0\\r\\n\\r\\n' {} >&3 && head -n 1 <&3"
    shown = [
        server.inside("traefik/proxy", f'bash -c "{asked.format(path, verb)}"')
        for verb, path in (("GET", "json"), ("POST", "create"))
    ]
    assert " 200 " in shown[0]
    assert " 403 " in shown[1]


def test_a_changed_option_limits_the_rate_of_a_client(server: Server) -> None:
    found = server.must(_HURRY).split()
    assert {"401", "429"} == set(found)


def test_after_a_restart_of_the_host_the_edge_serves_the_same_certificate(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    serial = f"python3 -c \"import ssl; print(ssl.get_server_certificate(('{NAME}', 443)))\""
    certificate = server.must(serial)
    before = restarted()
    assert server.containers() == before
    assert server.must(serial) == certificate
    assert server.ask(f"https://{NAME}/dashboard/").status == 401
