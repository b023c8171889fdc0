# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that knows the site's names and trusts its authority, and no more than that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server

NAME = "traefik.molecule.test"


def test_the_sites_names_lead_to_the_changed_address(server: Server) -> None:
    assert server.must(f"getent ahostsv4 {NAME}").split()[0] == "127.0.0.9"


def test_other_names_are_left_alone(server: Server) -> None:
    assert server.run("getent ahostsv4 elsewhere.molecule.test").rc != 0
    assert "127.0.0.1" in server.must("getent ahostsv4 localhost")


def test_the_certificate_is_trusted_by_the_systems_programs(server: Server) -> None:
    assert server.ask(f"https://{NAME}/dashboard/").status == 401


def test_a_certificate_that_another_made_for_the_name_is_still_refused(server: Server) -> None:
    made = f"openssl req -x509 -newkey ed25519 -nodes -keyout /tmp/own.key -out /tmp/own.crt -subj /CN={NAME} -days 1"
    serve = "timeout 20 openssl s_server -accept 127.0.0.9:4433 -key /tmp/own.key -cert /tmp/own.crt -www"
    ask = f"python3 -c \"import urllib.request as u; u.urlopen('https://{NAME}:4433/', timeout=10)\""
    server.must(f"{made} -addext subjectAltName=DNS:{NAME}")
    refused = server.run(f"({serve} >/dev/null 2>&1 </dev/null &) ; sleep 1; {ask}; rm /tmp/own.*")
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr


def test_who_does_not_ask_the_systems_store_trusts_nothing_new(server: Server) -> None:
    """The authority is in the store that all programs share, and in no other place."""
    script = "import ssl; ssl.create_default_context(cafile='/usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt')"
    script += f".wrap_socket(__import__('socket').create_connection(('{NAME}', 443)), server_hostname='{NAME}')"
    refused = server.run(f'python3 -c "{script}"')
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr


def test_a_line_that_an_administrator_wrote_stays(server: Server) -> None:
    server.must("echo 127.0.0.7 own.example >>/etc/hosts && sed -i s/127.0.0.9/127.0.0.8/ /etc/hosts")
    done = server.play()
    assert done.returncode == 0, done.stdout
    assert server.must("getent ahostsv4 own.example").split()[0] == "127.0.0.7"
    assert server.must(f"getent ahostsv4 {NAME}").split()[0] == "127.0.0.9"
    server.must("sed -i /own.example/d /etc/hosts")


def test_after_a_restart_of_the_host_names_and_trust_are_there(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    restarted()
    assert server.must(f"getent ahostsv4 {NAME}").split()[0] == "127.0.0.9"
    assert server.ask(f"https://{NAME}/dashboard/").status == 401
