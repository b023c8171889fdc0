# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a deployment asks: services that it made anew are proven within the room there is, replaced ones rest before."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from modelyard_gateway.services import parse_services
from support.gateway import FakeSite, now, run, service, services_file

GPUS = {"0": 24000}


def site_of(folder: Path, **given: Any) -> FakeSite:
    return FakeSite(folder, [service("chat", **{"idle_seconds": 60, **given})])


def two_of(folder: Path, first: int = 20000, second: int = 20000) -> FakeSite:
    declared = [service("a", vram_mib={"0": first}), service("b", vram_mib={"0": second})]
    return FakeSite(folder, declared, gpus=GPUS)


def said(site: FakeSite) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.record_path.read_text())
    return found


# Proofs


@pytest.mark.parametrize("is_new", [True, False], ids=["a new container", "one that sleeps"])
def test_a_proof_wakes_warms_up_and_puts_back_to_sleep(is_new: bool, tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path, warm_up={"path": "/warm"})
        if is_new:
            site.replace("chat")
        async with site.running():
            began = now()
            assert await site.command("prove") == ("proven", "")
            assert now() - began < 5, "at once, and not after its idle time"
            assert (site.phase("chat"), site.engine.started, site.engine.stopped) == ("asleep", ["c-chat"], ["c-chat"])
            assert ("chat", "/warm") in site.calls
            container = site.container("chat")
            assert (said(site)["woken"], said(site)["containers"]) == ([container.id], {container.id: 143})

    run(ask())


def test_a_proof_ends_though_requests_go_on_waiting_for_room(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            await site.ask("b")
            site.container("b").connections = 1

            async def insist() -> None:
                while True:
                    await site.ask("a")

            asking = asyncio.create_task(insist())
            began = now()
            assert (await site.command("prove", "a"))[0] == "no_room"
            assert now() - began < 700
            asking.cancel()
            site.container("b").connections = 0

    run(ask())


def test_what_a_proof_has_written_outlives_a_slow_look_at_the_others(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            site.engine.slow["c-b"] = 20.0
            looking = asyncio.create_task(site.fleet.observe())
            await asyncio.sleep(1)
            site.replace("a")
            assert await site.command("prove", "a") == ("proven", "")
            assert not looking.done()
            await looking
            assert said(site)["containers"].get(site.container("a").id) == 143

    run(ask())


def test_a_proof_of_one_that_is_awake_leaves_it_awake(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            assert await site.command("prove") == ("proven", "")
            assert (site.phase("chat"), len(site.engine.started)) == ("awake", 1)

    run(ask())


def test_a_request_that_comes_during_a_proof_is_served_and_keeps_the_service_awake(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            proof = asyncio.create_task(site.command("prove"))
            await asyncio.sleep(1)
            assert (await site.ask()).is_grant
            assert await proof == ("proven", "")
            assert (site.phase("chat"), site.engine.stopped) == ("awake", [])
            await asyncio.sleep(55)
            assert site.phase("chat") == "awake", "it has its whole idle time"

    run(ask())


def test_a_request_that_comes_when_it_goes_back_to_sleep_calls_that_off(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            asked: list[asyncio.Task[Any]] = []

            def hook() -> None:
                if site.phase("chat") == "sleeping" and not asked:
                    asked.append(asyncio.create_task(site.ask()))

            site.read_hook = hook
            assert await site.command("prove") == ("proven", "")
            assert (await asked[0]).is_grant
            assert (site.phase("chat"), site.engine.stopped) == ("awake", [])

    run(ask())


def test_a_proof_of_one_that_wakes_for_a_request_waits_for_that(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            request = asyncio.create_task(site.ask())
            await asyncio.sleep(1)
            assert await site.command("prove") == ("proven", "")
            assert (await request).is_grant
            assert (site.phase("chat"), len(site.engine.started)) == ("awake", 1)

    run(ask())


def test_a_service_that_does_not_wake_is_told_with_its_cause_and_stays_down(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path, wake_seconds=30)
        site.replace("chat").ready_seconds = 1e6
        async with site.running():
            assert await site.command("prove") == ("failed", "GET /health did not answer 200 in time")
            assert (site.phase("chat"), site.container("chat").status) == ("failed", "exited")
            assert said(site)["failed"] == {site.container("chat").id: "GET /health did not answer 200 in time"}
            assert (said(site)["woken"], said(site)["containers"]) == ([], {})

    run(ask())


def test_one_that_is_killed_for_memory_while_it_wakes_is_told_so(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        site.replace("chat").ends = (1.0, 137, True)
        async with site.running():
            assert await site.command("prove") == ("failed", "it was killed because it ran out of memory")

    run(ask())


def test_a_failure_is_forgotten_once_it_wakes_and_with_its_container(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        container = site.replace("chat")
        container.ends = (1.0, 3, False)
        async with site.running():
            assert (await site.command("prove"))[0] == "failed"
            old = container.id
            container.ends = None
            assert await site.command("prove") == ("proven", ""), "whoever asks has a reason: at once"
            assert (said(site)["failed"], said(site)["woken"]) == ({}, [old])
            site.replace("chat")
            await asyncio.sleep(40)
            assert (said(site)["failed"], said(site)["woken"], said(site)["containers"]) == ({}, [], {})

    run(ask())


def test_a_new_container_has_no_failures_of_the_old_one_even_if_there_was_none_in_between(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        site.container("chat").ends = (1.0, 3, False)
        async with site.running():
            assert (await site.ask()).gate_status == 503
            found = site.engine.containers.pop("c-chat")
            await asyncio.sleep(20)
            assert site.phase("chat") == "failed"
            site.engine.containers["c-chat"] = found
            site.replace("chat").ends = None
            await asyncio.sleep(20)
            assert site.phase("chat") == "asleep"

    run(ask())


def test_a_service_that_was_asked_for_before_its_container_was_made_is_asleep_once_it_is(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        found = site.engine.containers.pop("c-chat")
        async with site.running():
            for _try in range(3):
                assert (await site.ask()).gate_status == 503
                await asyncio.sleep(30)
            site.engine.containers["c-chat"] = found
            site.replace("chat")
            await asyncio.sleep(20)
            assert site.phase("chat") == "asleep"

    run(ask())


def test_a_service_that_is_declared_just_now_is_waited_for_and_an_unknown_one_is_told(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        known, site.declared = site.declared, parse_services(services_file([]), "services.json")
        async with site.running():
            proof = asyncio.create_task(site.command("prove"))
            await asyncio.sleep(2)
            site.fleet.use(known)
            assert await proof == ("proven", "")
            assert await site.command("prove", "other") == ("unknown", "the gateway knows no such service")

    run(ask())


def test_a_proof_without_a_container_and_without_an_engine(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            site.engine.is_down = True
            cause = "Cannot reach container 'c-chat': the engine's proxy is down; see that it runs."
            assert await site.command("prove") == ("unreachable", cause)
            site.engine.is_down = False
            del site.engine.containers["c-chat"]
            cause = "Cannot inspect container 'c-chat': there is none; apply its project."
            assert await site.command("prove") == ("failed", cause)

    run(ask())


def test_a_gateway_that_ends_says_so(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        site.container("chat").ready_seconds = 50
        async with site.running():
            proof = asyncio.create_task(site.command("prove"))
            await asyncio.sleep(1)
            other = asyncio.create_task(site.command("rest"))
            await asyncio.sleep(1)
            site.fleet.refuse()
            assert await proof == ("stopping", "the gateway ends")
            assert await other == ("stopping", "the gateway ends")

    run(ask())


# Room


def test_two_that_do_not_fit_are_proven_one_after_the_other_and_never_awake_together(tmp_path: Path) -> None:
    async def ask() -> None:
        site = two_of(tmp_path)
        site.replace("a"), site.replace("b")
        together: list[set[str]] = []

        def watch(_name: str, doing: str) -> None:
            if doing == "start":
                together.append({other.name for other in site.engine.containers.values() if other.is_running})

        site.engine.watch = watch
        async with site.running():
            found = await asyncio.gather(site.command("prove", "a"), site.command("prove", "b"))
            assert found == [("proven", ""), ("proven", "")]
            assert together == [{"c-a"}, {"c-b"}], "each was alone when it was started"
            assert (site.phase("a"), site.phase("b")) == ("asleep", "asleep")

    run(ask())


def test_a_proof_takes_the_room_of_an_idle_service(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            assert (await site.ask("a")).is_grant
            await asyncio.sleep(15)
            assert await site.command("prove", "b") == ("proven", "")
            assert (site.phase("a"), site.phase("b")) == ("asleep", "asleep")

    run(ask())


def test_a_proof_finds_no_room_beside_a_busy_service_and_drains_nobody(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            assert (await site.ask("a")).is_grant
            site.container("a").connections = 1
            began = now()
            proof = asyncio.create_task(site.command("prove", "b"))
            while not proof.done():
                await asyncio.sleep(1)
                assert (await site.ask("a")).is_grant, "no request is held up by a proof"
            assert await proof == ("no_room", "its GPUs had no room for it within 30 s")
            assert 30 <= now() - began <= 33
            assert (site.phase("b"), site.container("b").runs) == ("asleep", 0)
            site.container("a").connections = 0
            assert (await site.ask("b")).is_grant, "the next wake is as any other"

    run(ask())


def test_a_request_passes_a_proof_that_waits_for_room(tmp_path: Path) -> None:
    async def ask() -> None:
        declared = [service(name, vram_mib={"0": mib}) for name, mib in (("a", 14000), ("b", 20000), ("c", 10000))]
        async with FakeSite(tmp_path, declared, gpus=GPUS).running() as site:
            assert (await site.ask("a")).is_grant
            site.container("a").connections = 1
            proof = asyncio.create_task(site.command("prove", "b"))
            await asyncio.sleep(1)
            began = now()
            assert (await site.ask("c")).is_grant
            assert now() - began < 5
            assert (await proof)[0] == "no_room"

    run(ask())


def test_a_request_for_a_service_whose_proof_waits_makes_it_a_wake_as_any_other(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            assert (await site.ask("a")).is_grant
            site.container("a").connections = 1
            proof = asyncio.create_task(site.command("prove", "b"))
            await asyncio.sleep(1)
            request = asyncio.create_task(site.ask("b"))
            await asyncio.sleep(40)
            assert not proof.done()
            site.container("a").connections = 0
            assert (await request).is_grant
            assert await proof == ("proven", "")
            assert site.phase("b") == "awake"

    run(ask())


# Rest


def test_one_that_rests_is_stopped_when_nothing_is_in_flight_and_wakes_as_the_new_one(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.container("chat").connections = 2
            rest = asyncio.create_task(site.command("rest"))
            await asyncio.sleep(30)
            assert (rest.done(), site.engine.stopped) == (False, [])
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(1)
            assert not waiting.done(), "it gets no new requests"
            site.container("chat").connections = 0
            assert await rest == ("rested", "")
            assert (site.engine.stopped, len(site.engine.started)) == (["c-chat"], 1)
            # As Compose replaces it: for a moment there is none of that name.
            found = site.engine.containers.pop("c-chat")
            await asyncio.sleep(20)
            site.engine.containers["c-chat"] = found
            assert not waiting.done()
            site.replace("chat")
            assert await site.command("prove") == ("proven", "")
            assert (await waiting).is_grant
            assert (site.phase("chat"), len(site.engine.started)) == ("awake", 2)

    run(ask())


def test_a_new_container_ends_the_rest_of_the_old_one(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            assert await site.command("rest") == ("rested", "")
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(1)
            site.replace("chat")
            assert (await waiting).is_grant
            assert now() < 60

    run(ask())


def test_who_asked_for_a_rest_and_was_killed_holds_up_requests_for_a_while_only(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=600).running() as site:
            await site.ask()
            assert await site.command("rest") == ("rested", "")
            rested = now()
            assert (await site.ask()).is_grant
            assert rested + 120 <= now() <= rested + 130
            assert len(site.engine.started) == 2

    run(ask())


def test_a_gateway_that_is_started_anew_does_not_wake_what_is_about_to_be_replaced(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        async with site.running():
            await site.ask()
            assert await site.command("rest") == ("rested", "")
        site.build()
        async with site.running():
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(30)
            assert (waiting.done(), len(site.engine.started)) == (False, 1)
            site.replace("chat")
            assert (await waiting).is_grant
            assert len(site.engine.started) == 2

    run(ask())


def test_nor_lets_anybody_through_to_one_that_still_runs(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path, hold_seconds=1)
        async with site.running():
            await site.ask()
            site.container("chat").connections = 1
            resting = asyncio.create_task(site.command("rest"))
            await asyncio.sleep(2)
        resting.cancel()
        site.build()
        async with site.running():
            await asyncio.sleep(5)
            assert site.phase("chat") == "awake"
            assert (await site.ask()).gate_status == 503
            assert site.engine.stopped == []

    run(ask())


def test_a_rest_that_nobody_ends_is_over_in_time_through_restarts(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path, hold_seconds=600)
        async with site.running():
            await site.ask()
            assert await site.command("rest") == ("rested", "")
            rested = now()
        for _restart in range(2):
            site.build()
            async with site.running():
                await asyncio.sleep(20)
        site.build()
        async with site.running():
            assert (await site.ask()).is_grant
            assert rested + 120 <= now() <= rested + 130
            assert len(site.engine.started) == 2

    run(ask())


def test_a_clock_that_was_set_back_makes_no_rest_longer(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path, hold_seconds=600)
        async with site.running():
            await site.ask()
            assert await site.command("rest") == ("rested", "")
        site.wall -= 86400.0
        site.build()
        restarted = now()
        async with site.running():
            assert (await site.ask()).is_grant
            assert now() <= restarted + 130

    run(ask())


def test_a_proof_ends_a_rest_for_good(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        async with site.running():
            assert await site.command("rest") == ("rested", "")
            assert await site.command("prove") == ("proven", "")
        site.build()
        restarted = now()
        async with site.running():
            assert (await site.ask()).is_grant
            assert now() < restarted + 20

    run(ask())


def test_one_that_nobody_has_looked_at_yet_rests_too(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        site.fleet.use(site.declared)
        assert await site.command("rest") == ("rested", "")
        waiting = asyncio.create_task(site.ask())
        await asyncio.sleep(30)
        assert (waiting.done(), site.engine.started) == (False, [])
        await site.fleet.close()
        await waiting

    run(ask())


def test_a_rest_that_cannot_be_put_on_record_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_old: str, _new: str) -> None:
        raise OSError(28, "No space left on device")

    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=1).running() as site:
            monkeypatch.setattr(os, "replace", full)
            assert await site.command("rest") == ("rested", "")
            assert (await site.ask()).gate_status == 503
            assert site.engine.started == []

    run(ask())
    assert f"Cannot write {tmp_path}/asleep.json: No space left on device" in caplog.text


def test_one_that_is_busy_for_too_long_is_told_and_not_cut(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, hold_seconds=1).running() as site:
            await site.ask()
            site.container("chat").connections = 3
            began = now()
            assert await site.command("rest", query="?seconds=20") == ("busy", "it is awake, 3 in flight")
            assert 20 <= now() - began <= 21
            assert site.engine.stopped == []
            assert (await site.ask()).gate_status == 503, "it is about to be replaced"

    run(ask())


def test_one_that_was_granted_just_now_is_not_cut_before_it_is_dialled(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            granted = now()
            assert await site.command("rest") == ("rested", "")
            assert now() >= granted + site.timing.dial_seconds

    run(ask())


def test_one_that_sleeps_or_is_not_there_rests_already(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            assert await site.command("rest") == ("rested", "")
            assert (await site.command("rest", "other"))[0] == "rested"
            del site.engine.containers["c-chat"]
            assert await site.command("rest") == ("rested", "there is no container")
            assert site.engine.stopped == []

    run(ask())


@pytest.mark.parametrize("is_restarted", [False, True], ids=["one gateway", "one that was started anew"])
def test_one_that_is_declared_no_more_rests_when_nothing_is_in_flight(is_restarted: bool, tmp_path: Path) -> None:
    async def ask() -> None:
        site = FakeSite(tmp_path, [service("a"), service("b")])
        async with site.running():
            await site.ask("a")
            site.container("a").connections = 2
            site.declared = parse_services(services_file([service("b")]), "services.json")
            if not is_restarted:
                await asyncio.sleep(20)
                await drain(site)
        if is_restarted:
            site.build()
            async with site.running():
                await asyncio.sleep(20)
                await drain(site)

    async def drain(site: FakeSite) -> None:
        site.fleet.use(site.declared)
        assert await site.command("rest", "a", "?seconds=5") == ("busy", "it is declared no more, 2 in flight")
        resting = asyncio.create_task(site.command("rest", "a"))
        await asyncio.sleep(20)
        assert not resting.done()
        site.container("a").connections = 0
        began = now()
        assert (await resting, site.engine.stopped) == (("rested", ""), []), "who asked removes it"
        assert now() - began < 2
        site.container("a").end(143)
        await asyncio.sleep(2)
        assert await site.command("rest", "a") == ("rested", "the gateway knows no such service")

    run(ask())


def test_one_that_left_just_now_is_not_quiet_before_the_gate_has_dialled(tmp_path: Path) -> None:
    async def ask() -> None:
        site = FakeSite(tmp_path, [service("a"), service("b")])
        async with site.running():
            await site.ask("a")
            granted = now()
            site.fleet.use(parse_services(services_file([service("b")]), "services.json"))
            assert await site.command("rest", "a") == ("rested", "")
            assert granted + site.timing.dial_seconds <= now() < granted + site.timing.dial_seconds + 2

    run(ask())


@pytest.mark.parametrize("what", ["no read", "no address"])
def test_what_is_in_flight_to_one_that_left_may_be_unknown(what: str, tmp_path: Path) -> None:
    async def ask() -> None:
        site = FakeSite(tmp_path, [service("a"), service("b")])
        site.container("a").run()
        site.engine.is_down = what == "no address"
        async with site.running():
            site.reads_fail = what == "no read"
            site.fleet.use(parse_services(services_file([service("b")]), "services.json"))
            said = await site.command("rest", "a", "?seconds=20")
            assert said == ("busy", "it is declared no more, what is in flight is not known")
            await site.fleet.close()
            assert await site.command("rest", "a") == ("stopping", "the gateway ends")

    run(ask())


def test_a_rest_calls_off_a_proof_that_waits_for_room(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            await site.ask("b")
            site.container("b").connections = 1
            proof = asyncio.create_task(site.command("prove", "a"))
            await asyncio.sleep(5)
            assert await site.command("rest", "a") == ("rested", "")
            assert await proof == ("no_room", "it is about to be replaced")

    run(ask())


def test_a_rest_calls_off_a_wake_that_waits_for_room(tmp_path: Path) -> None:
    async def ask() -> None:
        async with two_of(tmp_path).running() as site:
            await site.ask("b")
            site.container("b").connections = 1
            waiting = asyncio.create_task(site.ask("a"))
            await asyncio.sleep(15)
            assert site.fleet.states["b"].drained_for is site.fleet.states["a"]
            began = now()
            assert await site.command("rest", "a") == ("rested", "")
            assert now() - began < 2
            assert (await site.ask("b")).is_grant, "it is not held up for one that is not woken"
            site.container("b").connections = 0
            await asyncio.sleep(30)
            assert (waiting.done(), site.engine.started) == (False, ["c-b"])
            site.replace("a")
            assert (await waiting).is_grant

    run(ask())


def test_a_rest_without_an_engine(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.engine.is_down = True
            assert (await site.command("rest", query="?seconds=5"))[0] == "unreachable"

    run(ask())


# Who may ask


@pytest.mark.parametrize(
    ("client", "method", "path", "status"),
    [
        ("172.30.0.9", "POST", "/-/prove/chat", 404),
        ("172.30.0.9", "POST", "/-/rest/chat", 404),
        ("172.30.0.9", "POST", "/-/check", 404),
        ("127.0.0.1", "GET", "/-/check", 405),
        ("::1", "GET", "/-/prove/chat", 405),
        ("127.0.0.1", "GET", "/-/rest/chat", 405),
        ("127.0.0.1", "POST", "/-/prove/a/b", 405),
        ("127.0.0.1", "POST", "/-/health/../prove/chat", 405),
        ("127.0.0.1", "GET", "/-/health/../prove/chat", 404),
    ],
)
def test_only_who_is_beside_it_may_ask(client: str, method: str, path: str, status: int, tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            site.client = client
            assert (await site.call(path, [], method=method)).status == status
            assert site.engine.started == []

    run(ask())
