# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role homepage on a site of its own, with an image that stands for Homepage's."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container
from support import images
from support.ports import free_ports
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site
from support.stand_ins import HOMEPAGE

DOMAIN = "lab.test"
TASK = "Apply the project"
ENTRY = {"name": "MLflow", "group": "Machine learning", "description": "Runs and models", "icon": "mlflow.png"}
NEEDS = {
    "route": [
        {"role": "traefik", "host": "localhost", "data": {"name": "traefik", "hosts": [f"traefik.{DOMAIN}"]}},
        {"role": "mlflow", "host": "localhost", "data": {"name": "m", "hosts": [f"mlflow.{DOMAIN}"], "entry": ENTRY}},
    ]
}
SECRETS = [{"name": "builds_token", "kind": "token"}]


@dataclass(frozen=True)
class FrontPage:
    """The running page, and how to change and ask it."""

    roles: SiteOfRoles

    @property
    def container(self) -> Container:
        return self.roles.site.engine.containers.get(f"{self.roles.site.name('homepage')}-page-1")

    def apply(self, *, check: bool = False, **variables: Any) -> RoleRun:
        done = self.roles.run("homepage", secrets=SECRETS, check=check, **variables)
        assert done.rc == 0, done.output[-3000:]
        return done

    def ask(self, path: str, host: str = f"{DOMAIN}:8443") -> tuple[int, str]:
        network = self.roles.site.name("edge")
        address = self.container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
        connection = http.client.HTTPConnection(address, 3000, timeout=10)
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text


@pytest.fixture(scope="module")
def page(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontPage]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    ports = dict(zip(("http", "https", "postgres", "edge_api"), (8080, 8443, 5432, *free_ports(1)), strict=True))
    values = {
        "site_domain": DOMAIN, "site_ports": ports, "site_needs": NEEDS, "__site_url_port": ":8443",
        "homepage_image": images.ensure(HOMEPAGE),
    }  # fmt: skip
    found = FrontPage(SiteOfRoles(site, folder, values))
    try:
        found.apply()
        yield found
    finally:
        site.remove()


def test_a_second_run_changes_nothing_and_check_mode_says_so(page: FrontPage) -> None:
    before = page.container.id
    assert page.apply(check=True).changed == []
    assert page.apply().changed == []
    assert page.container.id == before


def test_it_shows_the_services_of_the_site_once_it_is_well(page: FrontPage) -> None:
    status, shown = page.ask("/")
    assert status == 200
    assert f"https://mlflow.{DOMAIN}:8443" in shown
    # Nothing was said of how it is shown.
    assert f"traefik.{DOMAIN}" not in shown


@pytest.mark.parametrize(
    ("host", "status"),
    [(f"{DOMAIN}:8443", 200), (f"www.{DOMAIN}:8443", 200), (DOMAIN, 400), ("elsewhere.test", 400)],
)
def test_it_answers_to_its_names_alone(page: FrontPage, host: str, status: int) -> None:
    assert page.ask("/api/healthcheck", host)[0] == status


def test_it_is_confined_and_has_no_way_to_the_engine(page: FrontPage) -> None:
    attributes = page.container.attrs
    assert attributes["Config"]["User"] == "1000:1000"
    assert attributes["HostConfig"]["ReadonlyRootfs"]
    assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
    assert not attributes["HostConfig"]["PortBindings"]
    assert [(mount["Destination"], mount["RW"]) for mount in attributes["Mounts"]] == [("/app/config", False)]


def test_a_changed_setting_is_shown_by_the_same_container(page: FrontPage) -> None:
    before = page.container.id
    changes: dict[str, Any] = {
        "homepage_settings": {"title": "Our lab"},
        "homepage_bookmarks": [{"name": "Papers", "href": "https://papers.example.org", "abbr": "PA"}],
    }
    foretold = page.apply(check=True, **changes)
    assert [step["action"] for step in foretold.results[TASK]["plan"]] == ["reload"]
    assert "Our lab" not in page.ask("/")[1]
    page.apply(**changes)
    assert page.container.id == before
    assert "title: Our lab" in page.ask("/")[1]
    assert "https://papers.example.org" in page.ask("/")[1]
    assert page.apply(**changes).changed == []


def test_a_secret_of_a_widget_is_in_its_file_alone(page: FrontPage) -> None:
    widget = {"type": "jenkins", "password": "@@secret:builds_token@@"}
    done = page.apply(homepage_services=[{"name": "Builds", "href": "https://b.test", "more": {"widget": widget}}])
    stored = json.loads(page.roles.secret_store.read_text(encoding="utf-8"))["secrets"]["builds_token"]
    token = stored["versions"][str(stored["current"])]["secret"]["value"]
    path = page.roles.site.directory / "projects" / page.roles.site.name("homepage") / "config/services.yaml"
    shown = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {
        "Links": [{"Builds": {"href": "https://b.test", "widget": {"type": "jenkins", "password": token}}}]
    } in shown
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (1000, 0o400)
    assert token not in json.dumps(page.container.attrs)
    assert token not in done.output


def test_an_open_page_asks_for_no_login(page: FrontPage) -> None:
    route = page.roles.site.directory / "edge/routes" / f"{page.roles.site.name('homepage')}.yml"
    assert "admin@file" in route.read_text(encoding="utf-8")
    page.apply(homepage_public=True)
    assert "admin@file" not in route.read_text(encoding="utf-8")
