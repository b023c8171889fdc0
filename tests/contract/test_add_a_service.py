# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page on a service of one's own, followed to the letter: what it declares is planned and rendered.

No engine is asked; that it comes up is shown by tests/integration/test_add_a_service.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.answers import answers_of
from support.modules import ROOT
from support.page_files import page_files, write_page_files

PAGE = "add-a-service.md"
ROLE = "roles/papers"
DECIDED = {"site_domain": "lab.test", "site_images": "registry", "site_tls": "local_ca"}
TASKS = [
    {
        "name": "Read the needs",
        "modelyard.platform.site_plan": {"roles": "{{ {'site': 'all'} | combine(site_roles) }}"},
        "register": "plan",
    },
    {
        "name": "Render",
        "ansible.builtin.debug": {
            "msg": {
                "plan": "{{ plan }}", "layer": "{{ __papers_layer }}", "files": "{{ __papers_files }}",
                "edge": "{{ __papers_edge }}",
            }
        },
    },
]  # fmt: skip


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a team's repository with the files of the page."""
    folder = tmp_path_factory.mktemp("repository")
    write_page_files(PAGE, folder)
    here = {"hosts": {"localhost": {"ansible_connection": "local"}}}
    groups = dict.fromkeys(("edge", "data", "tracking", "clients"), here)
    (folder / "prod/hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}), encoding="utf-8")
    (folder / "prod/group_vars/all/site.yml").write_text(yaml.safe_dump(DECIDED), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rendered(repository: Path) -> dict[str, Any]:
    """Return the plan of the site and what the role declares, as Ansible renders it."""
    defaults = sorted((ROOT / "roles/site/defaults/main").glob("*.yml"))
    given = {"site_roles", *DECIDED}
    # A play's variables win over the inventory's, a role's defaults do not.
    values = {key: value for path in defaults for key, value in read(path).items() if key not in given}
    files = [str(repository / ROLE / name) for name in ("defaults/main.yml", "vars/main.yml")]
    play = {
        "name": "Plan", "hosts": "localhost", "gather_facts": False, "vars_files": files, "tasks": TASKS,
        "vars": values,
    }  # fmt: skip
    answers = answers_of(play, repository, "-i", "prod")
    [rendered] = [answer for task, answer in answers if "Render" in task]
    told: dict[str, Any] = rendered["msg"]
    return told


def test_page_has_all_files_of_a_role() -> None:
    names = {name.removeprefix(f"{ROLE}/") for name in page_files(PAGE) if name.startswith(ROLE)}
    assert names == {
        "defaults/main.yml", "meta/argument_specs.yml", "meta/needs.yml", "tasks/main.yml", "vars/main.yml"
    }  # fmt: skip


def test_its_roles_are_those_of_the_site_and_the_new_one(repository: Path) -> None:
    ours = read(ROOT / "roles/site/defaults/main/site.yml")["site_roles"]
    assert read(repository / "prod/group_vars/all/roles.yml")["site_roles"] == {**ours, "papers": "edge"}


def test_defaults_and_specification_say_the_same(repository: Path) -> None:
    specified = read(repository / ROLE / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    said = {name: option["default"] for name, option in specified.items()}
    assert said == read(repository / ROLE / "defaults/main.yml")


def test_the_site_takes_it(rendered: dict[str, Any]) -> None:
    plan = rendered["plan"]
    assert plan["problems"] == []
    assert "papers" in plan["order"]
    mine = {
        subject: [need["data"] for need in needs if need["role"] == "papers"]
        for subject, needs in plan["needs"].items()
    }
    assert [secret["name"] for secret in mine["secret"]] == ["papers_password"]
    assert mine["route"] == [{"name": "papers", "hosts": ["papers.lab.test"]}]
    assert [promise["url"] for promise in mine["promise"]] == ["https://papers.lab.test/"] * 2


def test_its_containers_are_confined_and_reached_by_the_edge(rendered: dict[str, Any]) -> None:
    web = rendered["layer"]["services"]["web"]
    assert (web["read_only"], web["cap_drop"], web["user"]) == (True, ["ALL"], "10001:10001")
    assert "ports" not in web
    assert rendered["edge"]["file"] == "/opt/modelyard/edge/routes/modelyard-papers.yml"
    assert "papers.lab.test" in json.dumps(rendered["edge"]["config"])


def test_its_password_is_a_reference_in_a_file_alone(rendered: dict[str, Any]) -> None:
    files = {file["path"]: file["content"] for file in rendered["files"]}
    assert files == {"httpd.conf": "/:reader:@@secret:papers_password@@\n", "pages/index.html": "<h1>Papers</h1>"}
    mounted = {volume.split(":")[0].removeprefix("./") for volume in rendered["layer"]["services"]["web"]["volumes"]}
    assert mounted == {"httpd.conf", "pages"}
