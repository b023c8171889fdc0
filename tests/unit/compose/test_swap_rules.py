# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which order a service changes hands in, case by case: each file in ``method_cases`` is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Edge
from ansible_collections.modelyard.platform.plugins.module_utils._compose.swap_rules import (
    candidates,
    choose_methods,
    find_routed,
)
from support.compose_cases import make_desired, plan_of, read_observed

CASES = sorted((Path(__file__).parent / "method_cases").glob("*.yml"))


def read_edge(short: Mapping[str, Any] | None) -> Edge | None:
    if short is None:
        return None
    services = {name: {"loadBalancer": {"servers": [{"url": f"http://{name}:80"}]}} for name in short["routes"]}
    return Edge("/site/edge/shop.json", {"http": {"services": services}}, "http://127.0.0.1" if short["api"] else None)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_method(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    declared, recorded = make_desired(case["declared"]), make_desired(case.get("recorded") or {})
    methods = choose_methods(
        plan_of(case),
        declared,
        read_observed(case, {"declared": declared, "recorded": recorded}),
        edge=read_edge(case.get("edge")),
        image_volumes={name: tuple(found) for name, found in (case.get("image_volumes") or {}).items()},
        stop_first=case.get("stop_first", False),
    )
    assert {name: {method: why} for name, (method, why) in methods.items()} == case["methods"]


def test_the_image_is_only_asked_where_it_decides() -> None:
    services: dict[str, dict[str, Any]] = {
        "free": {"image": "web:2"},
        "bound": {"image": "web:2", "ports": [{"target": 80, "published": "80"}]},
        "declared": {"image": "web:2", "x-modelyard": {"update": "start_first"}},
        "same": {"image": "web:1"},
    }
    old = {name: {**service, "image": "web:1"} for name, service in services.items()}
    containers = [{"id": name, "service": name, "made_from": "recorded"} for name in services]
    case: dict[str, Any] = {"declared": {"services": services}, "recorded": {"services": old}, "observed": containers}
    assert candidates(plan_of(case), make_desired(case["declared"])) == ["free"]


@pytest.mark.parametrize(
    ("server", "routed"),
    [
        ({"url": "http://web:8000"}, True),
        ({"url": "http://web"}, True),
        ({"url": "http://web/path"}, True),
        ({"address": "web:5432"}, True),
        ({"url": "http://website:80"}, False),
        ({"url": "http://shop-web-1:80"}, False),
        ({}, False),
        ("http://web", False),
    ],
    ids=str,
)
def test_whether_a_route_leads_to_a_service(server: Any, routed: bool) -> None:
    config = {"http": {"services": {"any": {"loadBalancer": {"servers": [{"url": "http://db:1"}, server]}}}}}
    assert ("web" in find_routed(Edge("/e", config))) == routed
