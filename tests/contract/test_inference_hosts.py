# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two hosts with a gate and services each, edge and MLflow on a third one, as docs/several-hosts.md says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.answers import plan_of

HOSTS = ("big", "small")
ROLES = {
    "traefik": "edge", "postgres": "data", "object_store": "data", "mlflow": "tracking", "gateway": "inference",
    "inference": "inference",
}  # fmt: skip


def plan(folder: Path, *, data: str) -> dict[str, Any]:
    """Return what is planned where databases and store are on the host ``data``."""
    addresses = {"hub": "10.0.0.1", "big": "10.0.0.2", "small": "10.0.0.3"}
    hosts: dict[str, Any] = {name: {"site_private_address": address} for name, address in addresses.items()}
    for name in HOSTS:
        roofs = {"name": f"roofs-{name}", "engine": "mlflow_model", "model": {"uri": "models:/roofs@champion"}}
        hosts[name]["inference_services"] = [roofs]
    values = {
        "site_domain": "lab.eu", "site_tls": "local_ca", "site_roles": ROLES, "ansible_connection": "local",
        "gateway_clients": [{"name": "notebook", "scopes": ["*"]}],
    }  # fmt: skip
    groups = {"edge": ["hub"], "tracking": ["hub"], "data": [data], "inference": HOSTS}
    children: dict[str, Any] = {group: {"hosts": {name: {} for name in names}} for group, names in groups.items()}
    inventory = {"all": {"hosts": hosts, "vars": values, "children": children}}
    return plan_of(inventory, ROLES, folder)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return plan(tmp_path_factory.mktemp("plan"), data="big")


def needs(planned: dict[str, Any], subject: str, role: str) -> list[tuple[str, str]]:
    """Return the hosts on which a role needs something, each with the one that serves it."""
    return [(need["host"], need["at"]) for need in planned["needs"][subject] if need["role"] == role]


def test_nothing_is_refused(planned: dict[str, Any]) -> None:
    assert planned["problems"] == []


def test_only_who_has_the_store_mirrors_its_models(planned: dict[str, Any]) -> None:
    assert needs(planned, "bucket", "inference") == [("big", "big")]
    assert not [one for one in planned["transfers"] if one["name"].startswith("inference_s3")]


def test_where_the_store_is_on_neither_there_is_no_mirror_and_nothing_is_refused(tmp_path: Path) -> None:
    planned = plan(tmp_path, data="hub")
    assert planned["problems"] == []
    assert needs(planned, "bucket", "inference") == []


def test_each_gate_has_the_services_of_its_host_and_keys_of_its_own(planned: dict[str, Any]) -> None:
    assert needs(planned, "gated", "inference") == [("big", "big"), ("small", "small")]
    keys = [need for need in planned["needs"]["secret"] if need["data"]["name"] == "gateway_key_notebook_1"]
    assert [need["host"] for need in keys] == ["big", "small"]
    assert "gateway_key_notebook_1" not in [one["name"] for one in planned["transfers"]]


def test_the_edge_alone_is_let_in_to_the_services(planned: dict[str, Any]) -> None:
    for host in HOSTS:
        assert planned["places"][host]["admitted"]["inference"] == ["10.0.0.1/32"]


def test_both_read_the_registry_as_one_user(planned: dict[str, Any]) -> None:
    assert needs(planned, "registry", "inference") == [("big", "hub"), ("small", "hub")]
    sent = [(one["home"], one["to"]) for one in planned["transfers"] if one["name"] == "inference_registry_password"]
    assert sorted(sent) == [("big", "hub"), ("big", "small")]
