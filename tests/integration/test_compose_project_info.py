# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How projects stand, told while and after an apply goes wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import docker
import pytest
from support.modules import run_module, start_module
from support.proxy import RecordingProxy
from support.site import Site
from support.three_releases import Shop


@pytest.fixture
def shop(engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str) -> Shop:
    made = Shop(engine, site, app_images, base_image)
    made.keep_secret()
    assert made.release(1, "v1")["release"] == 1
    return made


def info(shop: Shop, **environment: str) -> Mapping[str, Any]:
    params = {"name": shop.name, "directory": shop.options["directory"]}
    result = run_module("compose_project_info", params, environment=environment)
    assert not result.failed, result.msg
    (project,) = result["projects"]
    return dict(project)


def wait_for(shop: Shop, apply: str) -> Mapping[str, Any]:
    deadline = time.monotonic() + 30
    while (told := info(shop))["apply"] != apply:
        assert time.monotonic() < deadline, f"it is {told['apply']}, not {apply}"
    return told


def test_an_apply_is_seen_under_way_then_interrupted_then_brought_to_its_end(shop: Shop) -> None:
    slow = {"environment": {"LEVEL": "2", "START_SECONDS": "20"}}
    running = start_module("compose_project", shop.declared(2, **slow))
    wait_for(shop, "under_way")
    running.kill(with_children=True)
    running.wait()
    # As long as a program that it started works on, so does the apply.
    told = wait_for(shop, "interrupted")
    assert (told["apply"], told["good"], told["release"]["number"]) == ("interrupted", False, 1)
    assert told["problems"][0] == {
        "text": "the apply of release 2 was interrupted",
        "advice": f"run it again, or modelyard rollback {shop.name} 1",
        "service": "",
    }
    assert run_module("compose_project", shop.declared(2), timeout=120)["release"] == 3
    told = info(shop)
    assert (told["apply"], told["good"], told["problems"]) == ("none", True, [])


def test_an_apply_that_failed_and_was_left_is_told_with_its_cause(shop: Shop) -> None:
    params = {**shop.declared(2, command=["sh", "-c", "exit 3"]), "on_failure": "keep"}
    assert run_module("compose_project", params, timeout=120).failed
    told = info(shop)
    assert (told["apply"], told["good"], told["release"]["number"]) == ("failed", False, 1)
    assert told["problems"][0]["text"].startswith("release 2 failed: service 'app': it ended with exit code 3")
    assert told["containers"][0]["drift"] == "it was made from another definition or other content"


def test_drift_by_hand_is_told(shop: Shop) -> None:
    shop.container("side").remove(force=True)
    told = info(shop)
    assert told["services"]["side"]["cause"] == "0 of 1 containers are there"
    assert [problem["service"] for problem in told["problems"]] == ["side"]


def test_the_engine_is_only_asked_to_read(shop: Shop, proxy: RecordingProxy) -> None:
    assert info(shop, DOCKER_HOST=proxy.docker_host)["good"]
    assert proxy.requests
    assert {request.method for request in proxy.requests} == {"GET"}


def test_a_project_that_is_not_there_is_an_empty_answer(site: Site, engine: docker.DockerClient) -> None:
    params = {"name": site.name("nobody"), "directory": str(site.directory)}
    assert run_module("compose_project_info", params)["projects"] == []
    assert run_module("compose_project_info", {"directory": str(site.directory)})["projects"] == []
    assert not list(site.directory.iterdir())
