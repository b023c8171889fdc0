# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose word counts for where a request is from."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from modelyard_gateway.edge import Edge
from support.gateway import GOOD_KEY, FakeSite, run, service

EDGE, APP, CLIENT, LAN = "172.20.0.5", "172.20.0.9", "192.0.2.7", "10.1.2.3"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (EDGE, CLIENT, CLIENT),
        (EDGE, LAN, LAN),
        (EDGE, "", EDGE),
        (EDGE, f"198.51.100.1, {CLIENT}", CLIENT),
        (EDGE, f"198.51.100.1, {CLIENT}, 10.0.0.2", CLIENT),
        (EDGE, f"{CLIENT},{EDGE}", CLIENT),
        (EDGE, f"{LAN}, 10.0.0.2", LAN),
        (EDGE, "2001:db8::7", "2001:db8::7"),
        (EDGE, f"::ffff:{CLIENT}", CLIENT),
        (EDGE, f"{CLIENT}, unknown", EDGE),
        (EDGE, f"{CLIENT}, unknown, 10.0.0.2", "10.0.0.2"),
        (APP, CLIENT, APP),
        (APP, EDGE, APP),
        ("", CLIENT, ""),
        ("fd00::5", CLIENT, CLIENT),
    ],
)
def test_only_the_edge_says_who_a_request_is_from(peer: str, forwarded: str, client: str) -> None:
    edge = Edge(["site-traefik-1"], {"site-traefik-1": [EDGE, "fd00::5"]}.__getitem__)
    edge.look()
    assert edge.client_of(peer, forwarded) == client


def test_it_is_found_where_it_is_now_and_nowhere_when_it_is_gone() -> None:
    where: list[str] = []
    edge = Edge(["site-traefik-1", "10.0.0.1"], lambda name: where if "-" in name else [name])

    async def watch() -> None:
        looking = asyncio.create_task(edge.look_always())
        for found in (["172.20.0.5"], ["172.20.0.6"], []):
            where[:] = found
            until = time.monotonic() + 10
            while edge.addresses != {*found, "10.0.0.1"}:
                assert time.monotonic() < until, edge.addresses
                await asyncio.sleep(0.02)
        looking.cancel()

    asyncio.run(watch())


def test_a_name_that_nobody_has_is_no_address() -> None:
    edge = Edge(["nobody.invalid", "a" * 80, "127.0.0.1"])
    edge.look()
    assert edge.addresses == {"127.0.0.1"}


def test_the_audit_log_and_the_gate_are_told_the_address_that_counts(tmp_path: Path) -> None:
    def resolve(_name: str) -> Iterable[str]:
        return [EDGE]

    async def ask() -> None:
        site = FakeSite(tmp_path, [service("chat")])
        site.edge = Edge(["site-traefik-1"], resolve)
        site.edge.look()
        site.build()
        async with site.running():
            for peer, key, client in ((EDGE, GOOD_KEY, CLIENT), (APP, GOOD_KEY, APP), (EDGE, "", CLIENT)):
                said = {"x-original-address": peer, "x-original-forwarded": CLIENT, "x-api-key": key}
                headers = [(name.encode(), value.encode()) for name, value in said.items()]
                assert (await site.ask(headers=headers)).headers["x-auth-address"] == client
                assert json.loads(site.audit_lines[-1])["remote"] == client

    run(ask())
