# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An update under load loses nothing: through a real Traefik, and for a client inside the network."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support.images import FILES
from support.load import Background, Load
from support.modules import run_module, start_module
from support.site import Site
from support.traefik import ROUTER_PORT, Traefik, route_to

PORT = 8080
LOAD_SECONDS = 60.0
STREAM_AT, UPDATE_AT = 15.0, 20.0


class PostCounter:
    """Counts, from the output of a project's containers, how often each POST reached a server.

    The output is followed: that of a removed container is gone with it.
    """

    def __init__(self, engine: docker.DockerClient, project: str) -> None:
        self.posts: Counter[str] = Counter()
        self._engine, self._project = engine, project
        self._followers: dict[str, threading.Thread] = {}

    def follow(self) -> None:
        """Take in the containers of now."""
        for container in self._engine.containers.list(filters={"label": f"com.docker.compose.project={self._project}"}):
            if container.id not in self._followers:
                self._followers[container.id] = threading.Thread(target=self._read, args=(container,), daemon=True)
                self._followers[container.id].start()

    def _read(self, container: Container) -> None:
        pending = b""
        for chunk in container.logs(stream=True, follow=True):
            *lines, pending = (pending + chunk).split(b"\n")
            self.posts.update(line.decode().removeprefix("POST ") for line in lines if line.startswith(b"POST "))


@pytest.fixture
def traefik(engine: docker.DockerClient, site: Site, base_image: str) -> Iterator[Traefik]:
    running = Traefik(engine, site, base_image)
    yield running
    running.container.remove(force=True)


def project_options(site: Site, traefik: Traefik, image: str, **service: Any) -> dict[str, Any]:
    network = site.name("shared")
    web = {"image": image, "networks": ["shared"], **service}
    return {
        "name": site.name("shop"),
        "directory": str(site.directory),
        "layers": [{"services": {"web": web}, "networks": {"shared": {"external": True, "name": network}}}],
        "networks": [{"name": network}],
        "edge": {"file": f"{traefik.folder}/shop.yml", "config": route_to("web", PORT), "api": traefik.api},
        "pull": "never",
        "wait_seconds": 60,
    }


def start_inside_client(engine: docker.DockerClient, site: Site, image: str, seconds: float) -> Container:
    program = (FILES / "inside_client.py").read_text(encoding="utf-8")
    return engine.containers.run(
        image, ["python3", "-c", program, "web", str(PORT), str(seconds)],
        name=site.name("inside"), network=site.name("shared"), detach=True, init=True,
    )  # fmt: skip


def test_an_update_under_load_fails_no_request(
    engine: docker.DockerClient, site: Site, traefik: Traefik, app_images: dict[str, str], base_image: str
) -> None:
    first = run_module("compose_project", project_options(site, traefik, app_images["v1"]))
    assert not first.failed, first.msg
    traefik.join(engine, site.name("shared"))
    traefik.wait_for(200)
    counter = PostCounter(engine, site.name("shop"))
    counter.follow()
    [old] = engine.containers.list(filters={"label": f"com.docker.compose.project={site.name('shop')}"})
    inside = start_inside_client(engine, site, base_image, LOAD_SECONDS)
    load = Load(traefik.address, ROUTER_PORT, LOAD_SECONDS, stream_at=STREAM_AT)
    sending = Background(load.run)
    time.sleep(UPDATE_AT)

    updating = Background(lambda: _follow_until_removed(engine, counter, old.id))
    started = time.monotonic()
    second = run_module("compose_project", project_options(site, traefik, app_images["v2"]))
    update_seconds = time.monotonic() - started
    assert not second.failed, second.msg
    sending.join(timeout=LOAD_SECONDS + 60)
    updating.join(timeout=30)
    inside.wait(timeout=60)

    sys.stdout.write(f"update {update_seconds:.1f} s, {dict(load.count())}, inside: {inside.logs().decode()}")
    assert UPDATE_AT + update_seconds < LOAD_SECONDS, "the update did not end under load"
    assert load.failures == []
    assert load.count().total() == LOAD_SECONDS * load.per_second + 1
    assert load.bodies("stream") == [b"".join(b"%d\n" % number for number in range(30))]
    quick = load.bodies("quick kept") + load.bodies("quick new")
    assert set(quick) == {b"v1", b"v2"}
    sent = {str(number) for number in range(0, int(LOAD_SECONDS) * load.per_second, 10)}
    assert counter.posts == dict.fromkeys(sent, 1)
    assert "FAILED" not in inside.logs().decode()
    assert "v1,v2" in inside.logs().decode()


def _follow_until_removed(engine: docker.DockerClient, counter: PostCounter, container_id: str) -> None:
    while any(container.id == container_id for container in engine.containers.list(ignore_removed=True)):
        counter.follow()
        time.sleep(0.2)


@pytest.mark.parametrize("next_version", ["v2", "v1"], ids=["goes on", "goes back"])
def test_an_update_that_was_killed_while_the_old_copy_drained_leaves_nothing(
    engine: docker.DockerClient,
    site: Site,
    traefik: Traefik,
    app_images: dict[str, str],
    base_image: str,
    next_version: str,
) -> None:
    """The old copy refuses new connections at that moment, and the edge has left it."""
    first = run_module("compose_project", project_options(site, traefik, app_images["v1"]))
    assert not first.failed, first.msg
    traefik.join(engine, site.name("shared"))
    traefik.wait_for(200)
    streaming = Load(traefik.address, ROUTER_PORT, 0.0, stream_at=0.0)
    sending = Background(streaming.run)
    time.sleep(0.5)
    updating = start_module("compose_project", project_options(site, traefik, app_images["v2"]))
    _wait_until_blocked(site)
    updating.kill(with_children=True)
    assert updating.wait().rc < 0

    second = run_module("compose_project", project_options(site, traefik, app_images[next_version]))
    sending.join(timeout=60)

    assert not second.failed, second.msg
    [served] = engine.containers.list(filters={"label": f"com.docker.compose.project={site.name('shop')}"})
    assert served.image.labels["modelyard-test.version"] == next_version
    after = Load(traefik.address, ROUTER_PORT, 2.0)
    after.run()
    assert after.failures == []
    inside = start_inside_client(engine, site, base_image, 1.0)
    inside.wait(timeout=30)
    assert f" {next_version} " in inside.logs().decode()
    assert "FAILED" not in inside.logs().decode()
    assert streaming.failures == []
    assert json.loads(_state_path(site).read_text(encoding="utf-8"))["blocked"] == []


def _state_path(site: Site) -> Path:
    return site.directory / "releases" / site.name("shop") / "state.json"


def _wait_until_blocked(site: Site) -> None:
    deadline = time.monotonic() + 60
    while not json.loads(_state_path(site).read_text(encoding="utf-8"))["blocked"]:
        assert time.monotonic() < deadline, "the update never came to drain the old copy"
        time.sleep(0.1)
    time.sleep(0.5)
