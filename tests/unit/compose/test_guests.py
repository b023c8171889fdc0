# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is in a project's networks beside it: seen before they change or go, and brought back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import Target
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, EngineError
from ansible_collections.modelyard.platform.plugins.module_utils._compose.guests import bring_back, read_endpoints
from ansible_collections.modelyard.platform.plugins.module_utils._compose.surroundings import survey
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

SITE = "/site"
ALIASED = {"Aliases": ["gate", "0123456789ab"], "IPAMConfig": None, "NetworkID": "n1", "IPAddress": "10.0.0.2"}


def member(name: str, *, directory: str = SITE, project: str = "") -> dict[str, Any]:
    labels = {"modelyard.directory": directory, "com.docker.compose.project": project}
    return {"Id": f"id of {name}", "Names": [f"/{name}"], "Labels": labels}


class NetworkEngine(Engine):
    """Networks of project ``shop``, all of an older definition, with the containers that are in each."""

    def __init__(self, **members: list[dict[str, Any]]) -> None:
        super().__init__("/none")
        self.members = members
        self.asked: list[tuple[str, Any]] = []

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        if path.endswith("/json") and path != "/containers/json":
            return {"NetworkSettings": {"Networks": dict.fromkeys(self.members, ALIASED)}}
        filters = (query or {})["filters"]
        if path == "/containers/json":
            [key, name] = filters["network"]
            assert key == f"id of {name}"
            return self.members[name]
        labels = {"modelyard.directory": SITE, "modelyard.definition": "old"}
        return [{"Name": name, "Id": f"id of {name}", "Labels": labels} for name in self.members]

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: Any = None,
        *,
        timeout_seconds: float = 0,
    ) -> bytes:
        assert (query, timeout_seconds) == (None, 0)
        self.asked.append((f"{method} {path}", body))
        if body["Container"] == "gone":
            raise EngineError("no such container", status=404)
        return b""


def target(*networks: str) -> Target:
    model = {"networks": {name: {"name": name, "labels": {"modelyard.definition": "new"}} for name in networks}}
    return Target(name="shop", folder=f"{SITE}/projects/shop", model=model, services={})


OWN, NEIGHBOUR, STRANGER = member("shop-web-1", project="shop"), member("pod"), member("theirs", directory="")


def test_a_plan_tells_who_is_brought_back_and_what_goes() -> None:
    engine = NetworkEngine(front=[OWN, NEIGHBOUR], back=[OWN], old=[NEIGHBOUR], theirs=[STRANGER])
    around = survey(engine, target("front", "back"), SITE)
    assert around.describe() == [
        "make network back anew",
        "make network front anew and bring pod back into it",
        "remove network old",
    ]


def test_a_network_that_changed_and_that_a_stranger_is_in_is_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        survey(NetworkEngine(front=[OWN, NEIGHBOUR, STRANGER]), target("front"), SITE)
    assert str(caught.value) == (
        "Cannot make network 'front' anew: container 'theirs' is in it and does not belong to this site; take it out "
        "(docker network disconnect front theirs), and bring it back afterwards."
    )


def test_guests_come_back_with_their_aliases_and_one_that_is_gone_is_told() -> None:
    engine = NetworkEngine(front=[NEIGHBOUR])
    endpoints = read_endpoints(engine, "front", "id of front")
    assert endpoints == {"pod": {"Aliases": ["gate", "0123456789ab"]}}
    engine.members["front"] = [member("other")]
    wrong = bring_back(engine, "front", {**endpoints, "gone": {}, "other": {}})
    assert engine.asked[0] == (
        "POST /networks/id of front/connect",
        {"Container": "pod", "EndpointConfig": endpoints["pod"]},
    )
    assert wrong == ["network front: container gone is not in it any more: no such container"]
    assert len(engine.asked) == 2, "who is there already stays"
