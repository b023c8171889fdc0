# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page on a service of one's own, followed to the letter: its files make a service that readers reach."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import docker
import pytest
import requests
import yaml
from support.modules import ROOT
from support.page_files import page_files, write_page_files
from support.ports import free_ports
from support.whole_site import BUNDLE, Play, WholeSite

#: What the service does not need; the page's list is taken without it, so that the test is quick.
LEFT_OUT = {"postgres", "object_store", "mlflow"}


@dataclass(frozen=True)
class Papers:
    """The service, on a site of its own."""

    whole: WholeSite

    def up(self, **variables: object) -> Play:
        chosen = [f"--extra-vars={yaml.safe_dump(variables, default_flow_style=True)}"] if variables else []
        done = self.whole.play(*chosen, playbook=str(self.whole.folder / "site.yml"))
        assert done.rc == 0, done.output[-6000:]
        return done

    def ask(self, path: str, *, user: str = "reader", password: str | None = None) -> requests.Response:
        login = (user, self.whole.secret("papers_password") if password is None else password)
        return requests.get(self.whole.url("papers") + path, auth=login, verify=BUNDLE, timeout=10)

    @property
    def container(self) -> str:
        return self.whole.ids()["papers/web"]


@pytest.fixture(scope="module")
def papers(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Papers]:
    folder = tmp_path_factory.mktemp("papers")
    ports = dict(zip(("http", "https", "postgres", "edge_api"), free_ports(4), strict=True))
    # This and the playbook as `modelyard.platform.init` puts them into a team's repository.
    whole = WholeSite(engine, folder, ports=ports, settings={"ANSIBLE_ROLES_PATH": str(folder / "roles")})
    write_page_files("add-a-service.md", folder)
    shutil.copy2(ROOT / "playbooks/files/init/site.yml", folder)
    named = yaml.safe_load(page_files("add-a-service.md")["prod/group_vars/all/roles.yml"])["site_roles"]
    roles = {role: group for role, group in named.items() if role not in LEFT_OUT}
    whole.write_inventory(site_roles=roles, postgres_route_enabled=None)
    found = Papers(whole)
    try:
        found.up()
        yield found
    finally:
        whole.destroy()


def test_a_reader_with_the_password_reads_and_nobody_else(papers: Papers) -> None:
    answer = papers.ask("/")
    assert (answer.status_code, answer.text) == (200, "<h1>Papers</h1>")
    assert papers.ask("/", password="wrong").status_code == 401


def test_a_second_run_changes_nothing(papers: Papers) -> None:
    before = papers.container
    assert papers.up().changed == {}
    assert papers.container == before


def test_a_changed_page_is_served_by_the_same_container(papers: Papers) -> None:
    before = papers.container
    papers.up(papers_pages={"index.html": "<h1>Papers</h1>", "new.html": "<p>Read me</p>"})
    assert papers.container == before
    assert papers.ask("/new.html").text == "<p>Read me</p>"


def test_another_reader_means_another_container(papers: Papers) -> None:
    before = papers.container
    papers.up(papers_user="guest")
    assert papers.container != before
    assert papers.ask("/", user="guest").status_code == 200
    assert papers.ask("/", user="reader").status_code == 401
