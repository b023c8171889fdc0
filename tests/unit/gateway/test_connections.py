# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in flight: the kernel's tables, as recorded and as they are on this machine."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator

import pytest
from modelyard_gateway.inflight import canonical, parse_tables, read_connections, to_service

HEAD = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = b" 00000000:00000000 00:00000000 00000000     0        0 15420 1 0000000000000000 20 4 24 10 -1"
#: 172.30.0.2:8080, and what else stands in a table.
FOUR = HEAD + b"".join(
    b"%4d: %s %s %s%s\n" % (number, local, remote, state, REST)
    for number, (local, remote, state) in enumerate([
        (b"0100007F:1F90", b"00000000:0000", b"0A"),  # listens
        (b"03001EAC:C350", b"02001EAC:1F90", b"01"),  # a request
        (b"03001EAC:C351", b"02001EAC:1F90", b"01"),
        (b"03001EAC:C352", b"02001EAC:1F90", b"02"),  # dials
        (b"03001EAC:C353", b"02001EAC:1F90", b"06"),  # is over
        (b"03001EAC:C354", b"02001EAC:1F90", b"08"),  # the service has closed
        (b"03001EAC:C355", b"02001EAC:1F90", b"04"),  # the gate has closed
        (b"03001EAC:C356", b"02001EAC:1F91", b"01"),  # another port
        (b"02001EAC:1F90", b"03001EAC:C350", b"01"),  # the same, from the far end
    ])
)  # fmt: skip
SIX = HEAD + b"".join(
    b"%4d: %s:C350 %s:1F90 01%s\n" % (number, b"0" * 32, remote, REST)
    for number, remote in enumerate([
        b"0000000000000000FFFF000002001EAC",  # ::ffff:172.30.0.2
        b"B80D0120000000000000000001000000",  # 2001:db8::1
    ])
)  # fmt: skip


def test_tables() -> None:
    counted = parse_tables([FOUR, SIX])
    assert counted == Counter({
        ("172.30.0.2", 8080): 4, ("172.30.0.2", 8081): 1, ("172.30.0.3", 50000): 1, ("2001:db8::1", 8080): 1,
    })  # fmt: skip
    assert to_service(counted, ["172.30.0.2", "2001:0DB8::1", "172.30.0.2"], 8080) == 5
    assert to_service(counted, ["172.30.0.9"], 8080) == 0


def test_a_table_of_a_busy_gate_is_read_quickly() -> None:
    import time

    rows = b"".join(b"%6d: 03001EAC:%04X 02001EAC:1F90 06%s\n" % (number, number, REST) for number in range(50_000))
    began = time.perf_counter()
    assert parse_tables([HEAD + rows]) == Counter()
    assert time.perf_counter() - began < 1.0


@contextlib.contextmanager
def listener(family: socket.AddressFamily, address: str) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind((address, 0))
        listening.listen()
        yield listening


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)
def test_connections_of_this_machine(family: socket.AddressFamily, address: str) -> None:
    try:
        opened = listener(family, address)
        with opened as listening:
            port = listening.getsockname()[1]

            def count() -> int:
                return to_service(read_connections(), [address], port)

            assert count() == 0
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(socket.create_connection((address, port))) for _number in range(3)]
                assert count() == 3
                accepted = [stack.enter_context(listening.accept()[0]) for _number in clients]
                assert count() == 3
                accepted[0].close()  # the service has answered: CLOSE_WAIT at the gate's end
                assert count() == 2
                clients[1].close()  # the gate has gone
                assert count() == 1
            assert count() == 0
    except OSError as error:
        if family == socket.AF_INET6:
            pytest.skip(f"this machine has no IPv6 loopback: {error}")
        raise


@pytest.mark.parametrize(
    ("given", "found"),
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:0db8:0::0001", "2001:db8::1")],
)
def test_one_address_has_one_form(given: str, found: str) -> None:
    assert canonical(given) == found
