# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of the ports that roles and an operator declare: of preflight, of role firewall, of role verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.answers import answers_of
from support.modules import ROOT
from support.rendered import render

OFFICE = ["198.51.100.0/24"]
WEB: dict[str, Any] = {"number": 443, "address": "", "project": "site-traefik", "option": "site_ports.https"}
DATABASE: dict[str, Any] = {**WEB, "number": "5432", "option": "site_ports.postgres", "allowed_ranges": OFFICE}
EDGE_API: dict[str, Any] = {**WEB, "number": 8099, "address": "127.0.0.1"}
OWN: dict[str, Any] = {"number": 9000, "protocol": "tcp", "address": "", "allowed_ranges": OFFICE}


def need(host: str = "localhost", **data: Any) -> dict[str, Any]:
    return {"role": "any", "host": host, "at": host, "data": data}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the variables by which each role reads the ports of a host."""
    found: dict[str, Any] = {}
    for role in ("site", "firewall", "verify"):
        found |= yaml.safe_load((ROOT / f"roles/{role}/vars/main.yml").read_text(encoding="utf-8"))
    names = ("__site_ports", "__firewall_declared", "__verify_ports")
    ports = [need(**WEB), need(**DATABASE), need(**EDGE_API), need(**OWN), need("elsewhere", **WEB)]
    variables = {**{name: found[name] for name in names}, "site_needs": {"port": ports}}
    tasks = [{"name": name, "ansible.builtin.debug": {"var": name}} for name in names]
    play = {"name": "Read", "hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    answers = answers_of(play, tmp_path_factory.mktemp("ports"), "-i", "localhost,elsewhere,", "-c", "local")
    return {name: answer[name] for name, (_task, answer) in zip(names, answers, strict=True)}


def test_preflight_is_asked_whether_ports_of_projects_are_free(seen: dict[str, Any]) -> None:
    plain = {name: value for name, value in DATABASE.items() if name != "allowed_ranges"}
    assert seen["__site_ports"] == [WEB, plain, EDGE_API]


def test_the_firewall_gets_all_of_them_with_their_ranges(seen: dict[str, Any]) -> None:
    assert seen["__firewall_declared"] == [
        {"number": 443, "protocol": "tcp", "address": ""},
        {"number": 5432, "protocol": "tcp", "address": "", "allowed_ranges": OFFICE},
        {"number": 8099, "protocol": "tcp", "address": "127.0.0.1"},
        OWN,
    ]


def test_an_operators_own_port_is_no_broken_promise(seen: dict[str, Any]) -> None:
    assert seen["__verify_ports"] == [443, 5432, 9000]


def test_an_edge_may_publish_the_port_that_it_usually_answers_itself_on(tmp_path: Path) -> None:
    ports = {"http": 8080, "https": 8443, "postgres": 5432, "edge_api": 8099}
    values = {"site_domain": "lab.test", "site_tls": "local_ca", "site_images": "packages", "site_ports": ports}
    edge = render(["traefik"], values, tmp_path)["traefik"]
    static = yaml.safe_load(edge.files["traefik.yml"])["entryPoints"]
    assert {name: entry["address"] for name, entry in static.items()} == {
        "traefik": ":8081", "web": ":8080", "websecure": ":8443",
    }  # fmt: skip
    assert sorted(edge.services["traefik"]["ports"]) == ["127.0.0.1:8099:8081", "8080:8080", "8443:8443"]


def test_an_edge_at_one_address_also_serves_the_hosts_of_its_site(tmp_path: Path) -> None:
    values = {
        "site_domain": "lab.test", "site_tls": "local_ca", "site_images": "packages", "traefik_postgres_enabled": True,
        "site_address": "198.51.100.7", "site_private_address": "10.0.0.1",
    }  # fmt: skip
    edge = render(["traefik"], values, tmp_path)["traefik"]
    assert sorted(edge.services["traefik"]["ports"]) == [
        "10.0.0.1:443:443", "10.0.0.1:80:80", "127.0.0.1:8099:8080", "198.51.100.7:443:443", "198.51.100.7:5432:5432",
        "198.51.100.7:80:80",
    ]  # fmt: skip
