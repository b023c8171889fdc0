# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What planning costs: from the engine's lists and the last release's record to each service's step and method."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import (
    DesiredService,
    Target,
    target_from_record,
    target_to_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import observe
from ansible_collections.modelyard.platform.plugins.module_utils._compose.plan import (
    Plan,
    Recorded,
    make_plan,
    with_methods,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Edge
from ansible_collections.modelyard.platform.plugins.module_utils._compose.swap_rules import candidates, choose_methods
from support.compose_cases import image_id, make_desired

from benchmark.harness import PAIRS, Row, timed, worst

LIMIT_SECONDS = 1.0
SIZE = 500


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    name = f"plan for {SIZE} services from recorded observations, half of them changed"
    return {name: partial(measure_plan, name, SIZE)}


def measure_plan(name: str, size: int) -> Row:
    """Take the time of a plan in which every second service changes; the plan must say just that."""
    past, declared = make_desired(describe_project(size, level=1)), make_desired(describe_project(size, level=2))
    changed = {service for service in declared if declared[service].identity != past[service].identity}
    engine = RecordedEngine(past, declared)
    record = json.dumps(target_to_record(Target("shop", "/site/projects/shop", {}, past)))

    def measure() -> float:
        plans: list[Plan] = []
        seconds = timed(lambda: plans.append(make_whole_plan(engine, declared, record)))
        if len(changed) != size // 2 or changed != set(plans[0].services("recreate")):
            raise RuntimeError("The plan is not the one that was asked for, so its time means nothing.")
        return seconds

    return worst(name, measure, "s", LIMIT_SECONDS, times=PAIRS)


def make_whole_plan(engine: Engine, declared: Mapping[str, DesiredService], record: str) -> Plan:
    """Return the plan with its methods, from texts as the engine and the last release's folder hold them."""
    target = target_from_record(json.loads(record))
    observed = observe(engine, target.name, [service.image for service in declared.values()])
    hashes = {container.id: container.config_hash for container in observed.containers}
    image_ids = {name: image_id(service.image) for name, service in target.services.items()}
    plan = make_plan(declared, observed, recorded=Recorded(target.services, image_ids, hashes))
    methods = choose_methods(
        plan, declared, observed, edge=describe_edge(declared),
        image_volumes=dict.fromkeys(candidates(plan, declared), ()), stop_first=False,
    )  # fmt: skip
    return with_methods(plan, methods)


class RecordedEngine(Engine):
    """An engine that answers with texts in the form of its API: all run as the last release left them."""

    def __init__(self, past: Mapping[str, DesiredService], declared: Mapping[str, DesiredService]) -> None:
        super().__init__()
        images = {service.image for service in (*past.values(), *declared.values())}
        self._all = json.dumps([describe_container(number, service) for number, service in enumerate(past.values())])
        self._images = json.dumps([{"Id": image_id(image), "RepoTags": [image]} for image in sorted(images)])

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        if path == "/images/json":
            return json.loads(self._images)
        filters = (query or {}).get("filters")
        is_filtered = isinstance(filters, Mapping) and len(filters) > 1
        return [] if is_filtered else json.loads(self._all)


def describe_container(number: int, service: DesiredService) -> dict[str, Any]:
    """Return a container as Docker 20.10 lists it, without the fields that nothing of ours reads."""
    labels = {
        "com.docker.compose.config-hash": f"{number:064x}",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.oneoff": "False",
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": service.name,
        "modelyard.directory": "/site",
        "modelyard.identity": service.identity,
    }
    return {
        "Id": f"{number:064x}", "Names": [f"/shop-{service.name}-1"], "ImageID": image_id(service.image),
        "Labels": labels, "State": "running", "Status": "Up 5 days (healthy)", "Ports": [],
    }  # fmt: skip


def describe_edge(services: Mapping[str, DesiredService]) -> Edge:
    """Return an edge with a route to every service."""
    routed = {name: {"loadBalancer": {"servers": [{"url": f"http://{name}:8080"}]}} for name in services}
    return Edge(file="/site/edge/shop.yml", config={"http": {"services": routed}}, api="http://127.0.0.1:8081")


def describe_project(size: int, *, level: int) -> dict[str, Any]:
    """Return a project; between two levels an image, a variable, a mount or a file of every second service differs."""
    found = [describe_service(number, level=level if number % 2 else 1) for number in range(size)]
    contents = {
        f"/site/files/{number}.ini": f"level {level if number % 8 == 7 else 1}\n" for number in range(3, size, 4)
    }
    return {"services": {f"service{number:03}": service for number, service in enumerate(found)}, "files": contents}


def describe_service(number: int, *, level: int) -> dict[str, Any]:
    """Return a service with what services have: variables, labels, a health check, mounts, what it waits for."""
    change = number % 8
    volumes: list[Any] = [f"/site/files/{number}.ini:/etc/app.ini"] if number % 4 == 3 else []
    volumes += [f"data{number}-{level if change == 5 else 1}:/data"] if change in (4, 5) else []
    return {
        "image": f"registry.test/app{number % 40}:{level if change == 1 else 1}",
        "command": ["serve", "--port", "8080"],
        "environment": {**{f"VARIABLE_{name}": str(name) for name in range(20)},
                        "LEVEL": str(level if change == 3 else 1)},
        "labels": {f"org.example.label{name}": str(name) for name in range(5)},
        "healthcheck": {"test": ["CMD", "check"], "interval": "5s", "timeout": "2s", "retries": 3},
        "networks": {"default": None, "back": None},
        "volumes": volumes,
        "depends_on": [f"service{number - 10:03}"] if number >= 10 else [],
        "restart": "unless-stopped",
    }  # fmt: skip
