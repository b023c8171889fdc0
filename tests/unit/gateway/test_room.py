# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services that share GPUs: never more awake than fit, busy ones never stopped, nobody left out for ever."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from modelyard_gateway.room import choose_sleepers, shortage_mib
from modelyard_gateway.services import Declared, parse_services
from modelyard_gateway.state import Timing
from support.gateway import FakeSite, Reply, now, run, service, services_file


@dataclass(frozen=True)
class Choice:
    candidates: dict[str, dict[str, int]]
    missing: dict[str, int]
    chosen: list[str]


CHOICES = {
    "nothing is missing": Choice({"a": {"0": 4}}, {}, []),
    "the one that was idle for longest": Choice({"a": {"0": 4}, "b": {"0": 4}}, {"0": 4}, ["a"]),
    "the first that is enough alone": Choice({"a": {"0": 1}, "b": {"0": 2}, "c": {"0": 9}}, {"0": 2}, ["b"]),
    "two, if none is enough alone": Choice({"a": {"0": 2}, "b": {"0": 2}, "c": {"0": 2}}, {"0": 4}, ["a", "b"]),
    "none that is not needed": Choice({"a": {"0": 1}, "b": {"0": 3}, "c": {"0": 3}}, {"0": 6}, ["b", "c"]),
    "none of another GPU": Choice({"a": {"1": 9}, "b": {"0": 2}}, {"0": 2}, ["b"]),
    "one for each GPU": Choice({"a": {"1": 9}, "x": {"2": 9}, "b": {"0": 2}}, {"0": 2, "1": 1}, ["a", "b"]),
    "nobody, if all are not enough": Choice({"a": {"0": 2}, "b": {"0": 2}}, {"0": 5}, []),
    "nobody is there": Choice({}, {"0": 5}, []),
}


@pytest.mark.parametrize("name", CHOICES)
def test_who_is_put_to_sleep(name: str) -> None:
    case = CHOICES[name]
    assert choose_sleepers(list(case.candidates.items()), case.missing) == case.chosen


@pytest.mark.parametrize(
    ("wanted", "used", "budget", "missing"),
    [
        ({"0": 4}, {}, {"0": 4}, {}),
        ({"0": 4}, {"0": 1}, {"0": 4}, {"0": 1}),
        ({"0": 4, "1": 4}, {"1": 9}, {"0": 4, "1": 9}, {"1": 4}),
        ({"7": 4}, {}, {"0": 4}, {"7": 4}),
        ({}, {"0": 9}, {"0": 4}, {}),
    ],
)
def test_what_is_missing(
    wanted: dict[str, int], used: dict[str, int], budget: dict[str, int], missing: dict[str, int]
) -> None:
    assert shortage_mib(wanted, used, budget) == missing


class Guard:
    """Sees to it that no start is one too many and no stop hits a request."""

    def __init__(self, site: FakeSite) -> None:
        self.site, self.most = site, 0.0
        site.engine.watch = self.check

    def check(self, name: str, doing: str) -> None:
        container = self.site.engine.containers[name]
        if doing == "stop":
            assert container.connections == 0, f"{name} is stopped with {container.connections} requests in flight"
            return
        used: dict[str, int] = {}
        for config in self.site.declared.services.values():
            if self.site.engine.containers[config.container].is_running:
                for gpu, mib in config.vram_mib.items():
                    used[gpu] = used.get(gpu, 0) + mib
        for gpu, mib in used.items():
            budget = self.site.declared.budget_mib[gpu]
            assert mib <= budget, f"at {now()}: {name} makes GPU {gpu} use {mib} of {budget} MiB"
            self.most = max(self.most, mib / budget)


def shared(folder: Path, needs: Mapping[str, Mapping[str, int]], budget: dict[str, int], **given: Any) -> FakeSite:
    timing = given.pop("timing", None)
    return FakeSite(
        folder, [service(name, vram_mib=vram, **given) for name, vram in needs.items()], gpus=budget, timing=timing
    )


def test_the_idle_one_makes_room_for_the_other(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            Guard(site)
            assert (await site.ask("a")).is_grant
            await asyncio.sleep(30)
            began = now()
            assert (await site.ask("b")).is_grant
            assert now() - began < 4, "a stops, b starts: no more than that"
            assert (site.phase("a"), site.phase("b")) == ("asleep", "awake")
            assert (await site.ask("a")).is_grant
            assert site.engine.started == ["c-a", "c-b", "c-a"]

    run(ask())


def test_those_that_fit_stay_awake_together(tmp_path: Path) -> None:
    async def ask() -> None:
        needs = {"a": {"0": 5}, "b": {"0": 5}, "c": {"1": 9}, "d": {}}
        async with shared(tmp_path, needs, {"0": 10, "1": 10}).running() as site:
            Guard(site)
            replies = await asyncio.gather(*(site.ask(name) for name in needs))
            assert all(reply.is_grant for reply in replies)
            assert [site.phase(name) for name in needs] == ["awake"] * 4
            text = (await site.call("/-/metrics", [])).body.decode()
            assert 'vram_used_mib{gpu="0"} 10' in text

    run(ask())


def test_a_busy_one_is_waited_for(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            Guard(site)
            await site.ask("a")
            site.container("a").connections = 1
            await asyncio.sleep(30)
            waiting = asyncio.create_task(site.ask("b"))
            await asyncio.sleep(40)
            assert (site.phase("a"), site.phase("b"), site.engine.stopped) == ("awake", "waking", [])
            site.container("a").connections = 0
            assert (await waiting).is_grant

    run(ask())


def test_a_busy_one_is_waited_for_until_the_hold_ends_and_beyond_for_who_comes_back(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}, hold_seconds=20).running() as site:
            await site.ask("a")
            site.container("a").connections = 1
            began = now()
            reply = await site.ask("b")
            assert reply.gate_status == 503
            assert now() - began == pytest.approx(20, abs=0.5)
            site.container("a").connections = 0
            await asyncio.sleep(30)
            assert (await site.ask("b")).is_grant
            assert site.engine.started == ["c-a", "c-b"]

    run(ask())


def test_nothing_is_put_to_sleep_for_one_whose_clients_are_long_gone(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}, hold_seconds=5).running() as site:
            await site.ask("a")
            site.container("a").connections = 1
            await site.ask("b")
            await asyncio.sleep(100)
            site.container("a").connections = 0
            await asyncio.sleep(100)
            assert (site.phase("a"), site.phase("b"), site.engine.stopped) == ("awake", "asleep", [])

    run(ask())


def test_a_service_that_was_just_let_be_used_is_not_stopped_before_the_gate_has_dialled(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            await site.ask("a")
            await asyncio.sleep(60)
            granted = now()
            await site.ask("a")
            waiting = asyncio.create_task(site.ask("b"))
            while not site.engine.stopped:
                await asyncio.sleep(0.1)
            assert now() - granted >= site.timing.dial_seconds
            assert (await waiting).is_grant

    run(ask())


async def _use_always(site: FakeSite, name: str, seconds: float, replies: list[Reply]) -> None:
    """Send a request a second, each of which takes two: it is never idle."""
    until = now() + seconds

    async def one() -> None:
        reply = await site.ask(name)
        replies.append(reply)
        if reply.is_grant:
            site.container(name).connections += 1
            await asyncio.sleep(2)
            site.container(name).connections -= 1

    requests = set()
    while now() < until:
        requests.add(asyncio.create_task(one()))
        await asyncio.sleep(1)
    await asyncio.gather(*requests)


def test_one_that_is_never_idle_shuts_nobody_out(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            guard = Guard(site)
            seen: dict[str, list[Reply]] = {"a": [], "b": []}
            await asyncio.gather(*(_use_always(site, name, 600, seen[name]) for name in seen))
            for name, replies in seen.items():
                assert all(reply.is_grant for reply in replies), name
            assert 4 <= len(site.engine.started) < 60, "each has its turn, and no turn is for one request"
            assert guard.most > 0

    run(ask())


def test_a_stream_that_does_not_end_is_not_cut_and_its_service_is_used_again(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}, hold_seconds=200).running() as site:
            Guard(site)
            await site.ask("a")
            site.container("a").connections = 1
            other = asyncio.create_task(site.ask("b"))
            await asyncio.sleep(20)
            began = now()
            assert (await site.ask("a")).is_grant, "it waits until the stream has had its time, and has won then"
            assert 40 < now() - began < 61
            assert (await other).gate_status == 503
            assert site.engine.stopped == []

    run(ask())


def test_small_ones_do_not_overtake_a_large_one(tmp_path: Path) -> None:
    async def ask() -> None:
        needs = {"a": {"0": 5}, "b": {"0": 5}, "large": {"0": 10}, "small": {"0": 5}}
        async with shared(tmp_path, needs, {"0": 10}, hold_seconds=300).running() as site:
            Guard(site)
            await asyncio.gather(site.ask("a"), site.ask("b"))
            site.container("a").connections = 1
            await asyncio.sleep(20)
            large = asyncio.create_task(site.ask("large"))
            await asyncio.sleep(0.1)
            small = asyncio.create_task(site.ask("small"))
            await asyncio.sleep(30)
            assert site.engine.started == ["c-a", "c-b"], "b is idle, and small would fit in its place"
            site.container("a").connections = 0
            assert (await large).is_grant
            assert (await small).is_grant
            assert site.engine.started == ["c-a", "c-b", "c-large", "c-small"]

    run(ask())


def test_a_failed_one_takes_no_room(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            site.container("a").ends = (1.0, 137, True)
            assert (await site.ask("a")).gate_status == 503
            assert (await site.ask("b")).is_grant

    run(ask())


def test_who_comes_first_after_a_restart_waits_until_it_is_known_what_runs(tmp_path: Path) -> None:
    async def ask() -> None:
        site = shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}, hold_seconds=30)
        Guard(site)
        site.container("a").run()
        site.container("a").connections = 1
        site.engine.containers["c-b"].number = 3
        site.fleet.use(site.declared)
        reply = await site.ask("b")  # nothing was looked at yet
        assert (reply.gate_status, site.engine.started) == (503, [])

    run(ask())


def test_more_awake_than_there_is_room_for_is_put_right(tmp_path: Path) -> None:
    """A first apply of the project starts them all."""

    async def ask() -> None:
        site = shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}, "c": {"0": 3}}, {"0": 10}, idle_seconds=None)
        for name in ("a", "b", "c"):
            site.container(name).run()
        async with site.running():
            await asyncio.sleep(60)
            assert sorted(site.phase(name) for name in "abc") == ["asleep", "awake", "awake"]

    run(ask())


def of(**vram_mib: dict[str, int]) -> Declared:
    """Return a declaration of other services than at the start."""
    declared = [service(name, vram_mib=vram) for name, vram in vram_mib.items()]
    return parse_services(services_file(declared, {"0": 10, "1": 10}), "services.json")


def test_one_that_is_declared_no_more_has_its_memory_until_its_container_has_ended(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            assert (await site.ask("a")).is_grant
            site.fleet.use(of(b={"0": 6}))
            asking = asyncio.create_task(site.ask("b"))
            await asyncio.sleep(60)
            assert (site.engine.started, site.fleet.room.used_mib()) == (["c-a"], {"0": 6})
            site.container("a").end(143)
            ended = now()
            assert (await asking).is_grant
            assert now() - ended < 4, "at once"
            assert site.fleet.room.used_mib() == {"0": 6}

    run(ask())


@pytest.mark.parametrize("what", ["sleeps", "is gone", "is declared again"])
def test_one_that_is_declared_no_more_and_holds_nothing(what: str, tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            if what != "sleeps":
                assert (await site.ask("a")).is_grant
            site.fleet.use(of(b={"0": 6}))
            if what == "is gone":
                del site.engine.containers["c-a"]
            if what == "is declared again":
                site.fleet.use(site.declared)
                await asyncio.sleep(30)
                assert site.fleet.room.used_mib() == {"0": 6}, "counted once"
            assert (await site.ask("b")).is_grant

    run(ask())


def test_while_it_is_not_known_whether_one_has_ended_it_has_its_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10}).running() as site:
            assert (await site.ask("a")).is_grant
            site.fleet.use(of(b={"0": 6}))
            site.engine.refuses = {"c-a"}
            await asyncio.sleep(60)
            site.engine.is_down = True
            await asyncio.sleep(60)
            assert site.fleet.room.used_mib() == {"0": 6}
            site.engine.is_down, site.engine.refuses = False, set()
            site.container("a").end(0)
            assert (await site.ask("b")).is_grant

    run(ask())
    assert caplog.text.count("Cannot wait for container 'c-a'") == 1


def test_one_that_left_before_the_gateway_was_started_anew_has_its_memory_until_it_has_ended(tmp_path: Path) -> None:
    async def ask() -> None:
        site = shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10})
        async with site.running():
            assert (await site.ask("a")).is_grant
        site.declared = of(b={"0": 6})
        for _restart in range(2):
            site.build()
            async with site.running():
                assert site.fleet.room.used_mib() == {"0": 6}
                asking = asyncio.create_task(site.ask("b"))
                await asyncio.sleep(30)
                assert site.engine.started == ["c-a"]
                if _restart:
                    site.container("a").end(143)
                    assert (await asking).is_grant
                    assert site.fleet.room.used_mib() == {"0": 6}
            await asking
        site.build()
        async with site.running():
            assert site.fleet.room.used_mib() == {"0": 6}, "of b alone"

    run(ask())


def test_one_that_left_is_known_to_a_gateway_that_follows_one_that_was_killed(tmp_path: Path) -> None:
    async def ask() -> None:
        site = shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10})
        killed = site.running()
        await killed.__aenter__()
        assert (await site.ask("a")).is_grant
        await asyncio.sleep(site.timing.watch_seconds)
        left = site.record_path.read_text()
        await killed.__aexit__(None, None, None)
        site.record_path.write_text(left)
        site.declared = of(b={"0": 6})
        site.build()
        async with site.running():
            assert site.fleet.room.used_mib() == {"0": 6}

    run(ask())


async def assert_both_have_room_once_a_is_replaced(site: FakeSite) -> None:
    assert (await site.command("rest", "a"))[0] == "rested"
    site.replace("a")
    assert await site.command("prove", "a") == ("proven", "")
    assert ((await site.ask("b")).is_grant, (await site.ask("a")).is_grant) == (True, True)
    assert site.fleet.room.used_mib() == {"0": 6, "1": 7}


def test_one_that_moved_is_on_the_old_gpu_also_after_a_restart_until_its_container_is_replaced(tmp_path: Path) -> None:
    async def ask() -> None:
        site = shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10, "1": 10})
        async with site.running():
            assert (await site.ask("a")).is_grant
        site.declared = of(a={"1": 7}, b={"0": 6})
        site.build()
        async with site.running():
            await asyncio.sleep(30)
            assert (site.phase("a"), site.fleet.room.used_mib()) == ("awake", {"0": 6, "1": 7})
            await assert_both_have_room_once_a_is_replaced(site)

    run(ask())


def test_what_ran_and_cannot_be_put_on_record_is_told_once_and_put_there_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_old: str, _new: str) -> None:
        raise OSError(28, "No space left on device")

    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}}, {"0": 10}).running() as site:
            assert (await site.ask("a")).is_grant
            site.record.note_running([])
            with monkeypatch.context() as patched:
                patched.setattr(os, "replace", full)
                await asyncio.sleep(20)
            assert caplog.text.count("No space left on device") == 1
            await asyncio.sleep(5)
            found = json.loads(site.record_path.read_text())["running"]["c-a"]
            assert (found["service"], found["vram_mib"], found["addresses"]) == ("a", {"0": 6}, ["172.30.0.2"])

    run(ask())


def test_one_that_moves_to_another_gpu_is_on_the_old_one_until_its_container_is_replaced(tmp_path: Path) -> None:
    async def ask() -> None:
        site = shared(tmp_path, {"a": {"0": 6}, "b": {"0": 6}}, {"0": 10, "1": 10}, hold_seconds=20)
        async with site.running():
            assert (await site.ask("a")).is_grant
            site.container("a").connections = 1
            site.fleet.use(of(a={"1": 7}, b={"0": 6}))
            assert site.fleet.room.used_mib() == {"0": 6, "1": 7}
            assert (await site.ask("b")).gate_status == 503
            site.container("a").connections = 0
            await assert_both_have_room_once_a_is_replaced(site)

    run(ask())


def test_memory_that_is_declared_otherwise_counts_at_once_and_none_of_gpus_that_nobody_has(tmp_path: Path) -> None:
    async def ask() -> None:
        async with shared(tmp_path, {"a": {"0": 6}}, {"0": 10}).running() as site:
            assert (await site.ask("a")).is_grant
            site.fleet.use(of(a={"0": 8}))
            assert site.fleet.room.used_mib() == {"0": 8}
            site.fleet.use(parse_services(services_file([service("a")]), "services.json"))
            assert site.fleet.room.used_mib() == {}
            assert (await site.command("rest", "a"))[0] == "rested"
            assert await site.command("prove", "a") == ("proven", "")

    run(ask())


#: Little time for each thing, so that much happens.
_SHORT = Timing(
    dial_seconds=1, watch_seconds=2, observe_seconds=3, patience_seconds=3, drain_seconds=10, linger_seconds=5
)


async def _client(site: FakeSite, chance: random.Random, until: float, seen: list[Reply]) -> None:
    names = list(site.declared.services)
    while now() < until:
        await asyncio.sleep(chance.expovariate(0.3))
        name = chance.choice(names)
        leaves_after = chance.uniform(0, 10) if chance.random() < 0.2 else None
        reply = await site.ask(name, leaves_after=leaves_after)
        seen.append(reply)
        if reply.is_grant:
            container, stops = site.container(name), site.engine.stopped.count(f"c-{name}")
            await asyncio.sleep(chance.uniform(0, site.timing.dial_seconds * 0.9))  # the gate dials
            assert site.engine.stopped.count(f"c-{name}") == stops, f"{name} was let be used and stopped"
            run_of_it = container.runs
            container.connections += container.is_running
            await asyncio.sleep(chance.choice([0.1, 0.5, 2.0, 15.0]))
            if container.connections and container.runs == run_of_it:
                container.connections -= 1


async def _accidents(site: FakeSite, chance: random.Random, until: float) -> None:
    while now() < until:
        await asyncio.sleep(chance.expovariate(0.1))
        container = chance.choice(list(site.engine.containers.values()))
        accident = chance.randrange(4)
        if accident == 0 and container.is_running:
            container.end(137, oom_killed=True)
        elif accident == 1:
            container.ends = (chance.uniform(0, 3), 1, False) if container.ends is None else None
        elif accident == 2:
            site.engine.is_down = True
            await asyncio.sleep(chance.uniform(0, 5))
            site.engine.is_down = False
        else:
            site.reads_fail = not site.reads_fail


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_no_gpu_is_over_its_budget_and_no_busy_service_is_stopped(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    budget = {str(gpu): chance.choice([8, 16, 24]) for gpu in range(chance.choice([1, 2, 3]))}
    needs = {
        f"s{number}": {gpu: chance.randint(1, most) for gpu, most in budget.items() if chance.random() < 0.7}
        for number in range(6)
    }

    async def ask() -> None:
        site = shared(tmp_path, needs, budget, idle_seconds=6, hold_seconds=15, wake_seconds=20, timing=_SHORT)
        guard = Guard(site)
        site.engine.stop_seconds = chance.choice([0.1, 3.0])
        for container in site.engine.containers.values():
            container.ready_seconds = chance.uniform(0, 5)
        seen: list[Reply] = []
        async with site.running():
            until = now() + 300
            clients = [_client(site, chance, until, seen) for _number in range(12)]
            await asyncio.gather(*clients, _accidents(site, chance, until))
            granted = sum(reply.is_grant for reply in seen)
            assert granted > 30, f"of {len(seen)}: too little happened to prove anything"
            assert {reply.gate_status for reply in seen} <= {200, 503}
            assert guard.most > 0.5
            assert all(state.waiting == 0 for state in site.fleet.states.values())
        for name, container in site.engine.containers.items():
            assert container.connections >= 0, name

    run(ask())


@pytest.mark.parametrize("seed", range(6))
def test_gateways_that_are_restarted_cut_no_request_and_keep_to_the_budget(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    needs = {f"s{number}": {"0": chance.randint(2, 8)} for number in range(5)}

    async def ask() -> None:
        site = shared(tmp_path, needs, {"0": 10}, idle_seconds=4, hold_seconds=15, timing=_SHORT)
        guard = Guard(site)
        site.engine.stop_seconds = 3.0
        seen: list[Reply] = []
        until = now() + 300
        site.fleet.use(site.declared)
        clients = [asyncio.create_task(_client(site, chance, until, seen)) for _number in range(8)]
        while now() < until:
            async with site.running():
                await asyncio.sleep(chance.uniform(1, 30))
            site.build()
            site.fleet.use(site.declared)
        async with site.running():
            await asyncio.gather(*clients)
            await asyncio.sleep(60)
            assert {site.phase(name) for name in needs} == {"asleep"}
        assert sum(reply.is_grant for reply in seen) > 20
        assert guard.most > 0.5

    run(ask())


def test_after_all_accidents_everything_works_again(tmp_path: Path) -> None:
    chance = random.Random(7)
    needs = {"a": {"0": 6}, "b": {"0": 6}, "c": {"0": 4}}

    async def ask() -> None:
        async with shared(tmp_path, needs, {"0": 10}, idle_seconds=6, timing=_SHORT).running() as site:
            Guard(site)
            await _accidents(site, chance, now() + 600)
            site.engine.is_down = site.reads_fail = False
            for container in site.engine.containers.values():
                container.ends, container.connections = None, 0
            await asyncio.sleep(400)
            for name in needs:
                assert (await site.ask(name)).is_grant
            await asyncio.sleep(30)
            assert {site.phase(name) for name in needs} == {"asleep"}

    run(ask())
