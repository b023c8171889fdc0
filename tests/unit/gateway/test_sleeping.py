# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a service is put to sleep and when it is not, and what is on record then."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.asleep import (
    SleepRecord as ReadRecord,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.asleep import (
    read_sleep_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from modelyard_gateway.errors import GatewayError
from modelyard_gateway.services import parse_services
from modelyard_gateway.sleep_record import SleepRecord
from modelyard_gateway.state import Timing
from support.gateway import PORT, FakeSite, now, run, service, services_file


def site_of(folder: Path, **given: Any) -> FakeSite:
    return FakeSite(folder, [service("chat", **{"idle_seconds": 60, **given})])


async def killed_while_a_stop_runs(site: FakeSite) -> None:
    """Run a gateway that ends when the engine has been asked to stop a container, which takes 20 s."""
    site.engine.stop_seconds = 20.0
    async with site.running():
        await site.ask()
        while not site.engine.stopped:
            await asyncio.sleep(0.1)


async def until_asleep(site: FakeSite, name: str = "chat", most: float = 10_000.0) -> float:
    """Return when it sleeps."""
    until = now() + most
    while site.phase(name) != "asleep":
        assert now() < until, f"{name} is {site.phase(name)}"
        await asyncio.sleep(0.1)
    return now()


async def until_looked_at(site: FakeSite, name: str = "chat") -> None:
    """Return right after a look at the connections."""
    site.fleet.states[name].unread = 1
    while site.fleet.states[name].unread:
        await asyncio.sleep(0.01)


def test_asleep_after_the_idle_time_and_not_before(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            await asyncio.sleep(30)
            await site.ask()
            last = now()
            assert last + 60 <= await until_asleep(site) <= last + 64
            assert site.engine.stopped == ["c-chat"]

    run(ask())


def test_never_during_a_request_and_a_whole_idle_time_after_its_end(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.container("chat").connections = 1
            await asyncio.sleep(1000)
            assert site.phase("chat") == "awake"
            await until_looked_at(site)
            await asyncio.sleep(site.timing.watch_seconds * 0.9)
            site.container("chat").connections = 0
            ended = now()
            assert ended + 60 <= await until_asleep(site) <= ended + 64

    run(ask())


def test_a_request_that_nobody_saw_in_flight_is_followed_by_a_whole_idle_time_too(tmp_path: Path) -> None:
    """It begins after one look at the connections and ends before the next one."""

    async def ask() -> None:
        async with site_of(tmp_path, idle_seconds=61).running() as site:
            await site.ask()
            await asyncio.sleep(20)
            await until_looked_at(site)
            await site.ask()
            site.container("chat").connections = 1
            await asyncio.sleep(site.timing.watch_seconds * 0.9)
            site.container("chat").connections = 0
            assert site.fleet.states["chat"].unread == 1, "nobody looked meanwhile"
            ended = now()
            assert ended + 61 <= await until_asleep(site) <= ended + 65

    run(ask())


def test_what_was_dialled_at_a_port_that_is_declared_no_more_is_in_flight_until_the_container_is_replaced(
    tmp_path: Path,
) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.container("chat").connections = 1
            declared = [service("chat", idle_seconds=60, port=PORT + number) for number in (1, 2)]
            for one in declared:
                site.fleet.use(parse_services(services_file([one]), "services.json"))
                await asyncio.sleep(500)
                assert (site.phase("chat"), site.fleet.states["chat"].connections) == ("awake", 1)
            assert (await site.command("rest", query="?seconds=1"))[0] == "busy"
            site.replace("chat").run()
            site.container("chat").connections = 1
            await asyncio.sleep(30)
            assert site.fleet.states["chat"].connections == 0, "another container never had that port"
            site.container("chat").connections = 0

    run(ask())


def test_never_without_an_idle_time(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, idle_seconds=None).running() as site:
            await site.ask()
            await asyncio.sleep(100_000)
            assert site.phase("chat") == "awake"

    run(ask())


def test_an_idle_time_shorter_than_it_takes_to_dial_is_as_long(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path, idle_seconds=1).running() as site:
            await site.ask()
            last = now()
            assert await until_asleep(site) >= last + site.timing.dial_seconds

    run(ask())


@pytest.mark.parametrize("read", [1, 2, 3])
def test_a_connection_in_any_of_the_three_reads_calls_it_off(read: int, tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            reads = 0

            def hook() -> None:
                nonlocal reads
                if site.phase("chat") == "sleeping":
                    reads += 1
                    site.container("chat").connections = int(reads == read)

            site.read_hook = hook
            await asyncio.sleep(70)
            assert reads == read
            assert (site.phase("chat"), site.engine.stopped) == ("awake", [])

    run(ask())


def test_what_cannot_be_counted_may_be_anything(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.reads_fail = True
            await asyncio.sleep(1000)
            assert site.phase("chat") == "awake"
            site.reads_fail = False
            certain = now()
            assert await until_asleep(site) >= certain + 60, "a whole idle time after the count is certain"

    run(ask())


def test_after_a_restart_nothing_sleeps_before_a_whole_idle_time(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        async with site.running():
            await site.ask()
            await asyncio.sleep(50)
        site.build()
        restarted = now()
        async with site.running():
            assert (await site.ask()).is_grant
            assert await until_asleep(site) >= restarted + 60
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_a_request_during_the_reads_calls_it_off_and_is_let_through(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            while site.phase("chat") != "sleeping":
                await asyncio.sleep(0.02)
            began = now()
            assert (await site.ask()).is_grant
            assert now() - began < 0.5
            assert site.engine.stopped == []

    run(ask())


@pytest.mark.parametrize("why", ["idle", "room"])
def test_nobody_is_let_through_from_the_very_moment_of_the_decision_on(why: str, tmp_path: Path) -> None:
    """The reads may all be over before the gate has dialled for who was let through then."""

    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            await asyncio.sleep(20)
            site.fleet.put_to_sleep(site.fleet.states["chat"], why)
            assert not site.fleet.grant("chat")

    run(ask())


def test_a_bug_in_looking_ends_the_gateway(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        async with site.running():

            def broken() -> None:
                raise ZeroDivisionError

            site.read_hook = broken
            await asyncio.sleep(10)
            assert len(site.deaths) == 1
            site.deaths.clear()

    run(ask())
    assert "Cannot look after the services: a bug in the gateway; report it." in caplog.text
    caplog.clear()


def test_a_request_during_the_stop_becomes_a_wake(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            while not site.engine.stopped:
                await asyncio.sleep(0.02)
            assert (await site.ask()).is_grant
            assert site.engine.started == ["c-chat", "c-chat"]
            assert site.container("chat").is_running

    run(ask())


def test_the_record_is_what_compose_project_reads(tmp_path: Path) -> None:
    folder, path = tmp_path / "state" / "gateway", Site(str(tmp_path)).asleep_path
    folder.mkdir(parents=True)

    async def ask() -> None:
        site = site_of(folder)
        site.record_path.unlink()
        site.build()
        site.container("chat").status = "created"
        async with site.running():
            await site.ask()
            assert read_sleep_record(path).codes == {}
            await until_asleep(site)
            assert read_sleep_record(path) == ReadRecord(
                {site.container("chat").id: 143}, woken=frozenset({site.container("chat").id})
            )
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(1)
            assert read_sleep_record(path).codes == {}, "it is gone before the container runs"
            await waiting

    run(ask())


def test_a_gateway_killed_between_the_stop_and_its_end_knows_the_container_as_asleep(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        await killed_while_a_stop_runs(site)
        site.container("chat").end(0)
        site.build()
        async with site.running():
            assert site.phase("chat") == "asleep"
            said = json.loads(site.record_path.read_text())
            assert (said["containers"], said["stopping"]) == ({site.container("chat").id: 0}, [])

    run(ask())


@pytest.mark.parametrize("is_wanted", [True, False])
def test_what_an_earlier_gateway_began_to_stop_is_used_by_nobody_until_it_has_ended(
    is_wanted: bool, tmp_path: Path
) -> None:
    """It answers as if it were ready until the engine kills it."""

    async def ask() -> None:
        site = site_of(tmp_path, stop_seconds=20)
        await killed_while_a_stop_runs(site)
        site.build()
        async with site.running():
            if is_wanted:
                assert (await site.ask()).is_grant
                assert site.engine.started == ["c-chat", "c-chat"]
            else:
                await asyncio.sleep(30)
                assert (site.phase("chat"), site.engine.started) == ("asleep", ["c-chat"])

    run(ask())


def test_nor_by_a_request_that_comes_before_the_first_look(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path, stop_seconds=20)
        await killed_while_a_stop_runs(site)
        site.build()
        site.fleet.use(site.declared)
        assert (await site.ask()).is_grant
        assert site.engine.started == ["c-chat", "c-chat"]
        await site.fleet.close()

    run(ask())


def test_a_stop_that_is_refused_leaves_the_service_in_use(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.engine.refuses.add("c-chat")
            await asyncio.sleep(75)
            said = json.loads(site.record_path.read_text())
            assert (said["containers"], said["stopping"]) == ({}, [])
            site.engine.refuses.clear()
            assert (await site.ask()).is_grant
            assert site.engine.started == ["c-chat"]
            await until_asleep(site)

    run(ask())


def test_a_gateway_killed_between_the_stop_and_a_kill_for_memory_knows_the_container_as_failed(tmp_path: Path) -> None:
    async def ask() -> None:
        site = site_of(tmp_path)
        await killed_while_a_stop_runs(site)
        site.container("chat").end(137, oom_killed=True)
        site.build()
        async with site.running():
            assert site.phase("chat") == "failed"
            assert json.loads(site.record_path.read_text())["containers"] == {}

    run(ask())


def test_one_that_ended_and_that_the_engine_brought_back_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.container("chat").end(137, oom_killed=True)
            site.container("chat").run()
            await asyncio.sleep(20)
            assert site.phase("chat") == "awake"

    run(ask())
    assert "Service 'chat' ended while it was awake, and runs again; see its log." in caplog.messages


def test_what_cannot_be_put_on_record_is_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()

            def full(_old: str, _new: str) -> None:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(os, "replace", full)
            await asyncio.sleep(500)
            assert site.engine.stopped == []
            monkeypatch.undo()
            await until_asleep(site)

    run(ask())


def test_a_failed_write_leaves_the_record_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = SleepRecord(str(tmp_path / "asleep.json"))
    record.confirm("a", 143)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GatewayError) as error:
        record.confirm("b", 0)
    path = tmp_path / "asleep.json"
    assert str(error.value) == (
        f"Cannot write {path}: No space left on device; make room there, or correct its rights."
    )
    assert json.loads(path.read_text())["containers"] == {"a": 143}
    assert os.listdir(tmp_path) == ["asleep.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1, "containers": []}'])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "asleep.json"
    path.write_text(content)
    with pytest.raises(GatewayError, match=f"^Cannot use {path}: "):
        SleepRecord(str(path)).load()


def test_records_of_containers_that_were_made_anew_are_dropped(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            assert len(json.loads(site.record_path.read_text())["containers"]) == 1
            site.container("chat").generation = 1
            site.container("chat").exit_code = 1
            await asyncio.sleep(16)
            assert json.loads(site.record_path.read_text())["containers"] == {}
            assert site.phase("chat") == "failed"

    run(ask())


def test_one_that_somebody_else_started_sleeps_after_its_idle_time(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            site.container("chat").run()
            began = now()
            await asyncio.sleep(20)
            assert site.phase("chat") == "awake"
            assert json.loads(site.record_path.read_text())["containers"] == {}
            assert await until_asleep(site) >= began + 60
            assert site.engine.started == []

    run(ask())


def test_one_that_somebody_else_made_anew_just_now_is_not_stopped(tmp_path: Path) -> None:
    """An apply of its project waits for it to become healthy."""

    async def ask() -> None:
        timing = Timing(observe_seconds=1000)
        async with FakeSite(tmp_path, [service("chat", idle_seconds=60)], timing=timing).running() as site:
            await site.ask()
            await asyncio.sleep(59)
            site.container("chat").generation = 1
            site.container("chat").run()
            await asyncio.sleep(30)
            assert site.engine.stopped == []
            assert (await site.ask()).is_grant
            assert site.engine.started == ["c-chat"]
            await until_asleep(site)

    run(ask())


def test_one_that_somebody_else_stopped_failed(tmp_path: Path) -> None:
    async def ask() -> None:
        async with site_of(tmp_path).running() as site:
            await site.ask()
            site.container("chat").end(143)
            await asyncio.sleep(16)
            assert site.phase("chat") == "failed"

    run(ask())
