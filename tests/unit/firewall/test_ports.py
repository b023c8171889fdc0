# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.ports import EVERYBODY, Place, admit

OFFICE = ipaddress.ip_network("198.51.100.0/24")
WEB = Place(443, "tcp")


def test_a_port_of_which_nothing_more_is_said_is_everybodys() -> None:
    assert admit([{"number": 443}], []) == {WEB: EVERYBODY}
    assert admit([{"number": 443, "protocol": "udp", "address": "", "allowed_ranges": None}], []) == {
        Place(443, "udp"): EVERYBODY
    }


def test_an_empty_list_of_ranges_is_nobody() -> None:
    assert admit([{"number": 443, "allowed_ranges": []}], []) == {WEB: ()}


def test_what_several_say_of_a_port_is_added_up() -> None:
    declared = [
        {"number": 443, "allowed_ranges": ["198.51.100.0/25", "2001:db8::/48"]},
        {"number": 443, "allowed_ranges": ["198.51.100.128/25"]},
    ]
    assert admit(declared, []) == {WEB: (OFFICE, ipaddress.ip_network("2001:db8::/48"))}


def test_what_the_operator_says_of_a_port_counts_instead_at_every_address() -> None:
    declared = [{"number": 443, "address": "192.0.2.1"}, {"number": 443, "protocol": "udp"}, {"number": 80}]
    own = [{"number": 443, "allowed_ranges": ["198.51.100.0/24"]}]
    assert admit(declared, own) == {WEB: (OFFICE,), Place(443, "udp"): EVERYBODY, Place(80, "tcp"): EVERYBODY}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.5.0.1", "::1"])
def test_a_loopback_address_is_nobodys_from_outside(address: str) -> None:
    assert admit([{"number": 8099, "address": address}], []) == {Place(8099, "tcp", address): ()}


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104 - nothing is bound
def test_the_address_of_all_addresses_is_none(address: str) -> None:
    assert list(admit([{"number": 80, "address": address}], [])) == [Place(80, "tcp")]


def test_one_address_is_written_in_one_way() -> None:
    assert list(admit([{"number": 80, "address": "2001:0DB8::0:1"}], [])) == [Place(80, "tcp", "2001:db8::1")]


COVERED: list[tuple[str, Place, Place, bool]] = [
    ("the same", WEB, WEB, True),
    ("one address of all", WEB, Place(443, "tcp", "192.0.2.1"), True),
    ("all addresses of one", Place(443, "tcp", "192.0.2.1"), WEB, False),
    ("another address", Place(443, "tcp", "192.0.2.1"), Place(443, "tcp", "192.0.2.2"), False),
    ("another protocol", WEB, Place(443, "udp"), False),
    ("another number", WEB, Place(444, "tcp"), False),
]


@pytest.mark.parametrize(("declared", "published", "wanted"), [row[1:] for row in COVERED], ids=[r[0] for r in COVERED])
def test_what_is_declared_covers(declared: Place, published: Place, wanted: bool) -> None:
    assert declared.covers(published) is wanted


FIX = "give 'allowed_ranges' such as '10.0.0.0/8' or '192.0.2.7'."
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no port", {"number": 0}, "Cannot guard port 0: there is none of that number; give one from 1 to 65535."),
    ("too high", {"number": 70000}, "Cannot guard port 70000: there is none of that number; give one from 1 to 65535."),
    (
        "no address", {"number": 80, "address": "eth0"},
        "Cannot guard port 80: 'eth0' is no address; give one of this host's, or none for all of them.",
    ),
    (
        "host bits", {"number": 53, "protocol": "udp", "address": "192.0.2.1", "allowed_ranges": ["10.0.0.1/8"]},
        "Cannot guard port 192.0.2.1:53/udp: 10.0.0.1/8 has host bits set; " + FIX,
    ),
    (
        "no range", {"number": 80, "address": "2001:db8::1", "allowed_ranges": ["office"]},
        "Cannot guard port [2001:db8::1]:80/tcp: 'office' does not appear to be an IPv4 or IPv6 network; " + FIX,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "text"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_no_port_is_refused(entry: dict[str, Any], text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        admit([entry], [])
    assert str(caught.value) == text
