# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of a site and where they lead: only an order that cannot succeed stops a deployment."""

from __future__ import annotations

import socket
from collections.abc import Collection, Sequence

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._site import reach
from ansible_collections.modelyard.platform.plugins.module_utils._site.reach import (
    Edge,
    find_returning,
    find_wrong_names,
    is_own_address,
    is_private,
    resolve_name,
)

OWN, NAT, OTHER = "203.0.113.5", "198.51.100.7", "192.0.2.99"
RECORDS = {
    "right.example.org": [OWN], "nat.example.org": [NAT], "other.example.org": [OTHER],
    "half.example.org": [OWN, "2001:db8::1"], "hosts.example.org": ["127.0.1.1"], "none.example.org": [],
    "site.test": [],
}  # fmt: skip


def found(edge: Edge, back: Collection[str] | None = ()) -> list[tuple[str, bool]]:
    def returning(addresses: Sequence[str], port: int) -> Collection[str] | None:
        assert port == edge.http_port
        return None if back is None else set(addresses).intersection(back)

    findings = find_wrong_names(
        edge, resolve=RECORDS.__getitem__, is_own=lambda address: address in (OWN, "127.0.1.1"), returning=returning
    )
    return [(finding.text, finding.is_refusal) for finding in findings]


def test_a_name_at_this_host_is_right() -> None:
    assert found(Edge(("right.example.org",), "http-01")) == []


def test_a_name_that_is_not_in_the_dns_stops_an_order_of_http_01() -> None:
    text = (
        "Cannot get a certificate for 'none.example.org': this host finds no address of it; make a record of it in the "
        "DNS."
    )
    assert found(Edge(("none.example.org",), "http-01")) == [(text, True)]
    assert found(Edge(("none.example.org",), "tls-alpn-01")) == [(text, True)]


def test_a_name_at_another_host_stops_an_order() -> None:
    [(text, is_refusal)] = found(Edge(("other.example.org",), "http-01"))
    assert is_refusal
    assert text == (
        f"Cannot get a certificate for 'other.example.org': it is at {OTHER}, which is no address of this host; "
        "correct the DNS, or if that leads here nevertheless, as through a NAT, say so in traefik_public_addresses."
    )


def test_every_address_counts_because_an_authority_may_take_any() -> None:
    [(text, is_refusal)] = found(Edge(("half.example.org",), "http-01"))
    assert is_refusal
    assert "it is at 2001:db8::1, which" in text


PASSED = [
    ("the operator says so", Edge(("nat.example.org",), "http-01", public_addresses=(NAT,)), ()),
    ("a request comes back", Edge(("nat.example.org",), "http-01"), (NAT,)),
    (
        "another name there has a certificate",
        Edge(("nat.example.org", "right.example.org"), "http-01", certified=frozenset({"nat.example.org"})),
        (),
    ),
]


@pytest.mark.parametrize(("edge", "back"), [case[1:] for case in PASSED], ids=[case[0] for case in PASSED])
def test_an_address_before_a_nat_is_right_where(edge: Edge, back: Collection[str]) -> None:
    assert found(edge, back) == []


@pytest.mark.parametrize(
    ("is_rehearsed", "back", "refused"), [(True, None, False), (False, None, True), (True, (), True)]
)
def test_what_cannot_be_tried_may_be_asked_of_an_authority_for_tests(
    is_rehearsed: bool, back: Collection[str] | None, refused: bool
) -> None:
    [(text, is_refusal)] = found(Edge(("nat.example.org",), "http-01", is_rehearsed=is_rehearsed), back)
    start = (
        "Cannot get a certificate for 'nat.example.org': "
        if refused
        else "Whether 'nat.example.org' leads to this edge "
    )
    assert text.startswith(start)
    assert is_refusal is refused


def test_a_request_that_comes_back_is_asked_for_http_01_alone() -> None:
    [(_text, is_refusal)] = found(Edge(("nat.example.org",), "tls-alpn-01"), back=(NAT,))
    assert is_refusal


WARNED = [
    ("the name has a certificate", Edge(("none.example.org",), "http-01", certified=frozenset({"none.example.org"}))),
    ("the authority looks into the DNS alone", Edge(("other.example.org",), "dns-01")),
    ("no authority is asked", Edge(("none.example.org",))),
]


@pytest.mark.parametrize("edge", [case[1] for case in WARNED], ids=[case[0] for case in WARNED])
def test_a_wrong_name_is_only_told_where(edge: Edge) -> None:
    [(text, is_refusal)] = found(edge)
    assert text.startswith("Nobody may reach '")
    assert not is_refusal


def test_a_name_that_is_never_public_is_no_news_without_an_authority() -> None:
    assert found(Edge(("site.test",))) == []
    assert [is_refusal for _text, is_refusal in found(Edge(("site.test",), "http-01"))] == [True]
    assert is_private("a.b.LOCAL")
    assert not is_private("local.example.org")


def test_a_loopback_address_says_nothing_of_others() -> None:
    [(text, is_refusal)] = found(Edge(("hosts.example.org",), "http-01"))
    assert not is_refusal
    assert text == (
        "What others see of 'hosts.example.org' cannot be told from here: for this host itself it is 127.0.1.1; look "
        "into /etc/hosts, and ask a name server of others."
    )


def test_a_wildcard_is_certified_by_the_dns_alone() -> None:
    [(text, is_refusal)] = found(Edge(("*.example.org",), "http-01"))
    assert is_refusal
    assert text == (
        "Cannot get a certificate for '*.example.org': an authority certifies a wildcard by the challenge 'dns-01' "
        "alone; set it in traefik_acme, or name the names."
    )
    assert found(Edge(("*.example.org",), "dns-01")) == []


def test_another_port_than_80_must_be_led_to() -> None:
    [(text, is_refusal)] = found(Edge(("right.example.org",), "http-01", http_port=8080))
    assert not is_refusal
    assert text.startswith("An authority asks at port 80 of a name, and this edge listens at 8080; ")


def test_an_address_of_an_interface_is_told_from_others() -> None:
    assert is_own_address("127.0.0.1")
    assert not is_own_address(OTHER)
    assert not is_own_address("2001:db8::1")
    assert resolve_name("127.0.0.1") == ["127.0.0.1"]
    assert resolve_name("a..b") == []


def test_a_request_that_comes_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(reach, "CHALLENGE_PORT", port)
        # Whoever listens there would answer, and not with what was agreed.
        assert find_returning(["127.0.0.1"], port) is None
    assert find_returning(["127.0.0.1", "127.0.0.2"], port) == {"127.0.0.1", "127.0.0.2"}
    monkeypatch.setattr(reach, "CHALLENGE_PORT", port + 1 if port < 65535 else port - 1)
    assert find_returning(["127.0.0.1"], port) == set()
