# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment does with the roles it is given: it refuses, plans, rotates, stops and brings back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server

NAME = "traefik.molecule.test"
ORIGIN = f"https://{NAME}:9443"


def with_values(**values: object) -> tuple[str, str]:
    """Return the arguments of a run that give variables another value for this once."""
    return "-e", json.dumps(values)


def test_the_changed_ports_are_the_sites_and_the_usual_ones_are_nobodys(server: Server) -> None:
    assert server.ask(f"{ORIGIN}/dashboard/").status == 401
    assert server.ask(f"http://{NAME}:9080/a").headers["location"] == f"{ORIGIN}/a"
    assert server.ask("http://127.0.0.1:9098/api/version").status == 200
    for port in (80, 443, 8099):
        assert server.run(f"timeout 3 bash -c '</dev/tcp/127.0.0.1/{port}'").rc != 0


def test_all_that_cannot_work_is_told_at_once_and_nothing_is_touched(server: Server) -> None:
    before = server.containers()
    ports = {"http": 22, "https": 9443, "postgres": 5433, "edge_api": 9098}
    done = server.play(*with_values(site_ports=ports, site_minimum={"disk_mib": 1, "memory_mib": 10**9}))
    assert done.returncode != 0
    assert "port 22 is already used by 'sshd'" in done.stdout
    assert "1000000000 MiB are needed" in done.stdout
    assert server.containers() == before
    assert server.ask(f"http://{NAME}:9080/").status in (301, 308)


def test_a_need_that_no_role_provides_is_refused(server: Server) -> None:
    roles = {"docker": "all", "client": "clients", "host_command": "all", "traefik": "edge", "mlflow": "tracking"}
    done = server.play(*with_values(site_roles=roles))
    assert done.returncode != 0
    assert "Cannot deploy role 'mlflow': it needs a database" in done.stdout
    assert not [name for name in server.containers() if "mlflow" in name]


def test_check_mode_tells_of_a_change_and_makes_none(server: Server) -> None:
    before = server.containers()
    layer = {"services": {"traefik": {"mem_limit": "300m"}}}
    done = server.play("--check", "--diff", *with_values(traefik_overrides=layer))
    assert done.returncode == 0, done.stdout
    assert "changed=0 " not in done.stdout
    assert server.containers() == before
    assert "changed=0 " in server.play().stdout


def test_a_secret_that_is_rotated_opens_the_door_and_the_one_before_does_not(server: Server) -> None:
    before = server.secret("traefik_admin_password")
    done = server.play(*with_values(site_rotate=["traefik_admin_password"]))
    assert done.returncode == 0, done.stdout
    now = server.secret("traefik_admin_password")
    assert now not in done.stdout
    assert server.ask(f"{ORIGIN}/dashboard/", login=f"admin:{before}").status == 401
    assert server.ask(f"{ORIGIN}/dashboard/", login=f"admin:{now}").status == 200
    assert "changed=0 " in server.play().stdout
    assert server.secret("traefik_admin_password") == now


def test_a_site_that_was_stopped_comes_back_by_the_next_run(server: Server) -> None:
    before = server.containers()
    done = server.play(*with_values(site_state="stopped"))
    assert done.returncode == 0, done.stdout
    assert server.must("docker ps --quiet") == ""
    assert server.run("timeout 3 bash -c '</dev/tcp/127.0.0.1/9443'").rc != 0
    assert server.play().returncode == 0
    assert server.containers() == before
    assert server.ask(f"{ORIGIN}/dashboard/").status == 401


def test_after_a_restart_of_the_host_a_run_changes_nothing(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    before = restarted()
    assert server.containers() == before
    assert "changed=0 " in server.play().stdout
    assert server.ask(f"{ORIGIN}/dashboard/").status == 401
