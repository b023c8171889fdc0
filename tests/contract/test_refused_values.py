# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values that roles refuse, of registries, the front page and remote desktops, told before anything is touched.

Each case is a host with values of its own, so that one run of ``site_plan`` tells of all of them.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from support.answers import answers_of

ROLES = {"docker": "site_hosts", "traefik": "site_hosts", "homepage": "site_hosts", "rustdesk": "site_hosts"}
ENTRY = {"name": "Wiki", "href": "https://wiki.lab.eu"}
PORT = "Cannot run RustDesk on port {}: "
OUT_OF_REACH = (
    "the ports from one below it to three above it are used, by programs that are not root; choose one from 1025 to "
    "65532, such as 21116."
)
TAKEN = "it takes the ports below and above it too, and site_ports has one of these; choose another rustdesk_port."

REGISTRY = {"host": "registry.lab.eu", "username": "deploy"}
NO_REFERENCE = (
    "Cannot log in to registries: a password in docker_registries is missing or no reference to a secret, so that "
    "everybody who reads the inventory would have it; give it to site_secrets as 'value', and write "
    "'@@secret:NAME@@' here."
)

#: Case to values and what is said of them.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "as-they-come": ({}, []),
    "entries-and-marks": (
        {"homepage_services": [{**ENTRY, "more": {"widget": {"type": "x"}}}], "homepage_bookmarks": [ENTRY]}, [],
    ),
    "no-name-for-the-page": (
        {"homepage_hosts": []},
        [
            (
                "Cannot offer the front page: homepage_hosts is empty; give at least one name, or take the host out of "
                "the group of role 'homepage'."
            )
        ],
    ),
    "entry-without-a-name": (
        {"homepage_services": [{"href": "https://wiki.lab.eu"}]},
        ["missing required arguments: name found in homepage_services"],
    ),
    "mark-that-leads-nowhere": (
        {"homepage_bookmarks": [{"name": "Wiki"}]}, ["missing required arguments: href found in homepage_bookmarks"],
    ),
    "entry-in-homepages-own-form": (
        {"homepage_services": [{"Team": [{"Wiki": {"href": "https://wiki.lab.eu"}}]}]},
        [
            "missing required arguments: name found in homepage_services",
            "homepage_services.Team. Supported parameters include: description, group, href, icon, more, name.",
        ],
    ),
    "port-of-root": ({"rustdesk_port": 1024}, [PORT.format(1024) + OUT_OF_REACH]),
    "port-too-high": ({"rustdesk_port": 65533}, [PORT.format(65533) + OUT_OF_REACH]),
    "logins": (
        {"docker_registries": [{**REGISTRY, "password": "@@secret:word@@"}, {**REGISTRY, "state": "absent"}]}, [],
    ),
    "login-without-a-password": ({"docker_registries": [REGISTRY]}, [NO_REFERENCE]),
    "login-with-a-password-for-all-to-read": (
        {"docker_registries": [{**REGISTRY, "password": "word", "state": "present"}]}, [NO_REFERENCE],
    ),
    "port-beside-the-edges": ({"rustdesk_port": 8098}, [PORT.format(8098) + TAKEN]),
}  # fmt: skip


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("plan")
    hosts: dict[str, Any] = {name: values for name, (values, _said) in CASES.items()}
    inventory = {"site_hosts": {"hosts": hosts, "vars": {"site_domain": "lab.eu", "ansible_connection": "local"}}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    task = {"name": "Plan", "run_once": True, "modelyard.platform.site_plan": {"roles": ROLES}}
    play = {"name": "Plan", "hosts": "all", "gather_facts": False, "tasks": [task]}
    [(_task, answer)] = answers_of(play, folder, "-i", "inventory.yml")
    return list(answer["problems"])


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_of_values(case: str, problems: list[str]) -> None:
    said = [text.removeprefix(f"{case}: ") for text in problems if text.startswith(f"{case}: ")]
    assert said == CASES[case][1]
