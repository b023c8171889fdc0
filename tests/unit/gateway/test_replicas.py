# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several containers of one service: who gets a request, when one more is woken, and who goes to sleep again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

from support.gateway import FakeSite, run, service

#: Longer than between two looks at the connections.
A_LOOK = 3.0


def replicas(number: int, **given: Any) -> list[dict[str, Any]]:
    further = [service(f"chat-{index}", replica_of="chat", **given) for index in range(2, number + 1)]
    return [service("chat", **given), *further]


async def ask(site: FakeSite) -> str:
    """Ask for the service; return the address of the container that the request goes to, and keep it in flight."""
    reply = await site.ask()
    assert reply.is_grant, reply
    address = reply.headers["x-gate-address"]
    site.container(address).connections += 1
    return address


async def phase(site: FakeSite, name: str = "chat") -> str:
    found: str = json.loads((await site.call(f"/-/health/{name}", [])).body)["state"]
    return found


def test_one_after_the_other_needs_one_alone(tmp_path: Path) -> None:
    async def use() -> None:
        async with FakeSite(tmp_path, replicas(3)).running() as site:
            assert await phase(site) == "asleep"
            for _number in range(5):
                assert await ask(site) == "chat"
                site.container("chat").connections = 0
                await asyncio.sleep(A_LOOK)
            assert site.engine.started == ["c-chat"]
            assert await phase(site) == "awake"

    run(use())


def test_one_more_is_woken_while_all_that_are_awake_are_busy(tmp_path: Path) -> None:
    async def use() -> None:
        async with FakeSite(tmp_path, replicas(3)).running() as site:
            assert await ask(site) == "chat"
            await asyncio.sleep(A_LOOK)
            assert await ask(site) == "chat", "nobody waits for a wake where one is awake"
            await asyncio.sleep(A_LOOK)
            assert site.engine.started == ["c-chat", "c-chat-2"]
            assert await ask(site) == "chat-2", "it has less to do"
            await asyncio.sleep(A_LOOK)
            await ask(site)
            await asyncio.sleep(A_LOOK)
            assert site.engine.started == ["c-chat", "c-chat-2", "c-chat-3"]
            assert await ask(site) == "chat-3"

    run(use())


def test_requests_at_once_are_spread_over_those_that_are_awake(tmp_path: Path) -> None:
    async def use() -> None:
        async with FakeSite(tmp_path, replicas(3)).running() as site:
            for name in ("chat", "chat-2", "chat-3"):
                assert await site.command("prove", name) == ("proven", "")
            for container in site.engine.containers.values():
                container.run()  # somebody has woken them all
            await asyncio.sleep(20)
            assert Counter([await ask(site) for _number in range(30)]) == {"chat": 10, "chat-2": 10, "chat-3": 10}
            site.container("chat-3").connections = 0
            await asyncio.sleep(A_LOOK)
            assert [await ask(site) for _number in range(5)] == ["chat-3"] * 5

    run(use())


def test_who_is_not_needed_any_more_goes_to_sleep_by_itself(tmp_path: Path) -> None:
    async def use() -> None:
        async with FakeSite(tmp_path, replicas(2, idle_seconds=60)).running() as site:
            await ask(site)
            await asyncio.sleep(A_LOOK)
            await ask(site)
            await asyncio.sleep(A_LOOK)
            assert await ask(site) == "chat-2"
            for name in ("chat", "chat-2"):
                site.container(name).connections = 0
            for _number in range(10):
                await asyncio.sleep(10)
                assert await ask(site) == "chat"
                site.container("chat").connections = 0
            assert (site.phase("chat"), site.phase("chat-2")) == ("awake", "asleep")
            await asyncio.sleep(80)
            assert await phase(site) == "asleep"

    run(use())


def test_one_that_rests_or_fails_leaves_requests_to_the_others(tmp_path: Path) -> None:
    async def use() -> None:
        async with FakeSite(tmp_path, replicas(2)).running() as site:
            assert await site.command("rest") == ("rested", "")
            assert await ask(site) == "chat-2"
            site.container("chat-2").connections = 0
            site.container("chat-2").end(1)
            site.replace("chat")
            assert await site.command("prove") == ("proven", "")
            await asyncio.sleep(20)
            assert site.phase("chat-2") == "failed"
            assert await ask(site) == "chat"

    run(use())


def test_nobody_waits_for_one_that_is_only_proven_and_has_no_room(tmp_path: Path) -> None:
    async def use() -> None:
        first, second = (service(**{**one, "vram_mib": {gpu: 10}}) for one, gpu in zip(replicas(2), "01", strict=True))
        declared = [first, second, service("masks", vram_mib={"1": 10})]
        async with FakeSite(tmp_path, declared, gpus={"0": 10, "1": 10}).running() as site:
            assert (await site.ask("masks")).is_grant
            site.container("masks").connections += 1
            await asyncio.sleep(A_LOOK)
            proof = asyncio.create_task(site.command("prove", "chat-2"))
            await asyncio.sleep(1)
            assert site.phase("chat-2") == "waking"
            assert await ask(site) == "chat"
            assert (await proof)[0] != "proven"

    run(use())


def test_the_second_of_a_full_card_takes_nobodys_requests_away(tmp_path: Path) -> None:
    async def use() -> None:
        declared = replicas(2, vram_mib={"0": 6})
        async with FakeSite(tmp_path, [*declared, service("masks")], gpus={"0": 10}).running() as site:
            for _number in range(30):
                assert await ask(site) == "chat"
                await asyncio.sleep(A_LOOK)
                assert site.fleet.states["chat"].drained_for is None
            assert site.engine.started == ["c-chat"]
            assert (await site.ask("chat-2")).gate_status == 503, "it is no service that may be asked for"

    run(use())
