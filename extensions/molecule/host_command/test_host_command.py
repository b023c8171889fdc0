# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site's command on its host: it tells what is there, and shows a secret to root alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server


def test_it_is_where_the_changed_option_says_and_nowhere_else(server: Server) -> None:
    assert "All is well." in server.must("platform status")
    assert server.run("modelyard status").rc == 127


def test_it_tells_of_a_service_that_was_stopped_until_it_runs_again(server: Server) -> None:
    server.must("docker stop modelyard-traefik-proxy-1")
    told = server.run("platform status")
    assert told.rc != 0
    assert "proxy" in told.stdout
    server.must("docker start modelyard-traefik-proxy-1")
    server.soon("platform status")


def test_it_lists_the_names_of_secrets_and_no_value(server: Server) -> None:
    value = server.must("platform secrets show traefik_admin_password")
    listed = server.must("platform secrets list")
    assert "traefik_admin_password" in listed
    assert value not in listed


def test_it_shows_nothing_to_who_is_not_root(server: Server) -> None:
    told = server.run("sudo -u admin /usr/local/sbin/platform secrets show traefik_admin_password")
    assert told.rc != 0
    assert "root" in told.stderr


def test_it_says_what_it_does_not_know(server: Server) -> None:
    told = server.run("platform secrets show nothing_of_this_name")
    assert told.rc != 0
    assert "nothing_of_this_name" in told.stderr
    assert "Traceback" not in told.stderr


def test_after_a_restart_of_the_host_it_says_that_all_is_well(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    restarted()
    assert "All is well." in server.soon("platform status")
