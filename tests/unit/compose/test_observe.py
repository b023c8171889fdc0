# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the engine's lists say of a project, from recorded answers."""

from __future__ import annotations

from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import (
    Observed,
    ObservedContainer,
    find_image_ids,
    observe,
)


class RecordedEngine(Engine):
    """Answers lists from what it was given, and keeps the filters that it was asked with."""

    def __init__(self, containers: list[dict[str, Any]], images: list[dict[str, Any]]) -> None:
        super().__init__("/none")
        self.asked: list[dict[str, Any]] = []
        self._containers, self._images = containers, images

    def get(self, path: str, query: Any = None) -> Any:
        filters = query["filters"]
        self.asked.append(filters)
        if path == "/images/json":
            return self._images
        if "health" in filters:
            return [entry for entry in self._containers if "unhealthy" in entry["Status"]]
        if "exited" in filters:
            return [entry for entry in self._containers if "Exited (0)" in entry["Status"]]
        return self._containers


def listed(name: str, *, state: str = "running", status: str = "Up", **labels: str) -> dict[str, Any]:
    return {
        "Id": f"id of {name}",
        "Names": [f"/{name}"],
        "State": state,
        "Status": status,
        "ImageID": "sha256:1",
        "Labels": {"com.docker.compose.service": "web", **labels},
        "Ports": [{"PublicPort": 443, "PrivatePort": 1}, {"PublicPort": 443, "IP": "::"}, {"PrivatePort": 2}],
    }


def test_a_project_takes_four_requests() -> None:
    containers = [
        listed("a", status="Up 3 minutes (unhealthy)", **{"modelyard.identity": "i", "modelyard.directory": "/site"}),
        listed("b", state="exited", status="Exited (0) 2 hours ago"),
        listed("c", **{"com.docker.compose.oneoff": "True"}),
    ]
    engine = RecordedEngine(containers, [{"Id": "sha256:1", "RepoTags": ["web:1"]}])
    common: dict[str, Any] = {"service": "web", "image_id": "sha256:1", "ports": (443,)}
    assert observe(engine, "shop", ["web:1"]) == Observed(
        containers=(
            ObservedContainer(
                "id of a", "a", state="running", identity="i", directory="/site", not_healthy=True, **common
            ),
            ObservedContainer("id of b", "b", state="exited", exited_zero=True, **common),
        ),
        image_ids={"web:1": "sha256:1"},
    )
    assert len(engine.asked) == 4
    assert {filters["label"][0] for filters in engine.asked[:3]} == {"com.docker.compose.project=shop"}


def in_networks(entry: dict[str, Any], **networks: str) -> dict[str, Any]:
    """Return a listed container that is in these networks, by name and id."""
    return {**entry, "NetworkSettings": {"Networks": {name: {"NetworkID": key} for name, key in networks.items()}}}


class NetworkedEngine(RecordedEngine):
    """Has two networks; ``bridge`` has got another id since."""

    def get(self, path: str, query: Any = None) -> Any:
        found = super().get(path, query)
        return [{"Id": "n1", "Name": "front"}, {"Id": "n9", "Name": "bridge"}] if path == "/networks" else found


def test_what_does_not_run_lacks_the_networks_that_are_gone() -> None:
    containers = [
        in_networks(listed("a", state="exited"), front="n0", back="n2", bridge="n8"),
        in_networks(listed("b", state="exited"), front="n1"),
        in_networks(listed("c", state="created"), front="", back=""),
        in_networks(listed("d", state="running"), back="n2"),
        listed("e", state="exited"),
    ]
    found = {one.name: one.lost_networks for one in observe(NetworkedEngine(containers, []), "shop", ()).containers}
    assert found == {"a": ("back", "front"), "b": (), "c": ("back",), "d": (), "e": ()}


def test_networks_are_only_asked_for_where_something_waits_for_them() -> None:
    containers = [in_networks(listed("a"), front="n1"), in_networks(listed("b", state="exited"), none="n3")]
    engine = NetworkedEngine(containers, [])
    observe(engine, "shop", ())
    assert len(engine.asked) == 3


IMAGES: list[dict[str, Any]] = [
    {"Id": "sha256:1", "RepoTags": ["postgres:latest", "db:1"]},
    {"Id": "sha256:2", "RepoTags": None},
    {"Id": "sha256:3", "RepoTags": ["other:1"]},
]


def test_image_ids_by_the_spelling_that_was_given_in_one_request() -> None:
    engine = RecordedEngine([], IMAGES)
    images = ("postgres", "docker.io/library/postgres:latest", "db:1", "gone:1", f"db@sha256:{'a' * 64}")
    assert find_image_ids(engine, (image for image in images)) == {
        "postgres": "sha256:1",
        "docker.io/library/postgres:latest": "sha256:1",
        "db:1": "sha256:1",
    }
    assert engine.asked == [{"reference": ["db:1", "gone:1", "postgres:latest"]}]


def test_images_that_name_their_content_are_not_asked_for() -> None:
    engine = RecordedEngine([], IMAGES)
    assert find_image_ids(engine, [f"sha256:{'a' * 64}"]) == {}
    assert engine.asked == []
