# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Engine API's client against a server that says what each test has it say."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import (
    Engine,
    EngineError,
    _plain_log,
    socket_path_of,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from hypothesis import given
from hypothesis import strategies as st

HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
BROKEN_OFF = (
    "Cannot read the Docker engine's answer to GET /info: it broke off; the engine was stopped or restarted, "
    "run again when it is up."
)


class FakeEngine:
    """A unix socket that answers every connection with the given pieces, and keeps the requests."""

    def __init__(self, path: Path, pieces: list[bytes]) -> None:
        self.path = str(path)
        self.requests: list[bytes] = []
        self._pieces = pieces
        self._goes_on = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """Send the next piece of an answer that waits between its pieces."""
        self._goes_on.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._goes_on.set()
        self._thread.join(5)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _address = self._listener.accept()
                with connection:
                    self.requests.append(connection.recv(65536))
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        for number, piece in enumerate(self._pieces):
            if number:
                self._goes_on.wait(5)
                self._goes_on.clear()
            connection.sendall(piece)


Serve = Callable[..., FakeEngine]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running: list[FakeEngine] = []

    def start(*pieces: bytes) -> FakeEngine:
        running.append(FakeEngine(tmp_path / f"{len(running)}.sock", list(pieces)))
        return running[-1]

    yield start
    for server in running:
        server.close()


def test_an_answer(serve: Serve) -> None:
    server = serve(HEAD + b'[{"Id": "1"}]')
    filters = {"label": ["a=b&c d/e"]}
    assert Engine(server.path).get("/containers/json", {"all": "1", "filters": filters}) == [{"Id": "1"}]
    line, *headers = server.requests[0].decode().split("\r\n")
    assert line == ("GET /containers/json?all=1&filters=%7B%22label%22%3A%20%5B%22a%3Db%26c%20d%2Fe%22%5D%7D HTTP/1.0")
    assert "Content-Length: 0" in headers


def test_a_body_is_sent_as_json(serve: Serve) -> None:
    server = serve(b"HTTP/1.0 201 Created\r\n\r\n{}")
    Engine(server.path).request("POST", "/networks/create", None, {"Name": "ü"})
    assert server.requests[0].endswith(b'Content-Length: 18\r\n\r\n{"Name": "\\u00fc"}')


def test_already_so_is_no_error(serve: Serve) -> None:
    assert Engine(serve(b"HTTP/1.0 304 Not Modified\r\n\r\n").path).request("POST", "/containers/1/stop") == b""


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (
            b'HTTP/1.0 404 Not Found\r\n\r\n{"message": "No such container: x"}',
            404,
            "The Docker engine refused GET /info with status 404: No such container: x",
        ),
        (
            b"HTTP/1.0 502 Bad Gateway\r\n\r\nproxy says no\n",
            502,
            "The Docker engine refused GET /info with status 502: proxy says no",
        ),
        (
            b"HTTP/1.0 500 Internal Server Error\r\n\r\n[1]",
            500,
            "The Docker engine refused GET /info with status 500: [1]",
        ),
        (b"", 0, BROKEN_OFF),
        (b"HTTP/1.0 20", 0, BROKEN_OFF),
        (b"HTTP/1.0 200 OK\r\nContent-Type", 0, BROKEN_OFF),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0, BROKEN_OFF),
        (HEAD, 0, BROKEN_OFF),
        (HEAD + b'[{"Id": "1"}, {"Id', 0, BROKEN_OFF),
    ],
    ids=[
        "404",
        "a proxy",
        "no message",
        "nothing",
        "half a status",
        "half a head",
        "no HTTP",
        "no body",
        "half a body",
    ],
)
def test_a_refusal_or_a_broken_answer(serve: Serve, answer: bytes, status: int, message: str) -> None:
    with pytest.raises(EngineError) as caught:
        Engine(serve(answer).path).get("/info")
    assert str(caught.value) == message
    assert caught.value.status == status


@given(st.binary(max_size=80) | st.binary(max_size=20).map(lambda body: HEAD + body))
def test_whatever_the_engine_answers_it_is_read_or_refused(answer: bytes) -> None:
    with contextlib.suppress(PlatformError):
        Engine("/none")._parse(answer, "GET /info")


def test_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    with pytest.raises(EngineError) as caught:
        Engine(str(path)).get("/info")
    assert str(caught.value) == (
        f"Cannot reach the Docker engine: there is no socket {path}; install Docker, or start it "
        "(systemctl start docker)."
    )
    assert not Engine(str(path)).is_alive()
    assert not Engine(str(path)).wait_alive(timeout_seconds=0)


def test_a_socket_that_nobody_serves(serve: Serve) -> None:
    server = serve(b"")
    server.close()
    with pytest.raises(EngineError) as caught:
        Engine(server.path).get("/info")
    assert str(caught.value) == (
        f"Cannot reach the Docker engine at {server.path}: Connection refused; start it (systemctl start docker) and "
        "look at its log (journalctl -u docker)."
    )


def test_alive(serve: Serve) -> None:
    assert Engine(serve(HEAD + b"OK").path).is_alive()
    assert not Engine(serve(b"HTTP/1.0 500 No\r\n\r\n{}").path).is_alive()


def read_events(server: FakeEngine, reads: int) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    with Engine(server.path).events({"type": ["container"]}, since=1.5) as stream:
        for _number in range(reads):
            events += stream.read(timeout_seconds=5)
            server.go_on()
    return events


def test_events_that_arrive_in_pieces(serve: Serve) -> None:
    server = serve(HEAD[:20], HEAD[20:] + b'{"Action": "sta', b'rt"}\n{"Action": "die"}\n{"Act', b'ion": "stop"}\n')
    assert [event["Action"] for event in read_events(server, 4)] == ["start", "die", "stop"]
    assert b"since=1.500000000" in server.requests[0]


def test_nothing_happens_for_a_while(serve: Serve) -> None:
    with Engine(serve(HEAD, b"").path).events({}) as stream:
        assert list(stream.read(timeout_seconds=5)) == []
        assert list(stream.read(timeout_seconds=0.01)) == []


def test_the_engine_ends_its_stream(serve: Serve) -> None:
    with pytest.raises(EngineError, match=r"^The Docker engine closed its event stream\.$"):
        read_events(serve(HEAD), 2)


def test_the_engine_refuses_a_stream(serve: Serve) -> None:
    with pytest.raises(EngineError) as caught:
        read_events(serve(b'HTTP/1.0 400 Bad Request\r\n\r\n{"message": "invalid filter"}'), 1)
    assert str(caught.value) == "The Docker engine refused GET /events with status 400: invalid filter"
    assert caught.value.status == 400


def test_the_stream_holds_no_json(serve: Serve) -> None:
    with pytest.raises(EngineError, match=r"answer to GET /events: it broke off"):
        read_events(serve(HEAD + b"oops\n"), 1)


def frame(stream: int, text: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (frame(1, b"out\n") + frame(2, b"err\n"), "out\nerr\n"),
        (frame(1, b""), ""),
        (frame(1, b"cut off")[:-4], "cut"),
        (frame(1, b"a") + b"\x01\0\0", "a"),
        (b"a terminal's text\n", "a terminal's text\n"),
        (b"short", "short"),
        (frame(1, b"\xff"), "\ufffd"),
    ],
    ids=["nothing", "both streams", "an empty frame", "half a frame", "half a head", "a terminal", "short", "no UTF-8"],
)
def test_plain_log(raw: bytes, text: str) -> None:
    assert _plain_log(raw) == text


@given(st.binary(max_size=60))
def test_whatever_a_container_logs_is_text(raw: bytes) -> None:
    assert isinstance(_plain_log(raw), str)


@given(st.lists(st.binary(max_size=20)))
def test_frames_of_a_log_read_back(texts: list[bytes]) -> None:
    raw = b"".join(frame(1 + number % 2, text) for number, text in enumerate(texts))
    assert _plain_log(raw) == b"".join(texts).decode(errors="replace")


def test_a_log_that_cannot_be_had_says_why(serve: Serve) -> None:
    server = serve(b'HTTP/1.0 404 Not Found\r\n\r\n{"message": "gone"}')
    assert Engine(server.path).logs("x", lines=3) == (
        "(no log: The Docker engine refused GET /containers/x/logs with status 404: gone)"
    )
    assert b"/containers/x/logs?stdout=1&stderr=1&tail=3 " in server.requests[0]


def test_which_socket() -> None:
    assert socket_path_of({}) == "/var/run/docker.sock"
    assert socket_path_of({"DOCKER_HOST": ""}) == "/var/run/docker.sock"
    assert socket_path_of({"DOCKER_HOST": "unix:///run/other.sock"}) == "/run/other.sock"
    with pytest.raises(PlatformError) as caught:
        socket_path_of({"DOCKER_HOST": "tcp://10.0.0.1:2375"})
    assert str(caught.value) == (
        "Cannot use the engine at DOCKER_HOST='tcp://10.0.0.1:2375': only a unix:// socket of this host is supported; "
        "unset DOCKER_HOST, or run the module on the host that has the engine."
    )
