# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fixtures themselves: a yardstick that is wrong makes every test wrong.

Here plain Compose stands in for the module: what it does is known, so what is derived must say so.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import docker
import pytest
from support.events import EventRecorder, Snapshot, derive_actions, take_snapshot
from support.gate_count import Reading, Served, least_open, too_low
from support.modules import run_by_ansible
from support.proxy import RecordingProxy
from support.site import Site

Derived = set[tuple[str, str, str]]


class ComposeUser:
    """Applies definitions with plain Compose, and tells what is derived from what the engine did."""

    def __init__(self, engine: docker.DockerClient, site: Site) -> None:
        self.engine, self.site, self.project = engine, site, site.name("web")

    def run(self, *arguments: str) -> None:
        command = ["docker", "compose", "--project-name", self.project, "--file", str(self.file), *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    @property
    def file(self) -> Path:
        return self.site.directory / "compose.json"

    def snapshot(self) -> Snapshot:
        return take_snapshot(self.engine, self.project)

    def apply(self, services: dict[str, Any], *arguments: str) -> Derived:
        self.file.write_text(json.dumps({"services": services}), encoding="utf-8")
        return self.watch("up", "--detach", "--wait", "--remove-orphans", *arguments)

    def watch(self, *arguments: str) -> Derived:
        before = self.snapshot()
        with EventRecorder(self.engine) as recorder:
            self.run(*arguments)
        return derive_actions(before, recorder.events, self.snapshot())


@pytest.fixture
def compose(engine: docker.DockerClient, site: Site) -> ComposeUser:
    return ComposeUser(engine, site)


def sleeper(image: str, **more: Any) -> dict[str, Any]:
    return {"image": image, "init": True, "command": ["sleep", "infinity"], **more}


def test_each_kind_of_change_is_derived_with_its_reason(
    compose: ComposeUser, app_images: dict[str, str], base_image: str
) -> None:
    app: dict[str, Any] = {"image": app_images["v1"], "init": True}
    other = sleeper(base_image)

    assert compose.apply({"app": app, "other": other}) == {("app", "create", "missing"), ("other", "create", "missing")}
    assert compose.apply({"app": app, "other": other}) == set(), "nothing was changed"
    app = {**app, "image": app_images["v2"]}
    assert compose.apply({"app": app, "other": other}) == {("app", "recreate", "image")}
    app = {**app, "environment": {"START_SECONDS": "0.1"}}
    assert compose.apply({"app": app, "other": other}) == {("app", "recreate", "definition")}
    app = {"image": app_images["v1"], "init": True}
    assert compose.apply({"app": app, "other": other}) == {
        ("app", "recreate", "image"),
        ("app", "recreate", "definition"),
    }
    assert compose.apply({"app": app, "other": other}, "--force-recreate", "--no-deps", "app") == {
        ("app", "recreate", "content")
    }
    assert compose.apply({"app": app, "other": {**other, "scale": 3}}) == {("other", "create", "scale")}
    assert compose.apply({"app": app, "other": other}) == {("other", "remove", "scale")}
    assert compose.apply({"app": app}) == {("other", "remove", "undeclared")}


def test_a_stopped_container_that_starts_again_is_derived_as_start(compose: ComposeUser, base_image: str) -> None:
    services = {"app": sleeper(base_image)}
    compose.apply(services)
    compose.run("stop", "--timeout", "1")
    assert compose.apply(services) == {("app", "start", "stopped")}


def test_a_failed_one_shot_that_runs_again_is_derived_as_failed(compose: ComposeUser, base_image: str) -> None:
    services = {"once": sleeper(base_image, command=["sh", "-c", "exit 3"])}
    compose.file.write_text(json.dumps({"services": services}), encoding="utf-8")
    compose.run("up", "--detach")
    compose.engine.containers.list(all=True, filters={"name": compose.project})[0].wait()
    assert compose.watch("up", "--detach") == {("once", "start", "failed")}


@pytest.mark.parametrize(
    "reload",
    [("kill", "--signal", "HUP", "app"), ("exec", "-T", "app", "true")],
    ids=["by a signal", "by a command"],
)
def test_a_reload_is_derived_and_a_health_check_is_not_taken_for_one(
    compose: ComposeUser, app_images: dict[str, str], reload: tuple[str, ...]
) -> None:
    app = {"image": app_images["v1"], "environment": {"FILE": "/etc/hostname"}}
    compose.apply({"app": app})
    before = compose.snapshot()
    with EventRecorder(compose.engine) as recorder:
        time.sleep(2.5)  # two health checks
    assert [event for event in recorder.of_project(compose.project) if event.action.startswith("exec_start")]
    assert derive_actions(before, recorder.events, compose.snapshot()) == set()
    assert compose.watch(*reload) == {("app", "reload", "content")}


def test_the_recorder_hears_all_of_its_block_and_nothing_else(engine: docker.DockerClient, site: Site) -> None:
    engine.volumes.create(site.name("before"))
    with EventRecorder(engine) as recorder:
        for number in range(300):  # more than the engine keeps for those who come late
            engine.volumes.create(site.name(str(number)))
    engine.volumes.create(site.name("after"))
    heard = [event.id for event in recorder.events if event.id.startswith(site.prefix)]
    assert heard == [site.name(str(number)) for number in range(300)]


def test_what_a_program_says_before_the_answer_is_read_is_not_lost(engine: docker.DockerClient, tmp_path: Path) -> None:
    head = b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
    frames = b"".join(bytes([kind, 0, 0, 0, 0, 0, 0, 3]) + said for kind, said in ((1, b"one"), (2, b"two")))
    path = str(tmp_path / "engine.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def answer_all_at_once() -> None:
            connection, _address = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(head + frames)

        answering = threading.Thread(target=answer_all_at_once)
        answering.start()
        said = docker.APIClient(f"unix://{path}", version="1.41").exec_start("one")
        answering.join()
    assert said == b"onetwo"


def test_the_proxy_records_requests_and_disturbs_no_build_exec_or_start(
    proxy: RecordingProxy, site: Site, base_image: str
) -> None:
    context = site.directory / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(f"FROM {base_image}\nRUN echo built > /built\n", encoding="utf-8")
    image = site.name("image")

    def docker_cli(*arguments: str) -> str:
        command = ["docker", "--host", proxy.docker_host, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    docker_cli("build", "--network", "none", "--tag", image, str(context))
    assert docker_cli("run", "--rm", "--name", site.name("one"), image, "cat", "/built") == "built\n"
    paths = [f"{request.method} {request.path.split('?')[0]}" for request in proxy.writes()]
    assert any(path.endswith("/containers/create") for path in paths), paths
    assert any(path.endswith("/start") for path in paths), paths


def test_the_proxy_counts_what_only_looks_as_no_write(proxy: RecordingProxy) -> None:
    subprocess.run(["docker", "--host", proxy.docker_host, "ps"], check=True, capture_output=True)
    assert [request.path for request in proxy.requests if request.path.endswith("/containers/json")]
    assert proxy.writes() == []


def test_a_site_removes_what_it_made_and_nothing_else(
    engine: docker.DockerClient, tmp_path: Path, base_image: str, site: Site
) -> None:
    foreign = engine.volumes.create(site.name("foreign"))
    own = Site(engine, tmp_path)
    network = engine.networks.create(own.name("net"))
    engine.containers.create(base_image, name=own.name("by-name"), network=network.id)
    engine.containers.create(base_image, labels={"modelyard.directory": str(tmp_path)})
    engine.volumes.create(own.name("data"))
    engine.images.get(base_image).tag(own.name("kept"), "1")

    own.remove()

    assert not [one.name for one in engine.containers.list(all=True) if own.prefix in (one.name or "")]
    assert not engine.containers.list(all=True, filters={"label": f"modelyard.directory={tmp_path}"})
    assert not engine.networks.list(names=[own.prefix])
    assert not engine.volumes.list(filters={"name": own.prefix})
    assert not [image.tags for image in engine.images.list() if any(own.prefix in tag for tag in image.tags)]
    foreign.reload()
    engine.images.get(base_image)


def test_ansible_gets_texts_that_look_like_templates_as_they_are() -> None:
    text = "{{ undefined }} {% raw %} $HOME 'ä' \"\n"
    result = run_by_ansible("ansible.builtin.ping", {"data": text})
    assert result["ping"] == text
    assert not result.changed
    assert 0 < result.duration < 30


def test_postgres_serves_and_keeps_its_rows_over_a_new_container(compose: ComposeUser, postgres_image: str) -> None:
    file = {
        "services": {"db": {"image": postgres_image, "init": True, "volumes": ["data:/var/lib/postgresql/data"]}},
        "volumes": {"data": {}},
    }
    compose.file.write_text(json.dumps(file), encoding="utf-8")
    compose.run("up", "--detach", "--wait")
    compose.run("exec", "-T", "db", "psql", "-c", "create table sentinel as select 42 as answer")
    compose.run("up", "--detach", "--wait", "--force-recreate")
    compose.run("exec", "-T", "db", "sh", "-c", "test $(psql -Atc 'select answer from sentinel') = 42")


def test_a_count_may_be_as_old_as_a_look_and_not_below_what_was_open_all_that_time() -> None:
    served = [Served("/stream", 200, 10, 20), Served("/stream", 200, 14, 30), Served("/echo", 200, 12, 13)]
    assert [least_open(served, *span) for span in ((9, 9.5), (12, 12.5), (12, 15), (15, 19), (9, 19), (19, 21))] == [
        0, 2, 1, 2, 0, 1,
    ]  # fmt: skip
    readings = [Reading(17, 17.1, 2), Reading(18, 18.1, 1), Reading(15, 15.1, 1), Reading(20.1, 20.2, 1)]
    assert too_low(readings, served) == [(readings[1], 2)]
