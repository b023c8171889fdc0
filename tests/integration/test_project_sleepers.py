# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that only the gateway starts, with the real gateway beside the real engine: made, proven, put to sleep.

Each test leaves the project with ``a`` and ``b`` of version 1, asleep, as the fixture made it.
"""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest
from support.declared import address
from support.events import EventRecorder
from support.modules import run_module, start_module
from support.proxy import RecordingProxy
from support.site import Site
from support.sleeping import GREEDY, SleepingSite
from support.waiting import wait_until

NO_ROOM = "its GPUs had no room for it within 2 s"


@pytest.fixture(scope="module")
def models(
    engine: docker.DockerClient, app_images: dict[str, str], base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SleepingSite]:
    """Yield a site whose gateway runs, and nothing else yet."""
    directory = tmp_path_factory.mktemp("sleepers") / "site"
    directory.mkdir()
    site = Site(engine, directory)
    try:
        found = SleepingSite(engine, site, base_image)
        found.start_gateway()
        yield found
    finally:
        site.remove()


@pytest.fixture
def both(models: SleepingSite, app_images: dict[str, str]) -> dict[str, Any]:
    """Return ``a`` and ``b`` of version 1, applied."""
    services = {name: models.sleeper(name, app_images["v1"]) for name in ("a", "b")}
    models.apply(services)
    return services


def test_a_first_apply_proves_each_alone_and_lets_it_sleep(
    models: SleepingSite, app_images: dict[str, str], proxy: RecordingProxy
) -> None:
    services = {name: models.sleeper(name, app_images["v1"]) for name in ("a", "b")}
    result = models.apply(services)
    assert (result["services"], result["unproven"], result["notes"]) == ({"a": "asleep", "b": "asleep"}, {}, [])
    first, second = models.state("a"), models.state("b")
    assert (first["Status"], second["Status"]) == ("exited", "exited")
    assert first["FinishedAt"] < second["StartedAt"], "both do not fit into the GPU"

    ids = models.project.ids()
    again = models.run(services, environment={"DOCKER_HOST": proxy.docker_host})
    assert (again.changed, again["services"]) == (False, {"a": "asleep", "b": "asleep"})
    assert {request.method for request in proxy.requests} == {"GET"}
    assert len(proxy.requests) == 5, "containers, ill ones, images, those asleep, networks"
    assert models.project.ids() == ids
    by_ansible = models.project.run_by_ansible(**models.params(services))
    assert (by_ansible.changed, by_ansible["services"]) == (False, {"a": "asleep", "b": "asleep"}), by_ansible.stdout

    assert models.ask("a") == 200
    proxy.requests.clear()
    awake = models.run(services, environment={"DOCKER_HOST": proxy.docker_host})
    assert not awake.changed, awake.values
    assert awake["services"]["a"] in ("running", "healthy")
    assert models.order("/-/prove/a") == 404, "nobody orders anything through a network"


def test_a_changed_image_is_proven_and_sleeps_again(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str]
) -> None:
    assert models.ask("a") == 200
    changed = {**both, "a": models.sleeper("a", app_images["v2"])}
    checked = models.run(changed, check=True)
    assert [(step["service"], step["action"], step["method"]) for step in checked["plan"]] == [
        ("a", "recreate", "stop_first")
    ]
    result = models.apply(changed)
    assert (result["services"]["a"], result["unproven"], result["notes"]) == ("asleep", {}, [])
    container = models.project.container("a")
    assert container.attrs["Config"]["Image"] == app_images["v2"]
    assert container.attrs["State"]["Status"] == "exited"
    assert not models.run(changed).changed


def test_a_request_during_the_replacement_of_a_sleeping_one_wakes_the_new_one(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str], proxy: RecordingProxy
) -> None:
    def asked(path: str) -> list[int]:
        return [number for number, request in enumerate(proxy.requests) if re.search(path, request.path)]

    old = models.project.container("b").id
    changed = {**both, "b": models.sleeper("b", app_images["v2"])}
    with EventRecorder(models.engine) as recorder, ThreadPoolExecutor(1) as pool:
        running = pool.submit(models.run, changed, environment={"DOCKER_HOST": proxy.docker_host})
        wait_until(lambda: bool(asked("/exec/.*/json")) or running.done(), "the gateway is asked", seconds=60)
        answered = models.ask("b")
        result = running.result()
    assert not result.failed, result.msg
    assert asked("/exec/")[0] < asked("/containers/create")[0], "it is let rest first, though it sleeps"
    assert (answered, result["notes"]) == (200, [])
    assert "start" not in [event.action for event in recorder.events if event.id == old]
    assert models.project.container("b").attrs["Config"]["Image"] == app_images["v2"]


def test_what_finds_no_room_is_unproven_until_it_has_woken(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str]
) -> None:
    changed = {**both, "b": models.sleeper("b", app_images["v2"])}
    assert models.ask("a") == 200
    with models.in_flight("a"):
        result = models.apply(changed)
        assert (result["unproven"], result["services"]["b"]) == ({"b": NO_ROOM}, "asleep")
        assert result["notes"] == [f"b: it is asleep and not proven yet: {NO_ROOM}"]
        assert models.state("b")["Status"] == "created"
        again = models.run(changed)
        assert (again.changed, again["unproven"]) == (False, {"b": NO_ROOM})
        assert _info(models)["services"]["b"]["unproven"] == NO_ROOM
    assert models.ask("b") == 200
    models.until("a", "exited")
    proven = models.run(changed)
    assert (proven.changed, proven["unproven"]) == (False, {}), proven.values
    assert models.run(changed)["unproven"] == {}
    assert _info(models)["services"]["b"]["unproven"] == ""


def test_one_that_is_declared_no_more_has_its_memory_until_it_is_removed(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str]
) -> None:
    assert models.ask("a") == 200
    models.declare("b")
    try:
        wait_until(lambda: models.ask("a") == 503, "the gateway knows it no more", seconds=10)
        with ThreadPoolExecutor(2) as pool:
            asking = pool.submit(models.ask, "b")
            time.sleep(3)
            assert (models.state("a")["Status"], models.state("b")["Status"]) == ("running", "exited")
            with models.in_flight("a"):
                applying = pool.submit(models.apply, {"b": models.sleeper("b", app_images["v2"])})
                wait_until(lambda: bool(models.ids("b", "created")), "the new one is made", seconds=30)
                time.sleep(1)
                assert models.state("a")["Status"] == "running", "what is in flight is waited for"
            result = applying.result()
            assert (result["unproven"], result["notes"]) == ({}, []), "there is room, as the other one goes first"
            assert asking.result() == 200
    finally:
        models.declare("a", "b")


def test_what_was_unproven_and_does_not_wake_is_taken_back_by_the_next_run(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str]
) -> None:
    broken = {**both, "b": models.sleeper("b", app_images["broken"], restart="no")}
    assert models.ask("a") == 200
    with models.in_flight("a"):
        number = models.apply(broken)["release"]
    assert models.ask("b") == 503
    result = models.run(broken)
    assert result.failed, result.values
    assert result.msg == (
        f"Cannot apply project {models.project.name!r}: release {number} was not proven when it was applied. service "
        f"'b': the gateway could not wake it: it ended with exit code 3\nRelease {number - 1} serves again."
    )
    assert models.project.container("b").attrs["Config"]["Image"] == app_images["v1"]
    assert models.ask("b") == 200
    info = _info(models)
    assert (info["release"]["number"], info["problems"]) == (number - 1, [])


def test_what_does_not_wake_is_taken_back(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str]
) -> None:
    result = models.run({**both, "b": models.sleeper("b", app_images["broken"], restart="no")})
    assert result.failed, result.values
    first, *_log, last = result.msg.splitlines()
    cause = "the gateway cannot wake it: it ended with exit code 3"
    assert first == f"Cannot apply project {models.project.name!r}: service 'b': {cause}"
    assert "cannot read the schema: column 'colour' is missing" in result.msg
    assert last.endswith("serves again.")
    assert models.project.container("b").attrs["Config"]["Image"] == app_images["v1"]
    assert models.state("b")["Status"] == "exited"
    assert models.run(both)["services"] == {"a": "asleep", "b": "asleep"}


def test_one_that_is_killed_for_memory_is_told_and_woken_anew(
    models: SleepingSite, both: dict[str, Any], base_image: str
) -> None:
    greedy = models.sleeper(
        "a", base_image, command=["python3", "-c", GREEDY], mem_limit="64m", memswap_limit="64m", restart="no"
    )
    services = {**both, "a": greedy}
    assert models.apply(services)["services"]["a"] == "asleep"
    assert models.ask("a") == 200
    with pytest.raises(ConnectionError):
        urllib.request.urlopen(f"http://{address(models.project.container('a'))}:8080/eat", timeout=30)
    models.until("a", "exited")
    wait_until(lambda: bool(models.state("a")["OOMKilled"]), "the engine tells why", seconds=10)
    cause = "it ended with exit code 137 because it ran out of memory"
    assert _info(models)["services"]["a"]["cause"] == cause
    result = models.run(services)
    assert not result.failed, result.msg
    assert [(step["service"], step["action"]) for step in result["plan"]] == [("a", "start")]
    assert result["notes"] == [f"a: {cause}; it was woken anew"]
    assert result["services"]["a"] == "asleep"


def test_without_a_gateway_it_is_made_and_unproven(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str]
) -> None:
    gateway = models.gateway.container("gateway")
    gateway.stop()
    try:
        changed = {**both, "b": models.sleeper("b", app_images["v2"])}
        result = models.apply(changed)
        cause = f"service 'gateway' of project {models.gateway.name!r}, the gateway, does not run"
        assert result["unproven"] == {"b": cause}
        assert models.state("b")["Status"] == "created"
    finally:
        gateway.start()


@pytest.mark.parametrize(("state", "with_children"), [("created", True), ("running", False)])
def test_killed_while_a_new_one_is_made_or_proven_the_next_run_converges(
    models: SleepingSite, both: dict[str, Any], app_images: dict[str, str], state: str, with_children: bool
) -> None:
    changed = {**both, "b": models.sleeper("b", app_images["v2"], environment={"START_SECONDS": "2", "CASE": state})}
    assert models.ask("b") == 200, "it is let rest first"
    ids = models.project.ids()["b"]
    running = start_module("compose_project", models.project.params(**models.params(changed)))
    while not models.ids("b", state) - ids:
        assert running.process.poll() is None, running.wait()
    running.kill(with_children=with_children)
    running.wait()
    result = models.run(changed)
    assert not result.failed, result.msg
    assert (result["services"]["b"], result["unproven"]) == ("asleep", {})
    assert models.project.container("b").attrs["Config"]["Image"] == app_images["v2"]
    assert not models.run(changed).changed


def _info(models: SleepingSite) -> dict[str, Any]:
    params = {"name": models.project.name, "directory": str(models.site.directory)}
    found: dict[str, Any] = run_module("compose_project_info", params)["projects"][0]
    return found
