# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No change means no change: nothing reported, nothing asked of the engine but to look, no time stamp moved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from support.applied import AppliedProject, file_states, sleeper
from support.compose_versions import newer_compose_config, version_of
from support.modules import ModuleResult
from support.proxy import RecordingProxy
from support.site import Site

MOST_REQUESTS = 5


def six_services(app: str, base: str) -> dict[str, Any]:
    """Return options of a project with one of each: health check, plain, one-shot, replicas, volume, secret."""
    services = {
        "web": {"image": app, "depends_on": {"init": {"condition": "service_completed_successfully"}}},
        "plain": sleeper(base),
        "init": {"image": base, "command": ["true"]},
        "pair": sleeper(base, scale=2),
        "data": sleeper(base, volumes=["data:/data", "./live:/live"]),
        "keyed": sleeper(base, user="1000", volumes=["./conf/token:/token:ro"], environment={"COST": "5$$"}),
    }
    return {
        "layers": [{"services": services, "volumes": {"data": {}}}],
        "files": [{"path": "conf/token", "content": "@@secret:token@@"}],
        "env": {"COLOUR": "a 'red' one"},
    }


def many_services(base: str) -> dict[str, Any]:
    return {"layers": [{"services": {f"s{number}": sleeper(base) for number in range(41)}}]}


def assert_looked_only(result: ModuleResult, proxy: RecordingProxy) -> None:
    assert result.rc == 0, result.msg or result.stderr
    assert not result.changed, result.values
    assert result["plan"] == []
    assert result["other_changes"] == []
    assert {request.method for request in proxy.requests} == {"GET"}
    assert len(proxy.requests) <= MOST_REQUESTS, [request.path for request in proxy.requests]


@pytest.fixture(scope="module")
def shop(
    engine: docker.DockerClient, app_images: dict[str, str], base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AppliedProject]:
    directory = tmp_path_factory.mktemp("unchanged") / "site"
    directory.mkdir()
    site = Site(engine, directory)
    try:
        project = AppliedProject(engine, site, **six_services(app_images["v1"], base_image))
        project.keep_secrets({"name": "token", "kind": "token"})
        project.apply()
        yield project
    finally:
        site.remove()


@pytest.mark.parametrize("by_ansible", [False, True], ids=["as a module", "by ansible-playbook"])
def test_a_second_run_only_looks(shop: AppliedProject, proxy: RecordingProxy, by_ansible: bool) -> None:
    disk, ids = file_states(shop.site.directory), shop.ids()
    run = shop.run_by_ansible if by_ansible else shop.run
    result = run(environment={"DOCKER_HOST": proxy.docker_host})
    assert_looked_only(result, proxy)
    assert file_states(shop.site.directory) == disk
    assert shop.ids() == ids
    assert result["services"] == {
        "data": "running", "init": "completed", "keyed": "running", "pair": "running", "plain": "running",
        "web": "healthy",
    }  # fmt: skip


def test_check_mode_of_a_second_run_only_looks(shop: AppliedProject, proxy: RecordingProxy) -> None:
    assert_looked_only(shop.run(check=True, diff=True, environment={"DOCKER_HOST": proxy.docker_host}), proxy)


def test_a_data_folder_that_changes_all_the_time_is_no_change(shop: AppliedProject, proxy: RecordingProxy) -> None:
    ids, stop = shop.ids(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.05):
            (shop.folder / "live" / f"row-{number}").write_text(str(number), encoding="utf-8")
            (shop.folder / "live" / "table").write_text(str(number), encoding="utf-8")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _number in range(3):
            assert_looked_only(shop.run(environment={"DOCKER_HOST": proxy.docker_host}), proxy)
            proxy.requests.clear()
    finally:
        stop.set()
        writer.join()
    assert (shop.folder / "live" / "row-1").exists()
    assert shop.ids() == ids


def test_41_services_take_no_more_requests(
    engine: docker.DockerClient, site: Site, base_image: str, proxy: RecordingProxy
) -> None:
    project = AppliedProject(engine, site, wait_seconds=120, **many_services(base_image))
    project.apply()
    disk, ids = file_states(site.directory), project.ids()
    result = project.run(environment={"DOCKER_HOST": proxy.docker_host})
    assert_looked_only(result, proxy)
    assert len(result["services"]) == 41
    assert file_states(site.directory) == disk
    assert project.ids() == ids


@pytest.fixture(scope="session")
def newer_compose() -> dict[str, str]:
    """Return the environment in which a newer Compose is the machine's."""
    config = newer_compose_config()
    own = Path("/usr/libexec/docker/cli-plugins/docker-compose")
    assert version_of(config / "cli-plugins" / "docker-compose") >= (2, 40) > version_of(own)
    return {"DOCKER_CONFIG": str(config)}


def test_a_newer_compose_recreates_nothing(
    engine: docker.DockerClient,
    site: Site,
    app_images: dict[str, str],
    base_image: str,
    newer_compose: dict[str, str],
) -> None:
    options = six_services(app_images["v1"], base_image)
    project = AppliedProject(engine, site, **options)
    project.keep_secrets({"name": "token", "kind": "token"})
    project.apply()
    ids = project.ids()

    same = project.run(environment=newer_compose)
    assert same.rc == 0, same.msg
    assert not same.changed, same.values
    assert project.ids() == ids

    services = options["layers"][0]["services"]
    services["plain"] = {**services["plain"], "environment": {"A": "1"}}
    other = project.run(environment=newer_compose)
    assert other.rc == 0, other.msg
    assert [(step["service"], step["action"]) for step in other["plan"]] == [("plain", "recreate")]
    assert {name: found for name, found in project.ids().items() if name != "plain"} == {
        name: found for name, found in ids.items() if name != "plain"
    }
    for environment in (newer_compose, None):
        again = project.run(environment=environment)
        assert not again.changed, again.values
