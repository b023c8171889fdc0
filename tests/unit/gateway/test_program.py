# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program as a whole: its server, its signals, real connections, and what it costs."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.gateway import GOOD_CLIENTS, GOOD_KEY, key, keys_file, services_file
from support.gateway_process import ADDRESS, GatewayProcess, ask_over, running_gateway
from support.ports import free_ports
from support.tree import ROOT

#: Bars of the project's benchmark table.
MOST_MIB = 80
MOST_RELOAD_SECONDS = 1.0


def thousand_keys(**more: Any) -> dict[str, Any]:
    clients = {f"client{number}": {"keys": [key("k", f"key-number-{number:09}", "chat")]} for number in range(999)}
    return {**clients, **GOOD_CLIENTS, **more}


def test_a_service_wakes_stays_awake_while_something_is_in_flight_and_sleeps_again(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        gateway.until("failed")  # stopped, and on no record: nobody put it to sleep
        assert gateway.ask("wrong-key-000000000001") == 403
        assert gateway.engine.asked == []
        assert gateway.ask() == 200
        with socket.create_connection((ADDRESS, gateway.service_port)):
            time.sleep(2.5)
            assert b'modelyard_gateway_in_flight{service="chat"} 1' in gateway.get("/-/metrics")
            assert gateway.engine.asked == ["start"]
        gateway.until("asleep")
        assert gateway.engine.asked == ["start", "stop"]
        assert json.loads((tmp_path / "asleep.json").read_text())["containers"] == {"0123abcd": 143}
        assert gateway.ask() == 200
        assert gateway.engine.asked == ["start", "stop", "start"]


def test_a_restart_finds_what_sleeps_and_what_runs(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert gateway.ask() == 200
        gateway.until("asleep")
    with running_gateway(tmp_path) as gateway:
        gateway.until("asleep")
        gateway.engine.start()
        gateway.until("awake")


def test_the_end_tells_who_waits_and_writes_the_whole_log(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        gateway.engine.is_held = True
        statuses: list[int] = []
        held = threading.Thread(target=lambda: statuses.append(gateway.ask()))
        held.start()
        gateway.until("waking")
        gateway.ask("wrong-key-000000000001")
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        returned = gateway.process.wait(20)
        held.join(20)
        log, audit = (tmp_path / "program.log").read_text(), (tmp_path / "audit.log").read_text()
        assert (returned, statuses) == (0, [503]), log
        assert time.monotonic() - began < 4
        assert [json.loads(line)["reason"] for line in audit.splitlines()] == ["wrong_key", "stopping"]
        assert GOOD_KEY not in log + audit
        assert "Traceback" not in log


def test_a_client_that_leaves_is_not_waited_for_and_its_service_wakes_all_the_same(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        gateway.engine.is_held = True
        with socket.create_connection((ADDRESS, gateway.port)) as client:
            client.sendall(
                f"GET /auth HTTP/1.1\r\nHost: x\r\nX-Gate-Service: chat\r\nX-API-Key: {GOOD_KEY}\r\n\r\n".encode()
            )
            gateway.until("waking")
            assert b'waiting{service="chat"} 1' in gateway.get("/-/metrics")
        until = time.monotonic() + 10
        while b'waiting{service="chat"} 0' not in gateway.get("/-/metrics"):
            assert time.monotonic() < until
        gateway.engine.is_held = False
        gateway.until("awake")
        gateway.process.send_signal(signal.SIGTERM)  # with its end, the log is whole
        gateway.process.wait(20)
        (line,) = (tmp_path / "audit.log").read_text().splitlines()
        assert json.loads(line)["reason"] == "gone"


class Load(threading.Thread):
    """Requests one after the other over one connection, with a good key and a wrong one in turn."""

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__()
        self._gateway, self.is_over = gateway, False
        self.seen: dict[str, list[int]] = {GOOD_KEY: [], "wrong-key-000000000001": []}
        self.slowest_seconds = 0.0

    def run(self) -> None:
        connection = http.client.HTTPConnection(ADDRESS, self._gateway.port, timeout=30)
        while not self.is_over:
            for one, statuses in self.seen.items():
                began = time.monotonic()
                statuses.append(ask_over(connection, one))
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        connection.close()


@pytest.mark.parametrize(("how", "file"), [("signal", "keys.json"), ("look", "keys.json"), ("look", "issued.json")])
def test_a_thousand_keys_are_read_anew_within_a_second_and_no_request_is_lost(
    how: str, file: str, tmp_path: Path
) -> None:
    """``issued.json`` is not there at first, and its 1,000 keys come on top of those declared."""
    declared = GOOD_CLIENTS if file == "issued.json" else thousand_keys()
    with running_gateway(tmp_path, declared, idle_seconds=None) as gateway:
        assert gateway.ask() == 200
        loads = [Load(gateway) for _number in range(4)]
        for load in loads:
            load.start()
        for number in range(4):
            new = f"a-new-key-number-{number:05}"
            changed = thousand_keys(new={"keys": [key("n", new, "chat")]})
            if file == "issued.json":
                del changed["app"]
            assert gateway.ask(new) == 403
            gateway.replace(file, b"{" if number == 2 else keys_file(changed))
            began = time.monotonic()
            if how == "signal":
                gateway.process.send_signal(signal.SIGHUP)
            while number != 2 and gateway.ask(new) != 200:
                # The look is once a second: that is waited for, the reading itself is the bar.
                assert time.monotonic() - began < MOST_RELOAD_SECONDS + (how == "look")
                time.sleep(0.01)
        for load in loads:
            load.is_over = True
            load.join()
        for load in loads:
            assert len(load.seen[GOOD_KEY]) > 5
            assert set(load.seen[GOOD_KEY]) == {200}
            assert set(load.seen["wrong-key-000000000001"]) == {403}


def test_memory_with_a_thousand_keys_and_fifty_services(tmp_path: Path) -> None:
    with running_gateway(tmp_path, thousand_keys(), more=49, idle_seconds=None) as gateway:
        assert gateway.ask() == 200
        connection = http.client.HTTPConnection(ADDRESS, gateway.port, timeout=30)
        for number in range(2000):
            assert ask_over(connection, f"key-number-{number % 999:09}") == 200
        connection.close()
        found = gateway.resident_mib()
        assert found <= MOST_MIB, f"{found:.1f} MiB"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Cannot read {folder}/settings.json: No such file or directory; see that it is there and readable."),
        ({"settings.json": "{"}, "Cannot use {folder}/settings.json: it is no JSON; render the file anew."),
    ],
)
def test_it_does_not_start_without_what_it_needs(files: dict[str, str], words: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    found = run_program(f"{tmp_path}/settings.json")
    assert found.returncode == 1
    assert found.stderr == f"ERROR {words.format(folder=tmp_path)}\n"


@pytest.mark.parametrize("missing", ["keys.json", "services.json"])
def test_it_does_not_start_without_keys_or_services(missing: str, tmp_path: Path) -> None:
    with running_gateway(tmp_path):
        pass
    (tmp_path / missing).write_text("{}")
    found = run_program(f"{tmp_path}/settings.json")
    assert found.returncode == 1
    assert found.stderr.startswith(f"ERROR Cannot use {tmp_path}/{missing}: its format is None, not 1;")


def test_it_has_one_argument() -> None:
    assert run_program().returncode == 2


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelyard_gateway", *arguments],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PYTHONPATH": f"{ROOT}/gateway"},
    )  # fmt: skip


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a deployment does, beside the gateway of that folder."""
    settings = f"{folder}/settings.json"
    return subprocess.run(
        [sys.executable, "-m", "modelyard_gateway", *words], check=False, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{ROOT}/gateway", "MODELYARD_GATEWAY_SETTINGS": settings},
    )  # fmt: skip


def test_a_deployment_proves_a_service_and_lets_it_rest(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        done = command(tmp_path, "prove", "chat")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert gateway.engine.asked == ["start", "stop"]
        gateway.until("asleep")
        assert gateway.ask() == 200
        done = command(tmp_path, "rest", "chat", "20")
        assert (done.returncode, done.stderr, gateway.engine.asked[2:]) == (0, "", ["start", "stop"])
        with pytest.raises(TimeoutError):
            gateway.ask(timeout_seconds=1)  # it waits for the new one


def test_who_gives_it_files_is_told_whether_it_uses_them(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert command(tmp_path, "check").returncode == 0
        new = key("new", "new-key-of-the-client-0001", "*")
        gateway.replace("keys.json", keys_file({"app": {"keys": [new]}}))
        assert command(tmp_path, "check").returncode == 0
        assert (gateway.ask("new-key-of-the-client-0001"), gateway.ask()) == (200, 403), "at once"
        gateway.replace("issued.json", b"{")
        gateway.replace("services.json", b"[]")
        done = command(tmp_path, "check")
        keys = f"Cannot use {tmp_path}/issued.json: it is no JSON; render the file anew."
        services = f"Cannot use {tmp_path}/services.json: it is no JSON object; render the file anew."
        assert (done.returncode, done.stderr) == (1, f"{keys} {services}\n")
        assert gateway.get("/-/live").decode() == f"{keys}\n{services}\n"
        assert gateway.ask("new-key-of-the-client-0001") == 200, "what was read before stays in use"
        assert b'modelyard_gateway_reload_refused{file="keys"} 1' in gateway.get("/-/metrics")
        (tmp_path / "issued.json").unlink()
        gateway.replace("services.json", services_file([]))
        assert command(tmp_path, "check").returncode == 0
        assert gateway.get("/-/live") == b""
        assert b'modelyard_gateway_reload_refused{file="keys"} 0' in gateway.get("/-/metrics")


class _UsesThem(http.server.BaseHTTPRequestHandler):
    """A gateway that uses its files."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"outcome": "in_use", "cause": ""}')


def test_one_that_is_just_being_started_is_waited_for(tmp_path: Path) -> None:
    [port] = free_ports(1)
    listen = {"format": 1, "listen": {"port": port}, "engine": "", "keys": ["k"], "services": "", "state": ""}
    (tmp_path / "settings.json").write_text(json.dumps(listen))
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(command, tmp_path, "check")
        time.sleep(1)
        assert not done.done()
        with http.server.HTTPServer((ADDRESS, port), _UsesThem) as server:
            server.handle_request()
        assert (done.result().returncode, done.result().stderr) == (0, "")


def test_what_a_deployment_is_told_when_the_gateway_cannot_say(tmp_path: Path) -> None:
    with running_gateway(tmp_path):
        done = command(tmp_path, "prove", "other")
        assert (done.returncode, done.stderr) == (75, "the gateway knows no such service\n")
        misused = (
            "Cannot do that: it is no command of the gateway; give 'prove NAME', 'rest NAME [SECONDS]' or 'check'.\n"
        )
        for words in (["prove"], ["prove", "a/b"], ["prove", "chat", "3"], ["rest", "chat", "soon"], ["check", "x"]):
            done = command(tmp_path, *words)
            assert (done.returncode, done.stderr) == (64, misused), words
    done = command(tmp_path, "prove", "chat")
    assert done.returncode == 75
    assert done.stderr.startswith("the gateway gave "), done.stderr
    (tmp_path / "settings.json").unlink()
    done = command(tmp_path, "prove", "chat")
    assert (done.returncode, done.stderr) == (
        75, f"Cannot read {tmp_path}/settings.json: No such file or directory; see that it is there and readable.\n",
    )  # fmt: skip
