# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running site is broken: what dies or is stopped comes back with all that clients were told is stored."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container
from support.clients import count_runs, status_of, writing
from support.waiting import wait_until
from support.whole_site import WholeSite, is_running


@pytest.mark.parametrize("name", ["postgres/db", "object-store/s3", "traefik/traefik"])
def test_what_dies_comes_back_and_no_run_is_lost(
    name: str, site: WholeSite, logged: Any, client_environment: dict[str, str]
) -> None:
    before = count_runs(client_environment)
    container = site.containers()[name]
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    wait_until(lambda: is_up(site, container), f"{name} came back", pause=0.3)
    assert count_runs(client_environment) == before


def is_up(site: WholeSite, container: Container) -> bool:
    container.reload()
    state = container.attrs["State"]
    if not (state["Running"] and state["Health"]["Status"] == "healthy" and container.attrs["RestartCount"] > 0):
        return False
    try:
        return status_of(site.url("mlflow")) == 401
    except OSError:
        return False


STOPPED = {
    "postgres/db": "postgres: Apply the project",
    "object-store/s3": "object_store: Apply the project",
    "traefik/traefik": "traefik: Apply the project",
}


def test_what_was_stopped_is_started_by_the_next_run_and_nothing_accepted_is_lost(
    site: WholeSite, client_environment: dict[str, str], tmp_path: Path
) -> None:
    before = site.ids()
    with writing(tmp_path, client_environment) as writer:
        for name, task in STOPPED.items():
            site.containers()[name].stop()
            writer.wait_for("refused")
            done = site.up()
            assert set(done.changed) == {task}
            plan = [(step["service"], step["action"]) for step in done.results[task]["plan"]]
            assert plan == [(name.split("/")[1], "start")]
            # The first of them may be of a call that was on its way.
            writer.wait_for("text", count=2)
    assert writer.lost() == []
    assert site.ids() == before


def test_what_cannot_work_is_said_at_once_before_anything_is_touched(site: WholeSite) -> None:
    expected = (
        "Cannot deploy a site without a domain", "is already used by", "MiB are free there", "MiB of memory",
        "Cannot rotate 'postgres_superusr'", "'mlflow_workers' is of type str", "value of mlflow_default_permission",
    )  # fmt: skip
    elsewhere = site.folder / "elsewhere"
    before, files = site.starts(), site.mtimes()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site.write_inventory(
            site_domain=None, site_ports={**site.ports, "http": taken.getsockname()[1]}, mlflow_workers="many",
            # Room on disks is asked for where no site is yet.
            site_directory=str(elsewhere), site_minimum={"disk_mib": 10**9, "memory_mib": 10**9},
            mlflow_default_permission="ALL", site_rotate=["postgres_superusr"],
        )  # fmt: skip
        refused = site.play()
    site.write_inventory()
    assert refused.rc != 0
    [message] = [str(found["msg"]) for found in refused.results.values() if "findings" in found]
    missing = [text for text in expected if text not in message]
    assert not missing, f"{missing} is not in: {message}"
    assert (site.starts(), site.mtimes(), elsewhere.exists()) == (before, files, False)


def test_down_keeps_data_and_up_brings_it_back(
    site: WholeSite, foreign: Container, logged: Any, client_environment: dict[str, str]
) -> None:
    runs, started = count_runs(client_environment), foreign.attrs["State"]["StartedAt"]
    stopped = site.up("-e", "site_state=stopped")
    assert stopped.changed
    assert not [name for name, container in site.containers().items() if is_running(container)]
    site.up()
    assert count_runs(client_environment) == runs
    foreign.reload()
    assert (foreign.status, foreign.attrs["State"]["StartedAt"]) == ("running", started)
