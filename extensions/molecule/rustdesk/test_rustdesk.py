# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Id server and relay of remote desktops. Their image stands for upstream's, and speaks lines instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server


def said(server: Server, port: int, line: str, *, kind: str = "STREAM") -> str:
    """Return what a port of the host's own address answers."""
    address = server.must("hostname -I").split()[0]
    script = (
        f"import socket; s = socket.socket(type=socket.SOCK_{kind}); s.settimeout(10); "
        f"s.connect(('{address}', {port})); s.send(b'{line}'); print(s.recv(999).decode())"
    )
    return server.must(f'python3 -c "{script}"')


def key(server: Server) -> str:
    """Return the public key that an operator gives to clients."""
    done = server.play()
    assert done.returncode == 0, done.stdout
    found = re.search(r"the key (\S{44})", done.stdout)
    assert found, done.stdout
    return found[1]


def test_the_id_server_answers_on_the_changed_port(server: Server) -> None:
    assert said(server, 23116, "who") == key(server)
    assert server.run("timeout 3 bash -c '</dev/tcp/127.0.0.1/21116'").rc != 0


def test_the_id_server_answers_by_udp_too(server: Server) -> None:
    assert said(server, 23116, "who", kind="DGRAM") == said(server, 23116, "who")


def test_the_relay_serves_who_knows_the_key_and_nobody_else(server: Server) -> None:
    assert said(server, 23117, said(server, 23116, "who")) == "relayed"
    assert said(server, 23117, "another") == ""


def test_the_consoles_do_not_answer_from_outside(server: Server) -> None:
    assert "relay-servers" not in said(server, 23115, "h")
    assert "bandwidth" not in said(server, 23117, "h")


def test_its_private_key_is_its_own(server: Server) -> None:
    assert server.run("docker exec modelyard-rustdesk-hbbr-1 cat /run/rustdesk/id_ed25519").rc != 0
    assert server.run("sudo -u admin cat /opt/modelyard/projects/modelyard-rustdesk/id_ed25519").rc != 0


def test_after_a_restart_of_the_host_the_key_is_the_same(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    known = said(server, 23116, "who")
    before = restarted()
    assert server.containers() == before
    assert said(server, 23116, "who") == known
    assert said(server, 23117, known) == "relayed"
