# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The figures of ``compose_project`` beside ``community.docker.docker_compose_v2`` and plain Compose.

Tasks are timed as Ansible times them: what a user waits for. Each side has a project of its own with the same services.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import docker
from support import images
from support.events import EventRecorder
from support.modules import ModuleResult, run_by_ansible, run_module, start_module
from support.proxy import RecordingProxy
from support.site import Site

from benchmark.harness import Row, paired_ratio, timed, worst
from benchmark.memory import peak_mebibytes

WAIT_SECONDS = 300
SIZES = (6, 41)


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    found: dict[str, Callable[[], Row]] = {}
    for size in SIZES:
        for title, measure in (
            ("no-op task, ours / docker_compose_v2", compare_no_op),
            ("engine requests of a no-op task", count_requests),
            ("first apply, ours / docker compose up --wait", compare_first_apply),
        ):
            name = f"{title}, {size} services"
            found[name] = partial(measure, name, size)
    name = "peak memory of module and children, 41 services"
    found[name] = partial(measure_memory, name, 41)
    name = "health event to verdict, worst of 50"
    found[name] = partial(measure_gate, name, 50)
    return found


def compare_no_op(name: str, size: int) -> Row:
    """Compare tasks that find nothing to do; each must say so.

    Each is the second of its kind in its play, as in a site with several projects; packing a module
    for the first one is not in it.
    """
    with new_site() as site:
        ours, theirs = Ours(site, services(size)), Theirs(site, services(size))
        ours.apply_by_ansible()
        theirs.apply_by_ansible()
        return paired_ratio(
            name,
            lambda: unchanged(ours.apply_by_ansible(times=2)).duration,
            lambda: unchanged(theirs.apply_by_ansible(times=2)).duration,
            limit=1 / 3,
        )


def count_requests(name: str, size: int) -> Row:
    """Count what reaches the engine's socket while nothing has to be done."""
    with new_site() as site:
        ours = Ours(site, services(size))
        ours.apply()

        def count() -> float:
            with RecordingProxy(site.directory / "engine.sock") as proxy:
                unchanged(ours.apply(environment={"DOCKER_HOST": proxy.docker_host}))
            if proxy.writes():
                raise RuntimeError(f"A no-op task wrote to the engine: {proxy.writes()}")
            return len(proxy.requests)

        return worst(name, count, "requests", limit=5, times=9)


def compare_first_apply(name: str, size: int) -> Row:
    """Compare what starts everything from images that are there; what was started is removed in between.

    Ours is the second task of its kind in its play, the first one being in check mode; see :func:`compare_no_op`.
    """
    with new_site() as site:
        ours, plain = Ours(site, services(size)), Theirs(site, services(size))

        def apply_ours() -> float:
            site.remove()
            shutil.rmtree(ours.directory, ignore_errors=True)
            return changed(ours.apply_by_ansible(times=2)).duration

        def apply_plain() -> float:
            site.remove()
            return timed(plain.up)

        return paired_ratio(name, apply_ours, apply_plain, limit=1.3)


def measure_memory(name: str, size: int) -> Row:
    """Take the peak over a first apply and over a task that finds nothing to do."""
    with new_site() as site:
        ours = Ours(site, services(size))

        def measure() -> float:
            running = start_module("compose_project", ours.params)
            peak = peak_mebibytes(running)
            succeeded(running.wait())
            return peak

        return worst(name, measure, "MiB", limit=80, times=3)


def measure_gate(name: str, times: int) -> Row:
    """Take the time from the engine's event to the end of the module, which is later than its verdict."""
    with new_site() as site:
        healthy_soon = {"app": app(environment={"START_SECONDS": "0.5"})}
        ours = Ours(site, healthy_soon)

        def measure() -> float:
            site.remove()
            shutil.rmtree(ours.directory, ignore_errors=True)
            with EventRecorder(site.engine) as recorder:
                succeeded(ours.apply())
                end = time.time()
            heard = [event.time for event in recorder.of_project(ours.name) if event.action == "health_status: healthy"]
            return end - heard[0]

        return worst(name, measure, "s", limit=0.5, times=times)


class Ours:
    """A project that our module applies."""

    def __init__(self, site: Site, declared: dict[str, Any]) -> None:
        self.name = site.name("ours")
        self.directory = site.directory / "ours"
        self.params = {
            "name": self.name,
            "directory": str(self.directory),
            "layers": [{"services": declared}],
            "wait_seconds": WAIT_SECONDS,
        }

    def apply(self, environment: dict[str, str] | None = None) -> ModuleResult:
        return succeeded(run_module("compose_project", self.params, environment=environment))

    def apply_by_ansible(self, times: int = 1) -> ModuleResult:
        return succeeded(run_by_ansible("compose_project", self.params, times=times))


class Theirs:
    """The same project in the hands of the stock module or of Compose itself."""

    def __init__(self, site: Site, declared: dict[str, Any]) -> None:
        self.directory = site.directory / "theirs"
        self.directory.mkdir()
        self.name = site.name("theirs")
        (self.directory / "compose.yaml").write_text(json.dumps({"services": declared}), encoding="utf-8")

    def apply_by_ansible(self, times: int = 1) -> ModuleResult:
        params = {
            "project_name": self.name, "project_src": str(self.directory), "wait": True, "wait_timeout": WAIT_SECONDS,
        }  # fmt: skip
        return succeeded(run_by_ansible("community.docker.docker_compose_v2", params, times=times))

    def up(self) -> None:
        subprocess.run(
            ["docker", "compose", "--project-name", self.name, "up", "--detach", "--wait"],
            cwd=self.directory, check=True, capture_output=True,
        )  # fmt: skip


def services(size: int) -> dict[str, Any]:
    """Return ``size`` services: every third has a health check, the others sleep."""
    base = images.ensure(images.BASE)
    sleeper = {"image": base, "init": True, "command": ["sleep", "infinity"]}
    return {f"service{number:02}": sleeper if number % 3 else app() for number in range(size)}


def app(**more: Any) -> dict[str, Any]:
    """Return a service with a health check."""
    return {"image": images.ensure(images.APP_V1), "init": True, **more}


@contextmanager
def new_site() -> Iterator[Site]:
    """Yield a site in a folder of its own; remove both."""
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        site = Site(docker.from_env(version="auto", timeout=120), Path(folder))
        try:
            yield site
        finally:
            site.remove()


def succeeded(result: ModuleResult) -> ModuleResult:
    if result.rc or result.failed:
        raise RuntimeError(f"The module failed: {result.msg or result.stderr[-1000:]}")
    return result


def unchanged(result: ModuleResult) -> ModuleResult:
    if result.changed:
        raise RuntimeError("The task changed something, so it was no no-op and its time means nothing.")
    return result


def changed(result: ModuleResult) -> ModuleResult:
    if not result.changed:
        raise RuntimeError("The task changed nothing, so it was no first apply and its time means nothing.")
    return result
