# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the last role of a run tries: a promise that is not kept fails the run, and says which."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server

ORIGIN = "https://traefik.molecule.test"


def broken(*promises: dict[str, object]) -> str:
    """Return the argument that adds promises."""
    return json.dumps({"verify_promises": list(promises)})


def test_a_kept_promise_and_the_changed_option_are_tried(server: Server) -> None:
    done = server.play("-v")
    assert done.returncode == 0, done.stdout
    assert "A page of nobody asks for a login" in done.stdout
    assert "HTTP leads to HTTPS" in done.stdout


def test_a_promise_that_is_not_kept_fails_the_run(server: Server) -> None:
    done = server.play("-e", broken({"name": "Everybody may come in", "url": f"{ORIGIN}/dashboard/", "status": 200}))
    assert done.returncode != 0
    assert "Everybody may come in" in done.stdout
    assert "401" in done.stdout


def test_a_name_that_leads_nowhere_is_told(server: Server) -> None:
    done = server.play("-e", broken({"name": "Somebody is there", "url": "https://gone.molecule.test/", "status": 200}))
    assert done.returncode != 0
    assert "Somebody is there" in done.stdout


def test_a_port_that_no_role_said_is_told(server: Server) -> None:
    """The operator's own layer opens the port that is meant for the host alone."""
    layer = {"services": {"traefik": {"ports": ["8077:8099"]}}}
    done = server.play("-e", json.dumps({"traefik_overrides": layer}))
    assert done.returncode != 0
    assert "8077" in done.stdout
    assert server.play().returncode == 0


def test_no_secret_is_in_what_it_writes(server: Server) -> None:
    done = server.play("-vvv")
    assert done.returncode == 0
    assert server.secret("traefik_admin_password") not in done.stdout


def test_after_a_restart_of_the_host_every_promise_is_kept(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    restarted()
    done = server.play()
    assert done.returncode == 0, done.stdout
    assert "changed=0 " in done.stdout
