# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role gateway behind a real edge, with services that stand for engines. All of them sleep at the start."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest
from support.events import EventRecorder
from support.gate import CLIENTS, NEVER, GateSite, Service, host_of, reply_to, running_site
from support.gate_count import least_open, reading_in_flight, served_by, too_low
from support.gate_load import malformed_heads, send_mix, status_of
from support.modules import run_module

TASK = "Apply the project"
SERVICES = [
    Service("chat", 0.5, {"cors": {"origins": ["https://app.test"]}, "max_body_mib": 20}),
    Service("other"),
    Service("upload", 0.5),
    Service("crowd", 0.5),
    Service("hasty", 5, {"hold_seconds": 2}),
    Service("patient", 1, {"hold_seconds": 20}, loading_seconds=4),
    Service("nap", 0, {"idle_seconds": 2}),
    Service("mix", 0, {"idle_seconds": 1}),
    Service("large", 0, {"vram_mib": {"0": 60}}),
    Service("larger", 0, {"vram_mib": {"0": 70}}),
    Service("wide"),
    Service("wide-2", 0, {"replica_of": "wide", "hosts": []}),
    Service("untouched"),
]
PREFLIGHT = {"Origin": "https://app.test", "Access-Control-Request-Method": "POST"}
UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


@pytest.fixture(scope="module")
def gate(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateSite]:
    with running_site(engine, tmp_path_factory.mktemp("gate"), SERVICES) as found:
        yield found


def test_the_first_good_one_waits_until_it_is_awake(gate: GateSite) -> None:
    reply = gate.ask("chat", "/echo%2Fx?y=1")
    assert (reply.status, reply.told["path"]) == (200, "/echo%2Fx?y=1")
    assert 0.4 < reply.seconds < 10
    assert gate.phase("chat") == "awake"


def test_a_body_of_ten_megabytes_waits_too(gate: GateSite) -> None:
    body = random.Random(1).randbytes(10_000_000)
    reply = gate.ask("upload", method="POST", body=body)
    assert (reply.status, reply.told["sha256"]) == (200, hashlib.sha256(body).hexdigest())


def test_fifty_at_once_are_one_start(gate: GateSite) -> None:
    with EventRecorder(gate.site.engine) as recorder, ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(lambda _index: gate.ask("crowd"), range(50)))
    assert {reply.status for reply in replies} == {200}
    assert starts(recorder, gate, "crowd") == 1


def test_who_waits_too_long_is_told_to_come_back(gate: GateSite) -> None:
    with EventRecorder(gate.site.engine) as recorder:
        early = gate.ask("hasty")
        gate.until("hasty", "awake")
        assert gate.ask("hasty").status == 200
    assert early.status == 503
    assert 2 <= early.seconds < 4
    assert int(early.headers["retry-after"]) >= 1
    assert "come back later" in early.told["error"]["message"]
    assert starts(recorder, gate, "hasty") == 1


def test_who_may_wait_longer_is_answered_when_the_model_is_loaded_and_not_when_the_port_is_open(gate: GateSite) -> None:
    def ask(pause: float) -> int:
        time.sleep(pause)
        return gate.ask("patient").status

    with EventRecorder(gate.site.engine) as recorder, ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, (0, 1.5, 3))) == [200] * 3
    assert starts(recorder, gate, "patient") == 1
    served = served_by(gate, "patient")
    calls = [one for one in served if one.path == "/health"]
    assert {one.status for one in calls[:-1]} == {503}, "it was asked while it was loading"
    # Nobody was sent to it before: there are as many requests as clients.
    asked = [(one.status, one.began > calls[-1].began) for one in served if one.path == "/echo"]
    assert (calls[-1].status, asked) == (200, [(200, True)] * 3)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, 401),
        ({"X-API-Key": "short"}, 403),
        ({"X-API-Key": "{narrow}"}, 403),
        ({"X-API-Key": "{app}"}, 200),
        ({"Authorization": "Bearer {app}"}, 200),
        ({"Authorization": "bearer {app}", "X-API-Key": "{app}"}, 200),
        ({"Authorization": "Bearer {going}", "X-API-Key": "{app}"}, 400),
    ],
)
def test_a_key_opens_in_either_header(gate: GateSite, headers: dict[str, str], status: int) -> None:
    keys = {name: gate.key(name) for name in ("app", "narrow", "going")}
    reply = gate.ask("chat", key=None, headers={name: value.format(**keys) for name, value in headers.items()})
    assert reply.status == status
    assert reply.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
    assert status == 200 or reply.told["error"]["code"] == status


def test_a_key_in_the_query_is_none_and_is_written_nowhere(gate: GateSite) -> None:
    key = gate.key("app")
    for name in ("api_key", "key", "X-API-Key", "access_token"):
        assert gate.ask("chat", f"/echo?{name}={key}", key=None).status == 401
    assert gate.ask("chat").status == 200
    time.sleep(1.5)  # the gate writes its log once a second
    told = b"".join(gate.part(part).logs() for part in ("gate", "gateway"))
    assert b'"service":"chat"' in told
    assert key.encode() not in told
    assert hashlib.sha256(key.encode()).hexdigest().encode() not in told


def test_what_a_client_says_under_our_names_does_not_reach_the_service(gate: GateSite) -> None:
    sent = {
        "X-Auth-Client": "root", "X-Auth-Role": "admin", "x_auth_client": "root", "X_API_Key": "x",
        "X-Gate-Service": "x", "X-Forwarded-For": "192.0.2.9", "X-Custom": "kept",
    }  # fmt: skip
    told = gate.ask("chat", headers={**sent, "Authorization": f"Bearer {gate.key('app')}"}).told
    found = {name.lower(): value for name, value in told["headers"]}
    assert found["x-auth-client"] == "app"
    assert found["x-custom"] == "kept"
    assert found["x-forwarded-proto"] == "https"
    assert not {"192.0.2.9", "root", "admin"} & set(found.values())
    assert not {"authorization", "x-api-key", "x-auth-role", "x_auth_client", "x_api_key", "x-gate-service"} & set(
        found
    )
    assert gate.key("app") not in json.dumps(told)


def test_who_asks_too_often_is_told_when_to_come_back(gate: GateSite) -> None:
    replies = [gate.ask("chat", key="limited") for _index in range(2)]
    assert replies[-1].status == 429
    assert int(replies[-1].headers["retry-after"]) > 60, "a hundredth of a request a minute"


def test_the_audit_log_says_who_asked_for_what_and_why_not(gate: GateSite) -> None:
    assert gate.ask("chat", "/denied?x=1", method="DELETE", key="narrow").status == 403
    assert gate.ask("chat", "/allowed").status == 200
    time.sleep(1)  # lines are gathered for a moment
    lines = gate.part("gateway").logs(stdout=True, stderr=False).decode().splitlines()
    told = {line["path"]: line for line in map(json.loads, lines)}
    denied, allowed = told["/denied"], told["/allowed"]
    said = ("decision", "status", "reason", "client", "key", "service", "method")
    assert [denied[name] for name in said] == ["denied", 403, "wrong_scope", "narrow", "1", "chat", "DELETE"]
    assert [allowed[name] for name in said] == ["allowed", 200, "", "app", "1", "chat", "GET"]


def test_answers_of_the_service_are_its_own_but_for_cors(gate: GateSite) -> None:
    for status in (403, 404, 500, 503):
        reply = gate.ask("chat", f"/status?code={status}")
        assert (reply.status, reply.told) == (status, {"status": status})
    inside = gate.ask("chat", "/redirected", headers={"Origin": "https://app.test"})
    assert (inside.status, inside.headers["access-control-allow-origin"]) == (200, "https://app.test")
    assert "access-control-allow-origin" not in gate.ask("chat", "/redirected").headers


def test_a_browser_may_ask_from_the_declared_origin_alone(gate: GateSite) -> None:
    allowed = gate.ask("chat", method="OPTIONS", key=None, headers={**PREFLIGHT, "Access-Control-Request-Headers": "a"})
    assert allowed.status == 204
    assert allowed.headers["access-control-allow-origin"] == "https://app.test"
    assert allowed.headers["access-control-allow-headers"] == "a"
    assert {"GET", "POST", "DELETE"} <= set(allowed.headers["access-control-allow-methods"].split(", "))
    assert (allowed.headers["access-control-max-age"], allowed.headers["vary"]) == ("600", "Origin")
    other = gate.ask("chat", method="OPTIONS", key=None, headers={**PREFLIGHT, "Origin": "https://evil.test"})
    assert (other.status, "access-control-allow-origin" in other.headers) == (204, False)
    denied = gate.ask("chat", key=None, headers={"Origin": "https://app.test"})
    assert (denied.status, denied.headers["access-control-allow-origin"]) == (401, "https://app.test")


def test_a_body_that_is_too_large_is_refused_before_it_is_read(gate: GateSite) -> None:
    """At the gate itself: the edge answers a client only when that has sent more of it."""
    head = f"X-API-Key: {gate.key('app')}\r\nContent-Length: {21 * 1024 * 1024}"
    assert status_of(gate.gate_address(), head.encode(), host_of("chat")) == 413


def test_the_state_of_a_service_is_told_without_waking_it(gate: GateSite) -> None:
    assert gate.ask("untouched", "/-/health/untouched", key=None).told == {"service": "untouched", "state": "asleep"}
    assert gate.state("untouched")["StartedAt"] == NEVER
    assert gate.ask("chat", "/-/health/untouched", key=None).status == 401
    assert gate.ask("chat", "/-/metrics", key=None).status == 401


def test_a_second_replica_serves_while_the_first_is_busy(gate: GateSite) -> None:
    """By name and by path: one request is in flight to each, until its body comes."""
    by_path = http.client.HTTPConnection(gate.gate_address(), 8081, timeout=60)
    with contextlib.closing(gate.connect("wide")) as first, contextlib.closing(by_path) as second:
        begin(first, gate.key("app"), "/echo%2Fx?y=1")
        deadline = time.monotonic() + 30
        while not gate.figure('phase{service="wide-2",phase="awake"}'):
            # Nobody waits for the second one: what comes meanwhile goes to the one that is awake.
            assert gate.ask("wide").seconds < 5
            assert time.monotonic() < deadline, "the second replica does not wake"
            time.sleep(0.3)
        begin(second, gate.key("app"), "/wide/echo%2Fx?y=1")
        until_figure(gate, 'in_flight{service="wide-2"}', 1)
        for connection in (first, second):
            connection.send(b"body")
            answer = connection.getresponse()
            assert (answer.status, json.loads(answer.read())["path"]) == (200, "/echo%2Fx?y=1")
    assert gate.ask("wide-2").status == 404, "it has no name of its own"


def begin(connection: http.client.HTTPConnection, key: str, target: str) -> None:
    """Send a request but for its body."""
    connection.putrequest("POST", target)
    connection.putheader("X-API-Key", key)
    connection.putheader("Content-Length", "4")
    connection.endheaders()


def until_figure(gate: GateSite, name: str, value: float) -> None:
    deadline = time.monotonic() + 10
    while (found := gate.figure(name)) != value:
        assert time.monotonic() < deadline, f"{name} is {found:g}, not {value:g}"
        time.sleep(0.1)


def test_programs_of_the_site_ask_by_path(gate: GateSite) -> None:
    """As another container of the edge's network, with the path as it was sent."""
    script = (
        "import http.client, sys; c = http.client.HTTPConnection(sys.argv[3], 8081); "
        "c.request('GET', sys.argv[1], headers={'X-API-Key': sys.argv[2]}); a = c.getresponse(); "
        "print(a.status, a.read().decode())"
    )

    def ask(path: str, key: str) -> str:
        output = gate.site.engine.containers.run(
            gate.container("chat").image.id, ["python3", "-c", script, path, key, str(gate.part("pod").name)],
            name=gate.site.name("program"), network=gate.site.name("edge"), remove=True,
        )  # fmt: skip
        assert isinstance(output, bytes)
        return output.decode()

    status, _space, told = ask("/chat/v1/a%2Fb/../c?x=1", gate.key("app")).partition(" ")
    assert (status, json.loads(told)["path"]) == ("200", "/v1/a%2Fb/../c?x=1")
    assert ask("/chat/v1", "0" * 40).startswith("403 ")
    assert ask("//chat/v1", gate.key("app")).startswith("400 ")
    assert ask("/nobody/v1", gate.key("app")).startswith("404 ")
    assert ask("/-/health/untouched", "").split() == ["200", '{"service":', '"untouched",', '"state":', '"asleep"}']
    status, _space, figures = ask("/-/metrics", "").partition(" ")
    assert status == "200"
    assert 'modelyard_gateway_phase{service="untouched",phase="asleep"} 1' in figures
    assert "app" not in figures, "no client is named"


def test_no_container_says_for_another_address_who_a_request_is_from(gate: GateSite) -> None:
    """As an app in the edge's network, which may dial the gate as the edge does."""
    script = (
        "import http.client, json, socket, sys\n"
        "own = socket.gethostbyname(socket.gethostname())\n"
        "lies = {name: '192.0.2.66' for name in ('X-Real-IP', 'X-Forwarded-For', 'X-Original-Forwarded')}\n"
        "for port, path in ((8080, '/echo'), (8081, '/chat/echo')):\n"
        "    c = http.client.HTTPConnection('gate', port)\n"
        "    c.request('GET', path, headers={'Host': sys.argv[1], 'X-API-Key': sys.argv[2], **lies})\n"
        "    told = dict(json.loads(c.getresponse().read())['headers'])\n"
        "    print(own, told['X-Forwarded-For'], told['X-Real-IP'])"
    )
    output = gate.site.engine.containers.run(
        gate.container("chat").image.id, ["python3", "-c", script, host_of("chat"), gate.key("app")],
        name=gate.site.name("liar"), network=gate.site.name("edge"), remove=True,
    )  # fmt: skip
    assert isinstance(output, bytes)
    by_name, by_path = (line.split() for line in output.decode().splitlines())
    assert len({*by_name, *by_path}) == 1, "its own address, whatever it says"
    own, edge = by_name[0], gate.edge.container("traefik").attrs["NetworkSettings"]["Networks"]
    through = dict(gate.ask("chat").told["headers"])["X-Forwarded-For"]
    assert through not in {own, *(network["IPAddress"] for network in edge.values())}, "the edge is believed"
    time.sleep(1.5)  # the gate writes its log once a second
    told = [gate.part(part).logs() for part in ("gate", "gateway")]
    assert not [log for log in told if b"192.0.2.66" in log]
    assert all(f'"{own}"'.encode() in log and f'"{through}"'.encode() in log for log in told)


def test_nobody_reaches_a_service_but_the_gate(gate: GateSite) -> None:
    assert gate.ask("chat").status == 200
    address = gate.container("chat").attrs["NetworkSettings"]["Networks"][gate.site.name("inference")]["IPAddress"]
    script = f"import socket; socket.create_connection(('{address}', 8080), 3)"
    with pytest.raises(docker.errors.ContainerError):
        gate.site.engine.containers.run(
            gate.container("chat").image.id, ["python3", "-c", script], name=gate.site.name("intruder"),
            network=gate.site.name("edge"), remove=True,
        )  # fmt: skip


def test_the_engine_can_be_asked_for_the_services_alone(gate: GateSite) -> None:
    chat, own, ended = gate.site.name("inference-chat"), gate.part("engine").name, gate.part("storage").name
    script = (
        "import http.client, sys\n"
        "for line in sys.argv[1:]:\n"
        f"    c = http.client.HTTPConnection('{own}', 2375); c.request(*line.split()); print(c.getresponse().status)"
    )
    assert gate.ask("chat").status == 200
    asked = {
        f"GET /containers/{chat}/json": "200", "GET /_ping": "200", "GET /containers/json": "403", "GET /info": "403",
        f"GET /containers/{own}/json": "403", f"POST /containers/{chat}/kill": "403",
        f"POST /networks/{gate.site.name('edge')}/connect": "403",
        f"DELETE /containers/{chat}": "403", f"GET /containers/{chat}/json?size=1": "403",
        f"POST /containers/{chat}/stop?t=1&x=1": "403",
        f"GET /v1.41/containers/{chat}/json": "403", f"POST /containers/{chat}/exec": "403",
        f"GET /containers/{chat}/../{own}/json": "403", f"GET /containers/{chat}/start": "403",
        f"POST /containers/{ended}/wait": "200", f"GET /containers/{ended}/wait": "403",
        f"POST /containers/{ended}/wait?condition=removed": "403", "POST /containers/another/wait": "404",
        f"POST /containers/another/kill/../../{ended}/wait": "200",
    }  # fmt: skip
    told = gate.inside("gateway", "python", "-c", script, *asked)
    assert dict(zip(asked, told.split(), strict=True)) == asked
    assert gate.is_running("chat")


def test_it_is_confined(gate: GateSite) -> None:
    users = {"pod": "10006:10006", "gate": "10006:10006", "gateway": "10007:10007", "engine": "10006:10006"}
    for part, user in users.items():
        attributes = gate.part(part).attrs
        assert attributes["Config"]["User"] == user
        assert attributes["HostConfig"]["ReadonlyRootfs"]
        assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
        assert not attributes["HostConfig"]["PortBindings"]
    keys = gate.project_folder / "config/keys.json"
    assert (keys.stat().st_uid, keys.stat().st_mode & 0o777) == (10007, 0o400)
    assert gate.key("app") not in keys.read_text(encoding="utf-8")
    state = gate.site.directory / "state/gateway"
    assert (state.stat().st_uid, state.stat().st_mode & 0o777) == (10007, 0o700)


def test_a_second_run_leaves_all_as_it_is_and_who_sleeps_asleep(gate: GateSite) -> None:
    before, chat = gate.ids(), gate.state("chat")["StartedAt"]
    assert gate.apply(check=True).changed == []
    assert gate.apply().changed == []
    assert (gate.ids(), gate.state("chat")["StartedAt"]) == (before, chat)
    assert gate.state("untouched")["StartedAt"] == NEVER


def test_a_new_service_and_a_revoked_key_restart_nothing_and_cut_nothing(gate: GateSite) -> None:
    before = gate.ids()
    assert gate.ask("chat", key="going").status == 200
    late = Service("late", declared={"network": gate.site.name("late")})
    gate.make(late)
    with ThreadPoolExecutor(1) as pool:
        streamed = pool.submit(gate.ask, "chat", "/stream?seconds=12")
        time.sleep(0.5)
        clients = [client for client in CLIENTS if client["name"] != "going"]
        done = gate.apply(services={**gate.services, "late": late}, clients=clients)
        assert {step["action"] for step in done.results[TASK]["plan"]} == {"reload"}
        assert streamed.result().body.endswith(b"data: end\n\n")
    assert gate.ids() == before
    gate.edge.wait_for(host_of("late"), 401)
    assert gate.ask("late").status == 200
    assert gate.ask("chat", key="going").status == 403


def test_what_the_gateway_refuses_fails_the_run_and_what_was_there_comes_back(gate: GateSite) -> None:
    before, good = gate.ids(), (gate.project_folder / "config/keys.json").read_bytes()
    wrong = [{"name": "app", "scopes": ["*"], "keys": [{"id": "1", "not_after": "soon"}]}]
    done = gate.apply(clients=wrong, fails=True)
    assert done.rc != 0
    said = str(done.results[TASK]["msg"])
    assert "Cannot use /config/keys.json: clients.app.keys[0] has not_after 'soon', which is not of the form" in said
    assert "serves again" in said
    assert (gate.project_folder / "config/keys.json").read_bytes() == good
    assert gate.ids() == before
    assert gate.ask("chat").status == 200


def test_a_key_is_in_force_when_it_was_issued_and_one_that_cannot_be_is_told(gate: GateSite) -> None:
    alice = {"X-API-Key": issued(gate, "alice", "chat")}
    assert gate.ask("chat", key=None, headers=alice).status == 200
    probe = gate.part("gateway").attrs["Config"]["Healthcheck"]["Test"][1:]
    assert gate.inside("gateway", *probe) == ""
    keys = gate.project_folder / "config/keys.json"
    good = keys.read_bytes()
    keys.write_bytes(b'{"format": 1, "clients": {}, "client": {}}')
    refused = run_module("api_keys", {"action": "issue", "client": "bob", "scopes": ["chat"], **places(gate)})
    told = "Cannot use /config/keys.json: it has the unknown client; render the file anew."
    assert refused.msg == (
        f"Cannot issue a key for client 'bob' for now: it is written down, and the gateway goes by what it has read "
        f"before. {told}"
    )
    unhealthy = gate.part("gateway").exec_run(probe)
    assert (unhealthy.exit_code, unhealthy.output) == (1, f"{told}\n".encode())
    assert gate.figure('reload_refused{file="keys"}') == 1
    assert gate.ask("chat").status == 200
    keys.write_bytes(good)
    revoke(gate, "alice")
    assert gate.ask("chat", key=None, headers=alice).status == 403


def test_an_idle_service_is_stopped_after_its_time_and_never_during_a_request(gate: GateSite) -> None:
    """Nor by a gateway that begins anew meanwhile: of what the one before let through, the count alone tells."""
    assert gate.ask("nap").status == 200
    assert gate.figure('wakes_total{service="nap",result="ready"}') == 1
    with EventRecorder(gate.site.engine) as recorder, ThreadPoolExecutor(1) as pool:
        streamed = pool.submit(gate.ask, "nap", "/stream?seconds=11")
        until_figure(gate, 'in_flight{service="nap"}', 1)
        gate.part("gateway").restart()
        assert (streamed.result().status, streamed.result().body[-11:]) == (200, b"data: end\n\n")
        gate.until_stopped("nap")
        until_figure(gate, 'sleeps_total{service="nap",why="idle"}', 1)
    [stream] = [one for one in served_by(gate, "nap") if one.path.startswith("/stream")]
    [(_kill, asked), (_die, ended)] = happened(recorder, gate, "nap")
    assert stream.until + 2 <= asked <= ended < stream.until + 2 + 10
    slept = json.loads((gate.site.directory / "state/gateway/asleep.json").read_text(encoding="utf-8"))
    assert slept["containers"][str(gate.container("nap").id)] == gate.state("nap")["ExitCode"]


def test_a_denied_request_never_wakes(gate: GateSite) -> None:
    """A thousand of all kinds, over the edge, to a service that has served and sleeps."""
    if gate.state("nap")["StartedAt"] == NEVER:
        assert gate.ask("nap").status == 200
    gate.until_stopped("nap")
    slept = gate.state("nap")
    assert (slept["Status"], slept["StartedAt"] > NEVER) == ("exited", True)
    assert [gate.ask("other", key="limited") for _index in range(2)][-1].status == 429
    wrong, revoked = {"X-API-Key": "0" * 40}, issued(gate, "leaving", "*")
    assert gate.ask("other", key=None, headers={"X-API-Key": revoked}).status == 200
    revoke(gate, "leaving")
    bad: list[tuple[dict[str, str], int]] = [
        ({}, 401),
        (wrong, 403),
        ({"Authorization": f"Bearer {revoked}"}, 403),
        ({"X-API-Key": gate.key("app", "old")}, 403),
        ({"X-API-Key": gate.key("narrow")}, 403),
        ({"X-API-Key": gate.key("limited")}, 429),
        ({"X-API-Key": gate.key("app"), "Authorization": f"Bearer {'0' * 40}"}, 400),
    ]
    kinds = [(method, headers, status) for method in ("GET", "HEAD") for headers, status in bad]
    kinds += [("GET", {**UPGRADE, **headers}, status) for headers, status in bad]
    kinds += [("POST", wrong, 403), ("DELETE", wrong, 403), ("OPTIONS", {}, 401), ("OPTIONS", PREFLIGHT, 204)]

    def hundred(_index: int) -> Counter[tuple[int, int]]:
        found: Counter[tuple[int, int]] = Counter()
        with contextlib.closing(gate.connect("nap")) as connection:
            for _repeat in range(4):
                for method, headers, status in kinds:
                    found[status, reply_to(connection, method, "/echo", headers).status] += 1
        return found

    with ThreadPoolExecutor(4) as pool:
        found = sum(pool.map(hundred, range(10)), Counter[tuple[int, int]]())
    assert {expected for expected, _got in found} == {got for _expected, got in found} == {204, 400, 401, 403, 429}
    assert all(expected == got for expected, got in found), found
    assert found.total() == 1000
    assert gate.state("nap") == slept
    assert gate.phase("nap") == "asleep"


def test_two_that_do_not_fit_together_are_never_awake_together(gate: GateSite) -> None:
    """A busy one is waited for, an idle one is put to sleep: each in turn."""
    assert gate.ask("large").status == 200
    with EventRecorder(gate.site.engine) as recorder, ThreadPoolExecutor(2) as pool:
        busy = pool.submit(gate.ask, "large", "/stream?seconds=3")
        time.sleep(0.5)
        waiting = pool.submit(gate.ask, "larger")
        assert busy.result().body.endswith(b"data: end\n\n")
        assert waiting.result().status == 200
        assert gate.ask("large").status == 200
    moves = [
        (time, service, action)
        for service in ("large", "larger")
        for action, time in happened(recorder, gate, service, "die", "start")
    ]
    assert [move[1:] for move in sorted(moves)] == [
        ("large", "die"), ("larger", "start"), ("larger", "die"), ("large", "start"),
    ]  # fmt: skip


def test_without_the_gateway_the_gate_is_closed(gate: GateSite) -> None:
    gate.part("gateway").stop()
    for service in ("chat", "untouched"):
        closed = gate.ask(service)
        assert (closed.status, closed.headers["retry-after"]) == (503, "2")
    gate.part("gateway").start()
    gate.edge.wait_for(host_of("chat"), 401)
    assert gate.ask("chat").status == 200
    assert gate.state("untouched")["StartedAt"] == NEVER


def test_who_found_no_namespace_is_started_when_there_is_one(gate: GateSite) -> None:
    """As after a start of the host, where the engine starts everything at once."""
    for part in ("gate", "gateway", "pod"):
        gate.part(part).stop(timeout=1)
    gate.part("pod").start()
    gate.edge.wait_for(host_of("chat"), 401, seconds=60)
    assert gate.ask("chat").status == 200


@pytest.mark.long
def test_who_is_left_in_a_namespace_that_is_gone_is_started_anew(gate: GateSite) -> None:
    before = gate.ids()
    gate.part("pod").restart(timeout=1)
    gate.edge.wait_for(host_of("chat"), 401, seconds=120)
    after = gate.ids()
    assert {name for name in before if before[name] != after[name]} == {"pod", "gate", "gateway"}
    assert gate.ask("chat").status == 200


def test_no_malformed_key_gets_in_and_none_does_harm(gate: GateSite, seed: int) -> None:
    """Ten thousand, with a hundred good ones between them; at the gate itself, as the edge lets less through."""
    chance, key, address = random.Random(seed), gate.key("app"), gate.gate_address()
    asked = [(head, False) for head in malformed_heads(chance, 10_000, key)]
    asked += [(f"X-API-Key: {key}".encode(), True)] * 100
    chance.shuffle(asked)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: status_of(address, one[0], host_of("chat")), asked))
    # 0: it hung up without a word.
    wrong = [
        (head, status)
        for (head, is_good), status in zip(asked, found, strict=True)
        if status not in ({200} if is_good else {0, 400, 401, 403})
    ]
    assert wrong == []


def test_nothing_is_cut_and_nothing_stays_counted(gate: GateSite, seed: int) -> None:
    load_with_restarts(gate, seed, number=80, seconds=8)


def test_no_quick_post_is_lost_to_a_gate_that_leaves(gate: GateSite) -> None:
    """Such a one comes on a connection that was idle, which nginx would close under it."""
    assert gate.ask("chat").status == 200
    with contextlib.closing(http.client.HTTPConnection(gate.gate_address(), 8080)) as connection:
        connection.request("POST", "/echo", b"x", {"Host": host_of("chat"), "X-API-Key": gate.key("app")})
        assert connection.getresponse().headers.get_all("Connection") == ["keep-alive"]
    done = threading.Event()

    def send(number: int) -> list[int]:
        found = []
        while not done.is_set():
            found.append(gate.ask("chat", "/echo", method="POST", body=b"x" * number).status)
        return found

    with ThreadPoolExecutor(6) as pool:
        sent = [pool.submit(send, number) for number in range(6)]
        for _again in range(3):
            assert gate.part("gate").exec_run(["gate", "reload"]).exit_code == 0
        gate.part("gate").restart(timeout=60)
        done.set()
        found = Counter(status for one in sent for status in one.result())
    assert found.keys() == {200}, found
    assert found.total() > 50


@pytest.mark.long
def test_nothing_of_five_hundred_is_cut(gate: GateSite, seed: int) -> None:
    load_with_restarts(gate, seed, number=500, seconds=40)


@pytest.mark.long
def test_services_that_need_a_minute_and_a_half(gate: GateSite) -> None:
    """One is waited for, of the other one the client is told to come back: one start each."""
    late = [Service("impatient", 90, {"hold_seconds": 20}), Service("enduring", 90, {"hold_seconds": 120})]
    for service in late:
        gate.make(service)
    gate.apply(services={**gate.services, **{service.name: service for service in late}})
    for service in late:
        gate.edge.wait_for(host_of(service.name), 401)
        gate.until(service.name, "asleep")
    with EventRecorder(gate.site.engine) as recorder, ThreadPoolExecutor(2) as pool:
        early, patient = pool.map(gate.ask, [service.name for service in late])
        assert gate.ask("impatient").status == 200
    assert (early.status, int(early.seconds)) == (503, 20)
    assert int(early.headers["retry-after"]) >= 1
    assert (patient.status, 85 < patient.seconds < 110) == (200, True)
    assert [starts(recorder, gate, service.name) for service in late] == [1, 1]


def issued(gate: GateSite, client: str, *scopes: str) -> str:
    """Issue a key to a client and return it."""
    done = run_module("api_keys", {"action": "issue", "client": client, "scopes": list(scopes), **places(gate)})
    assert (done.failed, done.values.get("warnings")) == (False, None), done.values
    return gate.edge.secret(done["secret"])


def revoke(gate: GateSite, client: str) -> None:
    done = run_module("api_keys", {"action": "revoke", "client": client, **places(gate)})
    assert not done.failed, done.msg


def places(gate: GateSite) -> dict[str, str]:
    return {"site_directory": str(gate.site.directory), "secret_store": str(gate.roles.secret_store)}


def happened(recorder: EventRecorder, gate: GateSite, service: str, *actions: str) -> list[tuple[str, float]]:
    """Return what was done to a service meanwhile, and when: ``kill`` is the begin of a stop, ``die`` its end."""
    name = gate.site.name(f"inference-{service}")
    return [
        (event.action, event.time)
        for event in recorder.events
        if event.attributes.get("name") == name and event.action in (actions or ("start", "kill", "die"))
    ]


def starts(recorder: EventRecorder, gate: GateSite, service: str) -> int:
    """Return how often a service was started meanwhile."""
    return len(happened(recorder, gate, service, "start"))


def load_with_restarts(gate: GateSite, seed: int, *, number: int, seconds: float) -> None:
    """To a service whose idle time is a second: it sleeps when all is over, and not before."""
    assert gate.ask("mix").status == 200
    with (
        EventRecorder(gate.site.engine) as recorder,
        reading_in_flight(gate, "mix") as readings,
        ThreadPoolExecutor(1) as pool,
    ):
        sent = pool.submit(send_mix, gate, "mix", number, seed, seconds)
        time.sleep(seconds * 0.3)
        gate.part("gateway").restart()
        restarted = time.time()
        time.sleep(seconds * 0.2)
        gate.part("gate").restart(timeout=60)
        found = sent.result()
        gate.until_stopped("mix", seconds=30)
    assert found.total() == number
    assert not [what for what in found if what.startswith(("cut", "closed"))], found
    served = served_by(gate, "mix")
    [(_kill, asked), (_die, _ended)] = happened(recorder, gate, "mix")
    assert asked >= max(one.until for one in served) + 1
    assert too_low(readings, served) == []
    busy = [one.asked > restarted for one in readings if one.in_flight and least_open(served, one.asked, one.answered)]
    assert (busy.count(False) > 5, busy.count(True) > 5) == (True, True), "there was something to count"
    assert gate.figure('in_flight{service="mix"}') == 0
