# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine's client against a proxy that answers what it is told to, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from modelyard_gateway.engine import (
    Container,
    DockerEngine,
    EngineError,
    MissingContainerError,
    UnreachableError,
    parse_container,
)
from modelyard_gateway.errors import GatewayError
from modelyard_gateway.exchange import Answer, ExchangeError, Peer, exchange

#: Recorded with engine 20.10.24, shortened.
INSPECTED: dict[str, Any] = {
    "Id": "4ff1f39e",
    "State": {
        "Status": "exited", "Running": False, "OOMKilled": False, "ExitCode": 143, "Error": "",
        "StartedAt": "2026-11-20T10:00:00.123456789Z",
    },
    "NetworkSettings": {"Networks": {"a": {"IPAddress": "172.30.0.2", "GlobalIPv6Address": ""}, "b": None}},
}  # fmt: skip


def with_state(**changed: Any) -> dict[str, Any]:
    return {**INSPECTED, "State": {**INSPECTED["State"], **changed}}


async def served(answer: bytes, use: Callable[[int], Awaitable[Any]], *, after: float = 0.0) -> tuple[Any, bytes]:
    """Return what ``use`` of a port gives that answers so, and what was asked there."""
    asked = bytearray()
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            asked.extend(await reader.readuntil(b"\r\n\r\n"))
            await asyncio.sleep(after)
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        found = await use(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.gather(*serving, return_exceptions=True)
    return found, bytes(asked)


def http(status: int, body: bytes = b"", reason: str = "X") -> bytes:
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("doing", "asked", "answer"),
    [
        ("inspect", b"GET /containers/c-chat/json HTTP/1.0\r\n", http(200, json.dumps(INSPECTED).encode())),
        ("start", b"POST /containers/c-chat/start HTTP/1.0\r\n", http(204)),
        ("start", b"POST /containers/c-chat/start HTTP/1.0\r\n", http(304)),
        ("stop", b"POST /containers/c-chat/stop?t=7 HTTP/1.0\r\n", http(204)),
        ("stop", b"POST /containers/c-chat/stop?t=7 HTTP/1.0\r\n", http(304)),
    ],
)
def test_what_it_asks(doing: str, asked: bytes, answer: bytes) -> None:
    async def use(port: int) -> Any:
        engine = DockerEngine(f"http://127.0.0.1:{port}")
        return await (engine.stop("c-chat", 7) if doing == "stop" else getattr(engine, doing)("c-chat"))

    found, request = asyncio.run(served(answer, use))
    assert request.startswith(asked)
    assert b"\r\nConnection: close\r\n" in request
    if doing == "inspect":
        started_at = "2026-11-20T10:00:00.123456789Z"
        assert found == Container("4ff1f39e", "exited", 143, False, started_at, "", ("172.30.0.2",))


REFUSALS: dict[str, tuple[bytes, type[EngineError], str]] = {
    "no such container": (
        http(404, b'{"message": "No such container: c-chat"}'),
        MissingContainerError,
        "Cannot start container 'c-chat': there is none; apply the project that makes it.",
    ),
    "refused by the engine": (
        http(500, b'{"message": "could not select device driver \\"nvidia\\""}'),
        EngineError,
        "Cannot start container 'c-chat': 500, could not select device driver \"nvidia\"; see its log.",
    ),
    "refused by the proxy": (
        http(403, b"<html>Forbidden</html>"),
        EngineError,
        "Cannot start container 'c-chat': 403, with no reason given (does the proxy allow it?); see its log.",
    ),
    "no HTTP": (b"hello\r\n\r\n", UnreachableError, "gave no HTTP answer; see that it runs."),
    "nothing": (b"", UnreachableError, "gave no HTTP answer; see that it runs."),
    "broken off": (http(204)[:-2], UnreachableError, "gave no HTTP answer; see that it runs."),
    "a body that breaks off": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        UnreachableError,
        "gave an answer that broke off; see that it runs.",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str) -> None:
    answer, kind, words = REFUSALS[name]

    async def use(port: int) -> EngineError:
        with pytest.raises(EngineError) as error:
            await DockerEngine(f"http://127.0.0.1:{port}").start("c-chat")
        return error.value

    found, _asked = asyncio.run(served(answer, use))
    assert found.__class__ is kind
    assert str(found).endswith(words)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(200), ""),
        (http(403, b'{"message":"endpoint with name s-pod-1 already exists in network s_chat"}'), ""),
        (
            http(404, b'{"message":"network s_chat not found"}'),
            "Cannot join network 's_chat': 404, network s_chat not found; see its log.",
        ),
        (
            b"",
            "Cannot join network 's_chat': the engine's proxy at 127.0.0.1:PORT gave no HTTP answer; see that it runs.",
        ),
    ],
)
def test_a_network_of_a_service(answer: bytes, words: str) -> None:
    async def use(port: int) -> str:
        try:
            await DockerEngine(f"http://127.0.0.1:{port}").connect("s_chat")
        except EngineError as error:
            return str(error).replace(str(port), "PORT")
        return ""

    said, asked = asyncio.run(served(answer, use))
    assert (said, asked.startswith(b"POST /networks/s_chat/connect HTTP/1.0\r\n")) == (words, True)


@pytest.mark.parametrize(
    ("answer", "has_ended"),
    [
        (http(200, b'{"Error":null,"StatusCode":143}'), True),
        (http(404, b'{"message": "No such container: c-chat"}'), True),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),  # its head comes at once, and then the proxy was stopped
        (b"", False),
    ],
)
def test_whether_it_has_ended(answer: bytes, has_ended: bool) -> None:
    async def use(port: int) -> bool:
        return await DockerEngine(f"http://127.0.0.1:{port}").has_ended("c-chat")

    found, asked = asyncio.run(served(answer, use))
    assert (found, asked.startswith(b"POST /containers/c-chat/wait HTTP/1.0\r\n")) == (has_ended, True)


def test_nobody_is_there() -> None:
    async def use() -> None:
        server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(UnreachableError, match=f"the engine's proxy at 127.0.0.1:{port} gave .*; see that it runs"):
            await DockerEngine(f"http://127.0.0.1:{port}").inspect("c-chat")

    asyncio.run(use())


def test_an_answer_in_time_and_one_too_late() -> None:
    async def use(port: int) -> Answer:
        return await exchange(
            Peer("127.0.0.1", port), "POST", "/x", timeout_seconds=0.3, body=b"{}", content_type="a/b"
        )

    answer, asked = asyncio.run(served(http(200, b"yes"), use))
    assert answer == Answer(200, b"yes")
    assert b"\r\nContent-Length: 2\r\nContent-Type: a/b\r\n" in asked
    with pytest.raises(ExchangeError, match=r"^no answer within 0\.3 s$"):
        asyncio.run(served(http(200), use, after=0.6))


def test_a_name_that_is_too_long_is_no_bug() -> None:
    with pytest.raises(ExchangeError, match=r"^the name 'a{40,}.* cannot be looked up: "):
        asyncio.run(exchange(Peer("a" * 64, 80), "GET", "/", timeout_seconds=5))


def test_an_endless_answer_is_given_up() -> None:
    async def use(port: int) -> Answer:
        return await exchange(Peer("127.0.0.1", port), "GET", "/", timeout_seconds=20)

    with pytest.raises(ExchangeError, match=r"^an answer of more than 4194304 bytes$"):
        asyncio.run(served(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (5 * 1024 * 1024), use))


@pytest.mark.parametrize(
    ("found", "holds", "words"),
    [
        (INSPECTED, False, "it ended with exit code 143"),
        (with_state(OOMKilled=True, ExitCode=137), False, "it was killed because it ran out of memory"),
        (with_state(Error="no device", ExitCode=128), False, "it ended with exit code 128 (no device)"),
        (with_state(Status="running"), True, "it ended with exit code 143"),
        (with_state(Status="paused"), True, "it ended with exit code 143"),
        (with_state(Status="restarting"), True, "it ended with exit code 143"),
        (with_state(Status="dead"), False, "it ended with exit code 143"),
    ],
)
def test_what_is_known_of_a_container(found: dict[str, Any], holds: bool, words: str) -> None:
    container = parse_container(found)
    assert (container.holds_resources, container.why_ended()) == (holds, words)


@pytest.mark.parametrize("answer", [b"[]", b"{}", b"no JSON", b'{"Id": "x", "State": null}'])
def test_an_inspect_that_is_none(answer: bytes) -> None:
    async def use(port: int) -> None:
        with pytest.raises(EngineError, match=r"^Cannot inspect container 'c-chat': the answer is not the engine's \("):
            await DockerEngine(f"http://127.0.0.1:{port}").inspect("c-chat")

    asyncio.run(served(http(200, answer), use))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "proxy:2375",
        "unix:///run/docker.sock",
        "https://proxy:2375",
        "http://proxy",
        "http://proxy:x",
        "http://p:1/v1",
    ],
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(GatewayError) as error:
        DockerEngine(address)
    assert str(error.value) == f"Cannot use the engine at {address!r}: it is not of the form http://HOST:PORT; set it."
