# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the first authorised request wakes a service, what the others wait for, and what becomes of failures."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from modelyard_gateway.engine import Container
from modelyard_gateway.services import parse_services
from modelyard_gateway.state import Timing
from support.gateway import FakeSite, now, run, service, services_file


def site_of(folder: Path, **given: Any) -> FakeSite:
    return FakeSite(folder, [service("chat", **given)])


def test_first_request_waits_and_is_let_through_half_a_second_after_readiness_at_most(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            began = now()
            assert (await site.ask()).is_grant
            assert 2.0 <= now() - began < 2.2
            again = now()
            assert (await site.ask()).is_grant
            assert now() == again

    run(ask())


def test_fifty_at_once_cause_one_start(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            replies = await asyncio.gather(*(site.ask() for _number in range(50)))
            assert [reply.is_grant for reply in replies] == [True] * 50
            assert site.engine.started == ["c-chat"]

    run(ask())


@pytest.mark.parametrize(("hold_seconds", "status", "after"), [(120, 200, 90.0), (20, 503, 20.0)])
def test_a_service_that_needs_90_seconds(hold_seconds: int, status: int, after: float, tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=hold_seconds).running() as site:
            site.container("chat").ready_seconds = 90.0
            began = now()
            reply = await site.ask()
            assert reply.gate_status == status
            assert reply.at - began == pytest.approx(after, abs=0.3)
            if status == 503:
                await asyncio.sleep(80 - int(reply.headers["x-gate-retry-after"]))
                assert (await site.ask()).is_grant, "the wake went on"
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_retry_after_is_when_the_last_wake_was_over(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=4, idle_seconds=30).running() as site:
            site.container("chat").ready_seconds = 24.0
            first = await site.ask()
            assert first.headers["x-gate-retry-after"] == "6", "nothing is known yet: ten seconds in all"
            while site.phase("chat") != "asleep":
                await asyncio.sleep(1)
            assert (await site.ask()).headers["x-gate-retry-after"] == "21"

    run(ask())


def test_no_hold_at_all_still_wakes(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=0).running() as site:
            assert (await site.ask()).gate_status == 503
            await asyncio.sleep(3)
            assert (await site.ask()).is_grant
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_a_client_that_leaves_while_it_is_held_ends_neither_the_wake_nor_the_wait_of_others(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            began = now()
            leaving = asyncio.create_task(site.ask(leaves_after=0.7))
            staying = asyncio.create_task(site.ask())
            left = await leaving
            assert left.gate_status == 503
            assert left.at - began == pytest.approx(0.7, abs=0.05)
            assert json.loads(site.audit_lines[0])["reason"] == "gone"
            assert site.fleet.states["chat"].waiting == 1
            assert (await staying).is_grant
            assert site.engine.started == ["c-chat"]
            assert site.fleet.states["chat"].waiting == 0

    run(ask())


def test_all_clients_leave_and_the_service_wakes_all_the_same(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await asyncio.gather(*(site.ask(leaves_after=0.1) for _number in range(10)))
            await asyncio.sleep(3)
            assert site.phase("chat") == "awake"

    run(ask())


def test_more_than_may_wait_are_sent_away_at_once(tmp_path: Path) -> None:
    async def ask() -> None:
        timing = Timing(most_waiting=5)
        async with FakeSite(tmp_path, [service("chat")], timing=timing).running() as site:
            replies = await asyncio.gather(*(site.ask() for _number in range(8)))
            assert sorted(reply.gate_status for reply in replies) == [200] * 5 + [503] * 3
            assert "crowded" in "".join(site.audit_lines)

    run(ask())


def test_a_warm_up_call_comes_after_readiness_and_before_traffic(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, warm_up={"path": "/generate", "method": "POST"}).running() as site:
            await site.ask()
            assert site.calls[-2:] == [("chat", "/health"), ("chat", "/generate")]
            assert [call for call in site.calls if call[1] == "/generate"] == [("chat", "/generate")]

    run(ask())


@pytest.mark.parametrize(
    ("ends", "cause"),
    [
        ((1.0, 137, True), "it was killed because it ran out of memory"),
        ((1.0, 3, False), "it ended with exit code 3"),
        ((1.0, 143, False), "it ended with exit code 143"),
    ],
)
def test_a_container_that_ends_while_it_wakes_has_failed_and_is_tried_again_later_each_time(
    ends: tuple[float, int, bool], cause: str, tmp_path: Path
) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            site.container("chat").ends = ends
            first = await site.ask()
            assert (first.gate_status, first.headers["x-gate-retry-after"]) == (503, "5")
            assert (site.phase("chat"), site.fleet.states["chat"].cause) == ("failed", cause)
            assert json.loads(site.record_path.read_text())["containers"] == {}
            at_once = await asyncio.gather(*(site.ask() for _number in range(20)))
            assert {reply.gate_status for reply in at_once} == {503}
            assert len(site.engine.started) == 1, "it is left alone for as long as it said"
            await asyncio.sleep(5)
            assert (await site.ask()).headers["x-gate-retry-after"] == "10"
            await asyncio.sleep(10)
            site.container("chat").ends = None
            assert (await site.ask()).is_grant
            assert site.fleet.states["chat"].failures == 2, "forgotten once it has been awake for a while"
            await asyncio.sleep(70)
            assert site.fleet.states["chat"].failures == 0

    run(ask())


def test_an_engine_killed_for_memory_while_it_is_awake_is_failed_and_not_asleep(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.container("chat").end(137, oom_killed=True)
            await asyncio.sleep(16)
            assert site.phase("chat") == "failed"
            assert json.loads(site.record_path.read_text())["containers"] == {}
            await asyncio.sleep(5)
            assert (await site.ask()).is_grant, "the next request tries again"

    run(ask())


def test_one_put_to_sleep_by_force_and_then_killed_for_memory_is_not_asleep(tmp_path: Path) -> None:
    """Both exit with 137: what was once on record must not stand for what came later."""

    async def ask() -> None:
        async with site_of(tmp_path, idle_seconds=20, stop_seconds=1).running() as site:
            site.engine.stop_seconds = 5.0
            await site.ask()
            await asyncio.sleep(40)
            assert json.loads(site.record_path.read_text())["containers"] == {site.container("chat").id: 137}
            site.container("chat").ends = (0.5, 137, True)
            assert (await site.ask()).gate_status == 503
            assert site.phase("chat") == "failed"
            assert json.loads(site.record_path.read_text())["containers"] == {}

    run(ask())


def test_one_that_is_not_ready_in_time_is_stopped_and_failed(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, wake_seconds=10).running() as site:
            site.container("chat").ready_seconds = 1e9
            began = now()
            assert (await site.ask()).gate_status == 503
            assert now() - began == pytest.approx(10.6, abs=0.3)
            assert site.fleet.states["chat"].cause == "GET /health did not answer 200 in time"
            assert site.engine.stopped == ["c-chat"]
            assert json.loads(site.record_path.read_text())["containers"] == {}
            await asyncio.sleep(60)
            assert site.phase("chat") == "failed"

    run(ask())


def test_one_that_somebody_else_started_and_that_is_not_ready_is_theirs_to_stop(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, wake_seconds=10).running() as site:
            site.container("chat").ready_seconds = 1e9
            site.container("chat").run()
            await asyncio.sleep(40)
            assert site.engine.stopped == []
            assert site.fleet.states["chat"].failures > 0

    run(ask())


def test_an_engine_that_does_not_answer_is_waited_for(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            site.engine.is_down = True
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(30)
            site.engine.is_down = False
            reply = await waiting
            assert reply.is_grant
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_an_engine_that_does_not_answer_closes_nothing_that_is_awake(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=20).running() as site:
            await site.ask()
            site.engine.is_down = True
            await asyncio.sleep(120)
            assert (await site.ask()).is_grant
            await asyncio.sleep(400)
            assert (await site.ask()).gate_status == 503, "it was to sleep, and nobody knows whether it does"
            assert site.phase("chat") == "unknown"
            site.engine.is_down = False
            assert (await site.ask()).is_grant

    run(ask())


def test_a_start_that_is_refused_and_a_container_that_is_not_there(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat"), service("masks")]).running() as site:
            site.engine.refuses.add("c-chat")
            del site.engine.containers["c-masks"]
            assert (await site.ask("chat")).gate_status == 503
            assert (await site.ask("masks")).gate_status == 503
            assert "no such device" in site.fleet.states["chat"].cause
            assert "there is none" in site.fleet.states["masks"].cause
            await asyncio.sleep(60)
            assert (site.phase("chat"), site.phase("masks")) == ("failed", "failed")

    run(ask())


def test_one_that_was_never_started_is_asleep(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        site.container("chat").status, site.container("chat").exit_code = "created", 0
        site.record_path.unlink()
        site.build()
        async with site.running():
            assert site.phase("chat") == "asleep"
            assert (await site.ask()).is_grant

    run(ask())


def test_one_that_was_found_stopped_and_is_on_no_record_failed_but_wakes_at_once(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        site.record_path.unlink()
        site.build()
        async with site.running():
            assert site.phase("chat") == "failed"
            assert (await site.ask()).is_grant

    run(ask())


def test_a_container_that_was_made_anew_is_let_be_used_only_when_it_is_ready(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            container = site.container("chat")
            container.generation, container.ready_seconds = 1, 20.0
            container.run()
            await asyncio.sleep(16)
            assert site.phase("chat") == "waking"
            assert (await site.ask()).is_grant
            assert now() - container.started_at >= 20.0
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_a_container_that_its_restart_policy_brings_back_while_it_wakes_has_failed(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            container = site.container("chat")
            container.ready_seconds = 10.0
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(3)
            container.run()
            assert (await waiting).gate_status == 503
            assert site.fleet.states["chat"].cause == "it ended and was started again while it woke"
            assert site.engine.stopped == ["c-chat"]

    run(ask())


def test_what_was_seen_before_a_wake_does_not_count_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            inspect, late = site.engine.inspect, [5.0]

            async def inspect_late(name: str) -> Container:
                found = await inspect(name)
                await asyncio.sleep(late.pop() if late else 0.0)
                return found

            monkeypatch.setattr(site.engine, "inspect", inspect_late)
            while late:
                await asyncio.sleep(0.1)
            assert (await site.ask()).is_grant
            await asyncio.sleep(5)
            assert site.phase("chat") == "awake"

    run(ask())


def test_failures_of_a_container_are_not_those_of_the_one_made_in_its_place(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            site.container("chat").ends = (0.1, 1, False)
            for _number in range(6):
                await site.ask()
                await asyncio.sleep(40)
            assert site.fleet.states["chat"].failures > 3
            site.container("chat").ends, site.container("chat").generation = None, 1
            await asyncio.sleep(16)
            assert (await site.ask()).is_grant

    run(ask())


def test_who_waits_when_the_gateway_ends_is_told_to_come_again(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(1)
            site.fleet.refuse()
            reply = await waiting
            assert (reply.gate_status, reply.headers["x-gate-retry-after"]) == (503, "2")
            assert json.loads(site.audit_lines[0])["reason"] == "stopping"

    run(ask())


def test_the_gate_is_brought_into_the_network_of_a_service_before_that_wakes(tmp_path: Path) -> None:
    async def ask() -> None:
        site = FakeSite(tmp_path, [service("chat", network="s_chat"), service("masks", network="s_masks")])
        site.container("masks").run()
        async with site.running():
            assert site.engine.joined == ["s_masks"], "that runs already, and the gate may be another one by now"
            site.engine.watch = lambda _name, doing: site.engine.joined.append(doing)
            assert (await site.ask("chat")).is_grant
            assert site.engine.joined == ["s_masks", "s_chat", "start"]

    run(ask())


def test_a_service_that_the_gate_cannot_reach_is_not_started(tmp_path: Path) -> None:
    async def ask() -> None:
        site = FakeSite(tmp_path, [service("chat", network="s_chat")])
        site.engine.refuses = {"s_chat"}
        async with site.running():
            assert (await site.ask("chat")).gate_status == 503
            assert (site.engine.started, site.phase("chat")) == ([], "failed")

    run(ask())


def test_services_that_change_while_requests_wait(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat"), service("masks")]).running() as site:
            chat, masks = asyncio.create_task(site.ask("chat")), asyncio.create_task(site.ask("masks"))
            await asyncio.sleep(1)
            changed = [service("masks", idle_seconds=7), service("new", container="c-chat")]
            site.fleet.use(parse_services(services_file(changed), "services.json"))
            assert (await chat).gate_status == 503
            assert (await masks).is_grant, "what stays keeps what is known of it"
            assert site.engine.started == ["c-chat", "c-masks"]
            assert (await site.ask("new")).is_grant
            assert (await site.ask("chat")).gate_status == 503

    run(ask())


def test_a_bug_in_a_wake_is_told_and_does_not_hang_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=30).running() as site:

            async def start(_name: str) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr(site.engine, "start", start)
            began = now()
            assert (await site.ask()).gate_status == 503
            assert now() - began < 31

    run(ask())
    assert "Cannot move service 'chat': a bug in the gateway; report it." in caplog.text
    caplog.clear()
