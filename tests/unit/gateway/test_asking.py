# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is let through and who is not, as the gate and its clients see it."""

from __future__ import annotations

import asyncio
import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
from modelyard_gateway.keys import Key, parse_keys
from modelyard_gateway.services import parse_services
from support.gateway import GOOD_KEY, WALL, FakeSite, Headers, key, keys_file, run, service, services_file

EXPIRED, REVOKED, OTHER, SOON, LIMITED = (
    "expired-key-0000000001",
    "revoked-key-0000000001",
    "other-scope-key-000001",
    "soon-over-key-00000001",
    "limited-key-0000000001",
)
CLIENTS: dict[str, Any] = {
    "app": {
        "keys": [
            key("first", GOOD_KEY, "chat"),
            key("second", GOOD_KEY + "b", "*"),
            key("old", EXPIRED, "chat", not_after="2027-01-15T07:59:59Z"),
            key("soon", SOON, "chat", not_after="2027-01-15T08:00:01Z"),
            key("masks", OTHER, "masks"),
        ]
    },
    "slow": {"rate": {"per_minute": 6, "burst": 3}, "keys": [key("a", LIMITED, "chat"), key("b", LIMITED + "b", "*")]},
}


def api_key(value: str) -> Headers:
    return [(b"x-api-key", value.encode("latin-1"))]


def bearer(value: str, scheme: str = "Bearer") -> Headers:
    return [(b"authorization", f"{scheme} {value}".encode("latin-1"))]


CASES: dict[str, tuple[Headers, int, str]] = {
    "no key": ([], 401, "no_key"),
    "an empty key": (api_key(""), 401, "no_key"),
    "bearer and nothing": ([(b"authorization", b"Bearer")], 401, "no_key"),
    "bearer and a space": (bearer(""), 401, "no_key"),
    "another scheme": (bearer("dXNlcjpwYXNzd29yZDEyMzQ=", "Basic"), 401, "no_key"),
    "a good key": (api_key(GOOD_KEY), 200, ""),
    "a good key as bearer": (bearer(GOOD_KEY), 200, ""),
    "a good key as bearer in another case": (bearer(GOOD_KEY, "bEARER"), 200, ""),
    "a good key after more spaces": (bearer(f"   {GOOD_KEY}"), 200, ""),
    "both, the same": (api_key(GOOD_KEY) + bearer(GOOD_KEY), 200, ""),
    "both, two good ones of one client": (api_key(GOOD_KEY) + bearer(GOOD_KEY + "b"), 400, "two_keys"),
    "both, one wrong": (api_key(GOOD_KEY) + bearer("wrong-key-000000000001"), 400, "two_keys"),
    "a good key and another scheme": (api_key(GOOD_KEY) + bearer("dXNlcjpw", "Basic"), 400, "two_keys"),
    "a good key and an empty one": (api_key("") + bearer(GOOD_KEY), 400, "two_keys"),
    "a good key twice": (api_key(GOOD_KEY) * 2, 400, "two_keys"),
    "a good bearer twice": (bearer(GOOD_KEY) * 2, 400, "two_keys"),
    "a second key of the client": (api_key(GOOD_KEY + "b"), 200, ""),
    "a wrong key": (api_key("wrong-key-000000000001"), 403, "wrong_key"),
    "its digest": (api_key(key("x", GOOD_KEY)["sha256"]), 403, "wrong_key"),
    "too short": (api_key(GOOD_KEY[:15]), 403, "malformed_key"),
    "too long": (api_key("a" * 1025), 403, "malformed_key"),
    "with a space around": (api_key(f" {GOOD_KEY}"), 403, "malformed_key"),
    "with a line end": (api_key(f"{GOOD_KEY}\n"), 403, "malformed_key"),
    "two in one header": (api_key(f"{GOOD_KEY}, {GOOD_KEY}"), 403, "malformed_key"),
    "no ASCII": (api_key("ä" * 20), 403, "malformed_key"),
    "an expired key": (api_key(EXPIRED), 403, "expired_key"),
    "a key that expires in a second": (api_key(SOON), 200, ""),
    "a key of another service": (api_key(OTHER), 403, "wrong_scope"),
}


@pytest.mark.parametrize("name", CASES)
def test_status(name: str, tmp_path: Path) -> None:
    headers, status, reason = CASES[name]

    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")], clients=CLIENTS).running() as site:
            reply = await site.ask(headers=headers)
            assert reply.gate_status == status
            assert reply.headers.get("x-gate-challenge") == ("Bearer" if status == 401 else None)
            assert reply.headers.get("x-auth-client") == ("app" if status == 200 else None)
            assert json.loads(site.audit_lines[0])["reason"] == reason
            assert bool(site.engine.started) == (status == 200)

    run(ask())


def test_a_scope_that_services_share_opens_them_and_no_other(tmp_path: Path) -> None:
    async def ask() -> None:
        services = [service(name, scopes=["vision"]) for name in ("fields", "roofs")] + [service("chat")]
        clients = {"app": {"keys": [key("a", GOOD_KEY, "vision"), key("b", OTHER, "roofs")]}}
        async with FakeSite(tmp_path, services, clients=clients).running() as site:
            shared = [(await site.ask(name)).gate_status for name in ("fields", "roofs", "chat", "vision")]
            assert shared == [200, 200, 403, 503], "the last is no service of the gateway's"
            named = [(await site.ask(name, api_key(OTHER))).gate_status for name in ("fields", "roofs")]
            assert named == [403, 200], "its own name opens a service alone"
            site.fleet.use(parse_services(services_file([service("fields"), *services[1:]]), "services.json"))
            assert [(await site.ask(name)).gate_status for name in ("fields", "roofs")] == [403, 200]
            assert site.engine.started == ["c-fields", "c-roofs"]

    run(ask())


def test_a_key_expires_while_the_gateway_runs(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")], clients=CLIENTS).running() as site:
            assert (await site.ask(headers=api_key(SOON))).is_grant
            site.wall = WALL + 1
            assert (await site.ask(headers=api_key(SOON))).gate_status == 403

    run(ask())


@pytest.mark.parametrize(
    ("after", "seconds", "status", "reason"),
    [
        ({}, 0, 403, "wrong_key"),
        ({"app": {"keys": [key("first", GOOD_KEY, "masks")]}}, 0, 403, "wrong_scope"),
        (CLIENTS, 1, 403, "expired_key"),
        ({"app": {"keys": [key("first", GOOD_KEY, "*"), key("soon", SOON, "*")]}}, 0, 200, ""),
        ({"app": {"rate": {"per_minute": 0.01, "burst": 1}, "keys": [key("first", GOOD_KEY, "*")]}}, 0, 200, ""),
    ],
    ids=["revoked", "a scope taken away", "over", "kept", "counted once"],
)
def test_a_key_that_ends_while_its_request_is_held_opens_nothing(
    after: dict[str, Any], seconds: float, status: int, reason: str, tmp_path: Path
) -> None:
    headers = api_key(SOON if seconds else GOOD_KEY)

    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")], clients=CLIENTS).running() as site:
            held = asyncio.create_task(site.ask(headers=headers))
            await asyncio.sleep(1)
            assert not held.done(), "it waits for the wake"
            site.porter.use(parse_keys(keys_file(after), "keys.json"))
            site.wall += seconds
            assert (await held).gate_status == status
            assert json.loads(site.audit_lines[0])["reason"] == reason
            assert len(site.audit_lines) == 1

    run(ask())


def test_a_key_in_the_query_is_none(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            reply = await site.ask(headers=[], target=f"/v1/x?X-API-Key={GOOD_KEY}&key={GOOD_KEY}")
            assert reply.gate_status == 401
            assert GOOD_KEY not in "".join(site.audit_lines)

    run(ask())


def test_a_client_has_its_rate_and_its_burst_over_all_of_its_keys(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")], clients=CLIENTS).running() as site:
            first = [await site.ask(headers=api_key(LIMITED + end)) for end in ("", "b", "")]
            assert [reply.gate_status for reply in first] == [200, 200, 200]
            await asyncio.sleep(5)  # of the ten that a request takes to come back; the wake took two
            refused = await site.ask(headers=api_key(LIMITED))
            assert (refused.gate_status, refused.headers["x-gate-retry-after"]) == (429, "3")
            await asyncio.sleep(float(refused.headers["x-gate-retry-after"]))
            assert (await site.ask(headers=api_key(LIMITED))).is_grant
            assert (await site.ask(headers=api_key(LIMITED))).gate_status == 429
            assert (await site.ask()).is_grant, "another client has a limit of its own, or none"

    run(ask())


def test_what_is_not_of_its_scope_does_not_count_against_a_clients_rate(tmp_path: Path) -> None:
    async def ask() -> None:
        services = [service("chat"), service("masks")]
        async with FakeSite(tmp_path, services, clients=CLIENTS).running() as site:
            refused = [await site.ask("masks", api_key(LIMITED)) for _number in range(50)]
            assert {reply.gate_status for reply in refused} == {403}
            assert (await site.ask(headers=api_key(LIMITED))).is_grant

    run(ask())


@pytest.mark.parametrize("names", [[], ["chat", "chat"]], ids=["none", "two"])
def test_a_gate_that_asks_wrongly_gets_nothing(names: list[str], tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            headers = [(b"x-gate-service", name.encode()) for name in names]
            reply = await site.call("/auth", [*headers, *api_key(GOOD_KEY)])
            assert (reply.status, reply.gate_status) == (403, 503)
            assert site.engine.started == []

    run(ask())


def test_a_service_that_only_the_gate_knows_is_unavailable(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            reply = await site.ask("new")
            assert (reply.gate_status, reply.headers["x-gate-retry-after"]) == (503, "5")
            assert b'service="new"' not in (await site.call("/-/metrics", [])).body

    run(ask())


def _malformed(chance: random.Random) -> Headers:
    """Return headers of which none is a good key: cut, lengthened, changed, doubled, mixed, or noise."""
    at = chance.randrange(len(GOOD_KEY))
    changed = GOOD_KEY[:at] + chance.choice(string.printable.replace(GOOD_KEY[at], "")) + GOOD_KEY[at + 1 :]
    noise = bytes(chance.randrange(256) for _number in range(chance.randrange(200))).decode("latin-1")
    cut, longer = GOOD_KEY[:at], GOOD_KEY + chance.choice(string.printable)
    name = chance.choice([b"x-api-key", b"authorization", b"x_api_key", b"cookie", b"proxy-authorization"])
    value = chance.choice([changed, noise, cut, longer, f"Bearer {changed}", f"Bearer {noise}", f"Bearer {cut}"])
    value = chance.choice([value, f"Basic {GOOD_KEY}", f"Bearer\t{GOOD_KEY}", f"Bearer{GOOD_KEY}", "A" * 100_000])
    headers: Headers = [(name, value.encode("latin-1"))]
    if chance.random() < 0.2:
        headers += chance.choice([api_key(GOOD_KEY) + api_key(noise), api_key(cut) + bearer(GOOD_KEY), headers])
    return headers


def test_ten_thousand_malformed_keys_give_neither_2xx_nor_5xx_and_a_hundred_good_ones_all_2xx(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    kinds = [True] * 100 + [False] * 10_000
    chance.shuffle(kinds)
    good = [api_key(GOOD_KEY), bearer(GOOD_KEY), api_key(GOOD_KEY) + bearer(GOOD_KEY)]

    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            statuses: dict[bool, set[int]] = {True: set(), False: set()}
            for is_good in kinds:
                headers = chance.choice(good) if is_good else _malformed(chance)
                reply = await site.ask(headers=headers)
                statuses[is_good].add(reply.gate_status)
                assert reply.gate_status < 300 if is_good else 400 <= reply.gate_status < 500, headers
            assert statuses == {True: {200}, False: {400, 401, 403}}
            assert len(site.audit_lines) == 10_100
            assert GOOD_KEY not in "".join(site.audit_lines)

    run(ask())


def test_a_thousand_denied_requests_wake_nothing(tmp_path: Path) -> None:
    denied = [
        [], api_key("wrong-key-000000000001"), api_key(EXPIRED), api_key(REVOKED), api_key(OTHER),
        [*api_key("wrong-key-000000000001"), (b"upgrade", b"websocket"), (b"connection", b"upgrade")],
        [(b"origin", b"https://example.org"), (b"access-control-request-method", b"POST")],
    ]  # fmt: skip

    async def ask() -> None:
        before = {**CLIENTS, "gone": {"keys": [key("a", REVOKED, "*")]}}
        async with FakeSite(tmp_path, [service("chat")], clients=before).running() as site:
            assert isinstance(site.porter.look_up([REVOKED.encode()], [], "chat", wall=WALL), Key)
            site.porter.use(parse_keys(keys_file(CLIENTS), "keys.json"))
            methods = ["GET", "HEAD", "POST", "OPTIONS"]
            for number in range(1000):
                reply = await site.ask(headers=denied[number % len(denied)], method=methods[number % 4])
                assert reply.gate_status in (401, 403)
            await asyncio.sleep(60)
            assert site.engine.started == []
            assert site.phase("chat") == "asleep"
            assert (await site.ask()).is_grant
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_requests_over_the_rate_wake_nothing(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat", idle_seconds=5)], clients=CLIENTS).running() as site:
            for _number in range(3):
                assert (await site.ask(headers=api_key(LIMITED))).is_grant
            refused = [await site.ask(headers=api_key(LIMITED)) for _number in range(100)]
            assert {reply.gate_status for reply in refused} == {429}
            while site.phase("chat") != "asleep":
                await site.ask(headers=api_key(LIMITED) if site.phase("chat") == "waking" else [])
                await asyncio.sleep(0.5)
            assert site.engine.started == ["c-chat"]

    run(ask())


def test_health_tells_the_phase_and_no_more_and_wakes_nothing(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            reply = await site.call("/-/health/chat", [])
            assert json.loads(reply.body) == {"service": "chat", "state": "asleep"}
            waiting = asyncio.create_task(site.ask())
            await asyncio.sleep(1)
            assert json.loads((await site.call("/-/health/chat", [])).body)["state"] == "waking"
            await waiting
            assert json.loads((await site.call("/-/health/chat", [])).body)["state"] == "awake"
            site.container("chat").end(1)
            await asyncio.sleep(20)
            reply = await site.call("/-/health/chat", [])
            assert (reply.status, json.loads(reply.body)["state"]) == (503, "failed")
            assert site.engine.started == ["c-chat"]
            # One that is being made anew by somebody has not failed to start.
            site.replace("chat")
            await asyncio.sleep(20)
            del site.engine.containers["c-chat"]
            await asyncio.sleep(20)
            reply = await site.call("/-/health/chat", [])
            assert (reply.status, json.loads(reply.body)["state"]) == (200, "failed")

    run(ask())


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/-/health/nobody", "GET", 404), ("/-/health/", "GET", 404), ("/-/live", "GET", 204), ("/", "GET", 404),
        ("/auth/", "GET", 404), ("/-/health/chat", "POST", 405), ("/-/metrics", "DELETE", 405),
    ],
)  # fmt: skip
def test_other_paths(path: str, method: str, status: int, tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            assert (await site.call(path, api_key(GOOD_KEY), method=method)).status == status
            assert site.engine.started == []

    run(ask())


def test_a_websocket_that_comes_here_is_closed(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            said: list[Any] = []

            async def send(message: Any) -> None:
                said.append(message)

            await site.app({"type": "websocket", "path": "/auth", "headers": api_key(GOOD_KEY)}, None, send)  # type: ignore[arg-type]
            assert said == [{"type": "websocket.close"}]
            assert site.engine.started == []

    run(ask())


def test_audit_says_who_asked_for_what_and_leaves_the_query_out(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            await site.ask(target="/v1/chat?prompt=secret#more", method="POST")
            await site.ask(headers=[], target='/a"\n{"decision": "allowed"}\u2028')
            first, second = site.audit_lines
            assert json.loads(first) == {
                "time": "2027-01-15T08:00:00.000+00:00", "decision": "allowed", "status": 200, "reason": "",
                "client": "app", "key": "first", "service": "chat", "remote": "", "method": "POST", "path": "/v1/chat",
            }  # fmt: skip
            assert second.count("\n") == 1
            assert json.loads(second)["decision"] == "denied"

    run(ask())


def test_metrics_count_who_was_put_to_sleep_and_why(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat", idle_seconds=5)]).running() as site:
            await site.ask()
            await asyncio.sleep(60)
            lines = (await site.call("/-/metrics", [])).body.decode().splitlines()
            assert 'modelyard_gateway_sleeps_total{service="chat",why="idle"} 1' in lines
            assert 'modelyard_gateway_phase{service="chat",phase="asleep"} 1' in lines

    run(ask())


def test_metrics_count_what_was_decided(tmp_path: Path) -> None:
    async def ask() -> None:
        async with FakeSite(tmp_path, [service("chat")]).running() as site:
            for headers in (None, None, [], api_key("wrong-key-000000000001")):
                await site.ask(headers=headers)
            site.container("chat").connections = 3
            await asyncio.sleep(3)
            reply = await site.call("/-/metrics", [])
            lines = reply.body.decode().splitlines()
            assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
            for line in (
                'requests_total{service="chat",decision="allowed"} 2',
                'requests_total{service="chat",decision="denied"} 2',
                'denials_total{service="chat",reason="no_key"} 1',
                'denials_total{service="chat",reason="wrong_key"} 1',
                'wakes_total{service="chat",result="ready"} 1',
                'wake_seconds_bucket{service="chat",le="2.0"} 0',
                'wake_seconds_bucket{service="chat",le="5.0"} 1',
                'wake_seconds_bucket{service="chat",le="+Inf"} 1',
                'wake_seconds_count{service="chat"} 1',
                'in_flight{service="chat"} 3',
                'phase{service="chat",phase="awake"} 1',
                'phase{service="chat",phase="asleep"} 0',
                "keys 1",
            ):
                assert f"modelyard_gateway_{line}" in lines

    run(ask())
