# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The front page, with an entry for each service that the site deploys. Its image stands for upstream's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server


def page(server: Server) -> str:
    login = f"admin:{server.secret('traefik_admin_password')}"
    answer = server.ask("https://molecule.test/", login=login)
    assert answer.status == 200, answer.text
    return answer.text


def test_the_page_asks_for_a_login(server: Server) -> None:
    assert server.ask("https://molecule.test/").status == 401
    assert server.ask("https://www.molecule.test/").status == 401


def test_the_page_has_an_entry_for_a_service_of_the_site(server: Server) -> None:
    assert "https://traefik.molecule.test" in page(server)


def test_the_page_has_none_for_a_service_that_is_not_there(server: Server) -> None:
    assert "mlflow.molecule.test" not in page(server)


def test_a_changed_option_is_on_the_page(server: Server) -> None:
    assert "A changed title" in page(server)


def test_it_answers_to_its_own_names_alone(server: Server) -> None:
    script = (
        "import http.client; c = http.client.HTTPConnection('127.0.0.1', 3000); "
        "c.request('GET', '/api/healthcheck', headers={'Host': '%s'}); print(c.getresponse().status)"
    )
    own, other = (
        server.inside("homepage/page", f'python3 -c "{script % name}"') for name in ("molecule.test", "evil.test")
    )
    assert (own, other) == ("200", "400")


def test_it_cannot_write_and_has_no_way_to_the_engine(server: Server) -> None:
    assert server.run("docker exec modelyard-homepage-page-1 touch /app/config/settings.yaml").rc != 0
    assert server.run("docker exec modelyard-homepage-page-1 ls /var/run/docker.sock").rc != 0
    assert server.inside("homepage/page", "id -u") == "1000"


def test_after_a_restart_of_the_host_the_page_is_there(server: Server, restarted: Callable[[], dict[str, str]]) -> None:
    before = restarted()
    assert server.containers() == before
    assert "A changed title" in page(server)
