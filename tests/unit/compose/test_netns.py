# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.netns import (
    LISTEN,
    Socket,
    accept_new_connections,
    count_open,
    open_connections,
    parse_sockets,
    refuse_new_connections,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from hypothesis import given
from hypothesis import strategies as st

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
# Recorded in a container at 172.17.0.2 that serves port 8080; on a machine with the usual byte order.
RECORDED = HEAD + (
    "   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534        0 70311 1 0\n"
    "   1: 020011AC:1F90 010011AC:C350 01 00000000:00000000 00:00000000 00000000 65534        0 70342 1 0\n"
)
RECORDED_IPV6 = HEAD + (
    "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A"
    " 00000000:00000000 00:00000000 00000000     0        0 70311 1 0\n"
    "   1: 0000000000000000FFFF0000020011AC:1F90 0000000000000000FFFF0000010011AC:C350 01"
    " 00000000:00000000 00:00000000 00000000     0        0 70342 1 0\n"
    "   2: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:C351 01"
    " 00000000:00000000 00:00000000 00000000     0        0 70343 1 0\n"
)

little_endian = pytest.mark.skipif(sys.byteorder == "big", reason="the tables were recorded on a little-endian machine")


@little_endian
def test_a_recorded_table_is_read() -> None:
    listening, connected = parse_sockets(RECORDED)
    assert listening == Socket(bytes(4), 8080, bytes(4), 0, LISTEN, 70311)
    assert connected == Socket(socket.inet_aton("172.17.0.2"), 8080, socket.inet_aton("172.17.0.1"), 50000, 1, 70342)


@little_endian
def test_a_recorded_ipv6_table_is_read() -> None:
    _first, mapped, loopback = parse_sockets(RECORDED_IPV6)
    assert mapped.remote_address == socket.inet_pton(socket.AF_INET6, "::ffff:172.17.0.1")
    assert loopback.remote_address == socket.inet_pton(socket.AF_INET6, "::1")
    assert count_open(parse_sockets(RECORDED_IPV6)) == 1


def test_the_kernels_own_table_is_read() -> None:
    """The byte order of this machine, whichever it is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = Path("/proc/self/net/tcp").read_text(encoding="ascii")
        found = [row for row in parse_sockets(text) if row.inode == os.fstat(server.fileno()).st_ino]
        assert [(row.local_address, row.local_port, row.state) for row in found] == [
            (b"\x7f\0\0\1", server.getsockname()[1], LISTEN)
        ]


@given(st.text())
def test_a_table_that_is_cut_off_gives_the_whole_rows(text: str) -> None:
    assert list(parse_sockets(HEAD + text.replace("\n", " ")[:20])) == []


US, THEM = "10.0.0.2", "10.0.0.9"
COUNTED = [
    pytest.param(1, 80, US, THEM, 1, id="an established connection to the served port"),
    pytest.param(3, 80, US, THEM, 1, id="one that is being made"),
    pytest.param(4, 80, US, THEM, 1, id="one that we have closed with bytes on the way"),
    pytest.param(8, 80, US, THEM, 1, id="one that the client has half closed and still reads"),
    pytest.param(9, 80, US, THEM, 1, id="one whose last bytes are not acknowledged"),
    pytest.param(11, 80, US, THEM, 1, id="one that both close at once"),
    pytest.param(5, 80, US, THEM, 0, id="one that has been answered to the end"),
    pytest.param(6, 80, US, THEM, 0, id="one that is only remembered"),
    pytest.param(1, 41000, US, THEM, 0, id="one that the container itself opened"),
    pytest.param(1, 80, "127.0.0.1", "127.0.0.1", 0, id="a health check over loopback"),
    pytest.param(1, 80, "127.0.0.1", "127.8.8.8", 0, id="loopback is a whole network"),
    pytest.param(1, 80, US, US, 0, id="a health check over its own address"),
    pytest.param(1, 80, "::1", "::1", 0, id="IPv6 loopback"),
    pytest.param(1, 80, "::ffff:127.0.0.1", "::ffff:127.0.0.1", 0, id="IPv4 loopback written as IPv6"),
    pytest.param(1, 80, "fd00::2", "fd00::9", 1, id="IPv6 from outside"),
]


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@pytest.mark.parametrize(("state", "port", "ours", "theirs", "wanted"), COUNTED)
def test_connections_that_would_lose_something_are_counted(
    state: int, port: int, ours: str, theirs: str, wanted: int
) -> None:
    served = Socket(bytes(4), 80, bytes(4), 0, LISTEN, 1)
    assert count_open([served, Socket(packed(ours), port, packed(theirs), 50000, state, 2)]) == wanted


def test_both_tables_of_a_process_count(tmp_path: Path) -> None:
    folder = tmp_path / "proc" / "7" / "net"
    folder.mkdir(parents=True)
    (folder / "tcp").write_text(RECORDED, encoding="ascii")
    assert open_connections(7, root=str(tmp_path)) == 1
    (folder / "tcp6").write_text(RECORDED_IPV6, encoding="ascii")
    assert open_connections(7, root=str(tmp_path)) == 2
    assert open_connections(8, root=str(tmp_path)) == 0, "a process that has ended has no connections"


class Firewall:
    """Programs as ``run`` starts them: keeps the rules of one namespace."""

    def __init__(self, failure: str = "") -> None:
        self.rules: list[str] = []
        self.calls: list[str] = []
        self._failure = failure

    def __call__(self, argv: Any, **_: Any) -> Completed:
        action = next(word for word in argv if word in ("-C", "-I", "-D"))
        rule = f"{argv[2]} " + " ".join(argv[argv.index(action) + 1 :])
        self.calls.append(action)
        if action == "-C":
            return Completed(0 if rule in self.rules else 1, "", "Bad rule")
        if self._failure:
            return Completed(4, "", self._failure)
        if action == "-I":
            self.rules.insert(0, rule)
        else:
            self.rules.remove(rule)
        return Completed(0, "", "")


@pytest.fixture
def other_network(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the number of a process that counts as one in a namespace of its own: making one needs root."""
    monkeypatch.setattr(os.path, "samefile", lambda *_: False)
    return os.getpid()


RULE = "iptables INPUT -p tcp --syn ! -i lo -m comment --comment modelyard-drain -j REJECT --reject-with tcp-reset"


def own_rules(firewall: Firewall) -> list[str]:
    return [rule for rule in firewall.rules if rule.startswith("iptables ")]


def test_refusing_twice_makes_one_rule_and_accepting_removes_all(other_network: int) -> None:
    firewall = Firewall()
    refuse_new_connections(firewall, other_network)
    refuse_new_connections(firewall, other_network)
    assert own_rules(firewall) == [RULE]
    firewall.rules.insert(0, RULE)
    accept_new_connections(firewall, other_network)
    assert firewall.rules == []


def test_accepting_what_was_never_refused_only_looks(other_network: int) -> None:
    firewall = Firewall()
    accept_new_connections(firewall, other_network)
    assert set(firewall.calls) == {"-C"}


def test_a_firewall_that_cannot_be_set_is_named(other_network: int) -> None:
    with pytest.raises(PlatformError) as failure:
        refuse_new_connections(Firewall("No chain/target/match by that name."), other_network)
    assert str(failure.value) == (
        f"Cannot keep new connections from process {other_network}: iptables says: No chain/target/match by that "
        "name.; install nsenter (util-linux) and iptables, and load the kernel's module xt_REJECT."
    )


def test_a_missing_program_is_named(other_network: int) -> None:
    def run(*_: Any, **__: Any) -> Completed:
        raise FileNotFoundError(2, "No such file or directory", "nsenter")

    with pytest.raises(PlatformError, match=r"says: .*No such file or directory: 'nsenter'; install nsenter"):
        refuse_new_connections(run, other_network)


def test_the_hosts_own_network_is_never_closed() -> None:
    firewall = Firewall()
    with pytest.raises(PlatformError) as failure:
        refuse_new_connections(firewall, os.getpid())
    assert firewall.calls == []
    assert str(failure.value) == (
        f"Cannot keep new connections from process {os.getpid()}: it is in the host's own network; declare "
        "'update: stop_first' for its service."
    )


def test_a_process_that_has_ended_needs_nothing() -> None:
    firewall = Firewall()
    refuse_new_connections(firewall, 2**22 + 1)
    accept_new_connections(firewall, 2**22 + 1)
    assert firewall.calls == []
