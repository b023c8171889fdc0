# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.ports import Place, admit
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.rules import (
    Guarded,
    chains_of,
    comparable,
    render_rules,
)

CHAINS = chains_of("shop")


def rendered(*entries: dict[str, Any], family: int = 4, **more: Any) -> list[str]:
    return render_rules(Guarded(admit(entries, []), **more), CHAINS, family=family)


def test_nothing_declared_closes_the_networks_of_the_site_to_others() -> None:
    assert rendered(bridges=("br-1", "br-2")) == [
        "-A SITE-shop -m conntrack --ctdir REPLY -j RETURN",
        "-A SITE-shop -i br-1 -j RETURN",
        "-A SITE-shop -i br-2 -j RETURN",
        "-A SITE-shop -o br-1 -j DROP",
        "-A SITE-shop -o br-2 -j DROP",
        "-A SITE-shop-IN -i lo -j RETURN",
        "-A SITE-shop-IN -i br-1 -j RETURN",
        "-A SITE-shop-IN -i br-2 -j RETURN",
    ]


def test_an_open_port_passes_and_the_proxy_is_left_alone() -> None:
    assert rendered({"number": 443}) == [
        "-A SITE-shop -m conntrack --ctdir REPLY -j RETURN",
        "-A SITE-shop -p tcp -m conntrack --ctstate DNAT --ctorigdstport 443 -j RETURN",
        "-A SITE-shop-IN -i lo -j RETURN",
    ]


def test_a_limited_port_passes_from_its_ranges_of_the_family_alone() -> None:
    entry = {"number": 5432, "allowed_ranges": ["198.51.100.0/24", "192.0.2.7", "2001:db8::/48"]}
    port = "-p tcp -m conntrack --ctstate DNAT --ctorigdstport 5432"
    assert rendered(entry)[1:4] == [
        f"-A SITE-shop -s 192.0.2.7/32 {port} -j RETURN",
        f"-A SITE-shop -s 198.51.100.0/24 {port} -j RETURN",
        f"-A SITE-shop {port} -j DROP",
    ]
    assert rendered(entry, family=6)[1:] == [
        f"-A SITE-shop -s 2001:db8::/48 {port} -j RETURN",
        f"-A SITE-shop {port} -j DROP",
        "-A SITE-shop-IN -i lo -j RETURN",
        "-A SITE-shop-IN -s 2001:db8::/48 -p tcp -m tcp --dport 5432 -j RETURN",
        "-A SITE-shop-IN -p tcp -m tcp --dport 5432 -j DROP",
    ]


def test_a_port_at_one_address_comes_before_the_same_at_all_and_is_of_its_family() -> None:
    entries = (
        {"number": 53, "protocol": "udp"},
        {"number": 53, "protocol": "udp", "address": "192.0.2.1", "allowed_ranges": []},
    )
    assert rendered(*entries)[1:] == [
        "-A SITE-shop -p udp -m conntrack --ctstate DNAT --ctorigdst 192.0.2.1 --ctorigdstport 53 -j DROP",
        "-A SITE-shop -p udp -m conntrack --ctstate DNAT --ctorigdstport 53 -j RETURN",
        "-A SITE-shop-IN -i lo -j RETURN",
        "-A SITE-shop-IN -d 192.0.2.1/32 -p udp -m udp --dport 53 -j DROP",
    ]
    assert rendered(*entries, family=6)[1:] == [
        "-A SITE-shop -p udp -m conntrack --ctstate DNAT --ctorigdstport 53 -j RETURN",
        "-A SITE-shop-IN -i lo -j RETURN",
    ]


def test_a_port_of_loopback_is_closed_to_what_is_forwarded_and_nothing_is_said_of_input() -> None:
    assert rendered({"number": 8099, "address": "127.0.0.1"})[1:] == [
        "-A SITE-shop -p tcp -m conntrack --ctstate DNAT --ctorigdst 127.0.0.1 --ctorigdstport 8099 -j DROP",
        "-A SITE-shop-IN -i lo -j RETURN",
    ]


def test_what_nobody_declared_is_closed_at_the_proxy_too() -> None:
    undeclared = (Place(9000, "tcp"), Place(9001, "udp", "2001:db8::1"), Place(9002, "tcp", "127.0.0.1"))
    assert rendered(undeclared=undeclared)[2:] == ["-A SITE-shop-IN -p tcp -m tcp --dport 9000 -j DROP"]
    assert rendered(undeclared=undeclared, family=6)[2:] == [
        "-A SITE-shop-IN -p tcp -m tcp --dport 9000 -j DROP",
        "-A SITE-shop-IN -d 2001:db8::1/128 -p udp -m udp --dport 9001 -j DROP",
    ]


def test_names_of_chains_fit_the_kernel_and_are_each_sites_own() -> None:
    assert chains_of("modelyard").names == ("SITE-modelyard", "SITE-modelyard-IN")
    long = [chains_of("a" * 30 + letter) for letter in "bc"]
    assert all(len(name) <= 28 for chains in long for name in chains.names)
    assert len({name for chains in long for name in chains.names}) == 4


SAME: list[tuple[str, str, str]] = [
    ("a match that is only loaded", "-A X -p tcp --dport 80 -j DROP", "-A X -p tcp -m tcp --dport 80 -j DROP"),
    ("one address", "-A X -s 192.0.2.7 -j DROP", "-A X -s 192.0.2.7/32 -j DROP"),
    ("the order of parts", "-A X -i lo -p udp -j RETURN", "-A X -p udp -i lo -j RETURN"),
]


@pytest.mark.parametrize(("one", "other"), [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_rules_are_the_same_but_for(one: str, other: str) -> None:
    assert comparable(one) == comparable(other)


OTHERS: list[tuple[str, str, str]] = [
    ("another chain", "-A X -j DROP", "-A Y -j DROP"),
    ("another target", "-A X -p tcp -j DROP", "-A X -p tcp -j RETURN"),
    ("a negation", "-A X -s 192.0.2.7 -j DROP", "-A X ! -s 192.0.2.7 -j DROP"),
    ("another part negated", "-A X ! -s 192.0.2.7 -i lo -j DROP", "-A X -s 192.0.2.7 ! -i lo -j DROP"),
    ("another range", "-A X -s 10.0.0.0/8 -j DROP", "-A X -s 10.0.0.0/9 -j DROP"),
    ("one more part", "-A X -p tcp -j DROP", "-A X -p tcp --dport 1 -j DROP"),
]


@pytest.mark.parametrize(("one", "other"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_rules_are_not_the_same_with(one: str, other: str) -> None:
    assert comparable(one) != comparable(other)
