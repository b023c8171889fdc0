# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One apply of a project at a time, also beside what a killed one left running; projects do not wait for each other."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

from support.fingerprint import litter
from support.modules import RunningModule, run_module, start_module
from support.site import Site

SLOW_SECONDS = 6
WAIT_SECONDS = 60.0


def params(site: Site, images: dict[str, str], *, project: str = "shop", slow: int = 0, **env: str) -> dict[str, Any]:
    """Return a project whose ``up`` lasts until service ``slow`` is healthy."""
    probe = {"test": ["CMD", "bash", "/app/healthy.sh"], "interval": "1s", "start_period": "60s"}
    services = {
        "slow": {
            "image": images["v1"], "environment": {"START_SECONDS": str(slow), **env}, "healthcheck": probe,
        },
        "after": {
            "image": images["v1"], "environment": env, "depends_on": {"slow": {"condition": "service_healthy"}},
        },
    }  # fmt: skip
    return {
        "name": site.name(project),
        "directory": str(site.directory),
        "layers": [{"services": services}],
        "pull": "never",
        "lock_seconds": 60,
    }


def children_of(pid: int) -> list[int]:
    """Return the processes that ``pid`` has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text()
        except OSError:
            continue  # it has just ended
        if int(text.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.parent.name))
    return found


def wait_for_container(site: Site, name: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not site.engine.containers.list(filters={"name": f"{site.name(name)}-1"}):
        assert time.monotonic() < deadline, f"container {name} was not started"
        time.sleep(0.05)


def spans(site: Site, project: str) -> list[tuple[float, float]]:
    """Return when each release of a project was begun and finished."""
    paths = sorted((site.directory / "releases" / site.name(project)).glob("*/release.json"))
    releases = [json.loads(path.read_text()) for path in paths]
    return [(release["started_at"], release["finished_at"] or float("inf")) for release in releases]


def end_of(pid: int) -> float:
    """Wait until a process has ended; return when, in Unix seconds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} does not end"
        time.sleep(0.02)
    return time.time()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_apply_waits_for_a_child_of_a_killed_one(site: Site, app_images: dict[str, str]) -> None:
    wanted = params(site, app_images, slow=SLOW_SECONDS)
    killed = start_module("compose_project", wanted)
    wait_for_container(site, "shop-slow")
    [compose] = [pid for pid in children_of(killed.pid) if _is_alive(pid)]
    killed.kill(with_children=False)
    killed.wait()
    assert _is_alive(compose)

    impatient = run_module("compose_project", {**wanted, "lock_seconds": 1})
    lock = f"{site.directory}/locks/{site.name('shop')}.lock"
    assert re.fullmatch(
        f"Cannot apply project '{site.name('shop')}': {re.escape(lock)} is held by docker-compose "
        rf"\(pid {compose}\) since more than 1 s; wait for it to end, or end it\.",
        impatient.msg,
    ), impatient.msg
    patient = start_module("compose_project", wanted)
    compose_ended = end_of(compose)
    after = patient.wait()

    assert not after.failed, after.msg
    assert after["services"] == {"slow": "healthy", "after": "healthy"}
    assert spans(site, "shop")[-1][0] > compose_ended - 0.1
    assert litter(site.engine, site, site.name("shop")) == []
    assert not run_module("compose_project", wanted, check=True).changed


def test_applies_of_one_project_follow_each_other(site: Site, app_images: dict[str, str]) -> None:
    running: list[RunningModule] = [
        start_module("compose_project", params(site, app_images, slow=2, WHO=who)) for who in ("one", "two")
    ]
    results = [module.wait() for module in running]

    assert [(result.rc, result.msg) for result in results] == [(0, ""), (0, "")], results
    (_first_begin, first_end), (second_begin, _second_end) = spans(site, "shop")
    assert first_end <= second_begin
    last = "one" if results[0]["release"] == 2 else "two"
    assert not run_module("compose_project", params(site, app_images, slow=2, WHO=last), check=True).changed
    assert litter(site.engine, site, site.name("shop")) == []


def test_applies_of_two_projects_go_side_by_side(site: Site, app_images: dict[str, str]) -> None:
    projects = ("shop", "office")
    running = [start_module("compose_project", params(site, app_images, project=name, slow=4)) for name in projects]
    results = [module.wait() for module in running]

    assert [(result.rc, result.msg) for result in results] == [(0, ""), (0, "")], results
    ([(one_begin, one_end)], [(two_begin, two_end)]) = (spans(site, name) for name in projects)
    assert max(one_begin, two_begin) < min(one_end, two_end)
