# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A gateway in a process of its own time: an engine, services and connections that are none, and a clock that jumps.

The clock is the event loop's. When nothing can happen before the next timer, it is that late already: a test of a hold
of 90 s takes a few milliseconds, and two runs of it are the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from modelyard_gateway.app import Gateway
from modelyard_gateway.audit import AuditLog
from modelyard_gateway.credential import Porter
from modelyard_gateway.edge import Edge
from modelyard_gateway.engine import Container, EngineError, MissingContainerError, UnreachableError
from modelyard_gateway.fleet import Fleet
from modelyard_gateway.inflight import Endpoint
from modelyard_gateway.keys import parse_keys
from modelyard_gateway.metrics import Metrics
from modelyard_gateway.services import Call, ServiceConfig, parse_services
from modelyard_gateway.sleep_record import SleepRecord
from modelyard_gateway.state import Timing

Result = TypeVar("Result")
Headers = list[tuple[bytes, bytes]]

#: When everything here begins, Unix seconds.
WALL = 1_800_000_000.0
PORT = 8080
GOOD_KEY = "good-key-of-the-client-0001"


class _Jumps(selectors.DefaultSelector):
    """Waits for nothing: what would be waited for is the time that has passed."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events:
            assert timeout is not None, "nothing can happen any more: the test waits for ever"
            self.now += max(timeout, 0.0)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is as late as it has to be."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a test in its own time."""
    loop = JumpingLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_end(asyncio.all_tasks(loop)))
        loop.close()


async def _end(tasks: set[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class FakeContainer:
    """A container, how long it takes, and what is connected to it."""

    name: str
    number: int
    status: str = "exited"
    exit_code: int = 143
    oom_killed: bool = False
    runs: int = 0
    generation: int = 0
    ready_seconds: float = 2.0
    started_at: float = 0.0
    connections: int = 0
    #: What becomes of it so many seconds after each start: exit code, and whether for want of memory.
    ends: tuple[float, int, bool] | None = None

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.name} {self.generation}".encode()).hexdigest()

    @property
    def address(self) -> str:
        return f"172.30.0.{self.number}"

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    def settle(self) -> None:
        """End it if its time has come."""
        if self.is_running and self.ends and now() - self.started_at >= self.ends[0]:
            self.end(self.ends[1], oom_killed=self.ends[2])

    def end(self, exit_code: int, *, oom_killed: bool = False) -> None:
        self.status, self.exit_code, self.oom_killed, self.connections = "exited", exit_code, oom_killed, 0

    def run(self) -> None:
        self.status, self.started_at, self.oom_killed = "running", now(), False
        self.runs += 1

    def answers(self) -> bool:
        self.settle()
        return self.is_running and now() - self.started_at >= self.ready_seconds


@dataclass
class FakeEngine:
    """An engine. ``watch`` is called after each start and before each stop, with the name and which of both."""

    containers: dict[str, FakeContainer]
    started: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    is_down: bool = False
    refuses: set[str] = field(default_factory=set)
    stopping: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    stop_seconds: float = 0.5
    #: Container to how long the engine takes to answer for it.
    slow: dict[str, float] = field(default_factory=dict)
    watch: Callable[[str, str], None] = lambda _name, _doing: None

    async def inspect(self, name: str) -> Container:
        found = await self._find(name)
        found.settle()
        return Container(
            id=found.id,
            status=found.status,
            exit_code=0 if found.is_running else found.exit_code,
            oom_killed=found.oom_killed,
            started_at=str(found.runs),
            error="",
            addresses=(found.address,) if found.is_running else (),
        )

    async def start(self, name: str) -> None:
        found = await self._find(name)
        if name in self.refuses and not found.is_running:
            raise EngineError(f"Cannot start container {name!r}: 500, no such device; see its log.")
        if not found.is_running:
            self.started.append(name)
            found.run()
            self.watch(name, "start")

    async def stop(self, name: str, seconds: int) -> None:
        found = await self._find(name)
        self.watch(name, "stop")
        if name in self.refuses:
            raise EngineError(f"Cannot stop container {name!r}: 403, with no reason given; see its log.")
        self.stopped.append(name)
        if name not in self.stopping:
            self.stopping[name] = asyncio.create_task(self._stop(found, seconds))
        # Who asked may go: the engine goes on.
        await asyncio.shield(self.stopping[name])

    async def connect(self, network: str) -> None:
        if network in self.refuses:
            raise EngineError(f"Cannot join network {network!r}: 404, network not found; see its log.")
        self.joined.append(network)

    async def has_ended(self, name: str) -> bool:
        try:
            found = await self._find(name)
        except MissingContainerError:
            return True
        except UnreachableError:
            return False
        if name in self.refuses:
            raise EngineError(f"Cannot wait for container {name!r}: 403, with no reason given; see its log.")
        until = now() + 20
        while found.is_running and found.name in self.containers and now() < until:
            await asyncio.sleep(0.1)
            found.settle()
        return not found.is_running or found.name not in self.containers

    async def _stop(self, found: FakeContainer, seconds: int) -> None:
        await asyncio.sleep(min(self.stop_seconds, seconds))
        del self.stopping[found.name]
        if found.is_running:
            assert not found.connections, f"{found.name} is killed with {found.connections} requests in flight"
            found.end(143 if self.stop_seconds <= seconds else 137)

    async def _find(self, name: str) -> FakeContainer:
        await asyncio.sleep(self.slow.get(name, 0.001))
        if self.is_down:
            raise UnreachableError(f"Cannot reach container {name!r}: the engine's proxy is down; see that it runs.")
        if name not in self.containers:
            raise MissingContainerError(f"Cannot inspect container {name!r}: there is none; apply its project.")
        return self.containers[name]


@dataclass(frozen=True)
class Reply:
    """What the gateway answered, and when."""

    status: int
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def is_grant(self) -> bool:
        return self.status == 204

    @property
    def gate_status(self) -> int:
        """What the client gets of the gate."""
        return 200 if self.is_grant else int(self.headers["x-gate-status"])


def service(name: str, **given: Any) -> dict[str, Any]:
    """Return the declaration of a service."""
    return {
        "name": name, "container": f"c-{name}", "address": name, "port": PORT, "idle_seconds": 300,
        "hold_seconds": 120, "ready": {"path": "/health"}, **given,
    }  # fmt: skip


def sha256(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def key(name: str, value: str, *scopes: str, **given: Any) -> dict[str, Any]:
    """Return the declaration of a key."""
    return {"id": name, "sha256": sha256(value), "scopes": list(scopes), **given}


def keys_file(clients: dict[str, Any]) -> bytes:
    return json.dumps({"format": 1, "clients": clients}).encode()


def services_file(services: list[dict[str, Any]], gpus: dict[str, int] | None = None) -> bytes:
    return json.dumps({"format": 1, "gpus": gpus or {}, "services": services}).encode()


GOOD_CLIENTS = {"app": {"keys": [key("first", GOOD_KEY, "*")]}}


class FakeSite:
    """A gateway with all that it looks at. At the start its services are asleep, and on record as such."""

    def __init__(
        self,
        folder: Path,
        services: list[dict[str, Any]],
        *,
        gpus: dict[str, int] | None = None,
        clients: dict[str, Any] | None = None,
        timing: Timing | None = None,
    ) -> None:
        names = [declared["container"] for declared in services]
        self.engine = FakeEngine({name: FakeContainer(name, number) for number, name in enumerate(names, start=2)})
        self.record_path = folder / "asleep.json"
        asleep = {container.id: container.exit_code for container in self.engine.containers.values()}
        self.record_path.write_text(json.dumps({"format": 1, "containers": asleep}))
        self.declared = parse_services(services_file(services, gpus), "services.json")
        self.porter = Porter(parse_keys(keys_file(GOOD_CLIENTS if clients is None else clients), "keys.json"))
        self.metrics, self.timing = Metrics(), timing or Timing()
        self.audit_lines: list[str] = []
        self.calls: list[tuple[str, str]] = []
        self.deaths: list[float] = []
        self.reads_fail = False
        self.read_hook: Callable[[], None] = lambda: None
        self.wall = WALL
        self.edge = Edge()
        #: Whence it is asked.
        self.client = "127.0.0.1"
        self.build()

    def build(self) -> None:
        """Make the gateway anew, as a restart does."""
        self.record = SleepRecord(str(self.record_path), lambda: self.wall + now())
        self.record.load()
        self.fleet = Fleet(self.engine, self.record, self._probe, self._read, self.metrics, self.timing)
        audit = AuditLog(self.audit_lines.append, lambda flush: flush())
        self.app = Gateway(self.porter, self.fleet, self.metrics, audit, lambda: self.wall, edge=self.edge)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FakeSite]:
        """Let it look after its services, from its first look on."""
        self.fleet.use(self.declared)
        self.fleet.start(lambda: self.deaths.append(now()))
        await asyncio.sleep(0.5)
        yield self
        await self.fleet.close()
        assert not self.deaths, "it looked after nothing any more"

    def container(self, name: str) -> FakeContainer:
        return self.engine.containers[f"c-{name}"]

    def phase(self, name: str) -> str:
        return self.fleet.states[name].phase

    async def ask(
        self,
        service: str = "chat",
        headers: Headers | None = None,
        *,
        target: str = "/v1/x",
        method: str = "GET",
        leaves_after: float | None = None,
    ) -> Reply:
        """Ask as the gate does.

        :param headers: of the client; a good key where they are left out.
        :param leaves_after: seconds, after which the client is gone if it has no answer.
        """
        given = [(b"x-api-key", GOOD_KEY.encode())] if headers is None else headers
        ours = {"x-gate-service": service, "x-original-method": method, "x-original-uri": target}
        gate = [(name.encode(), value.encode()) for name, value in ours.items()]
        return await self.call("/auth", [*gate, *given], leaves_after=leaves_after)

    async def call(
        self, path: str, headers: Headers, *, method: str = "GET", leaves_after: float | None = None
    ) -> Reply:
        """Call the application without a server."""
        said: list[Any] = []
        came: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if came:
                return came.pop()
            await asyncio.sleep(1e9 if leaves_after is None else leaves_after)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            said.append(message)

        path, _mark, query = path.partition("?")
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
        await self.app({**scope, "client": (self.client, 40000)}, receive, send)
        start, body = said
        return Reply(
            start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"], now()
        )

    async def command(self, verb: str, service: str = "chat", query: str = "") -> tuple[str, str]:
        """Ask as a deployment does; return outcome and cause."""
        reply = await self.call(f"/-/{verb}/{service}{query}", [], method="POST")
        assert reply.status == 200, reply
        found = json.loads(reply.body)
        return found["outcome"], found["cause"]

    def replace(self, name: str) -> FakeContainer:
        """Make another container in the place of one, and do not start it."""
        found = self.container(name)
        found.generation, found.status, found.exit_code, found.connections = found.generation + 1, "created", 0, 0
        found.oom_killed, found.runs = False, 0
        return found

    async def _probe(self, config: ServiceConfig, call: Call) -> bool:
        await asyncio.sleep(0.001)
        self.calls.append((config.name, call.path))
        return self.engine.containers[config.container].answers()

    async def _read(self) -> Counter[Endpoint]:
        self.read_hook()
        if self.reads_fail:
            raise EngineError("Cannot count connections: there is no /proc/net/tcp; mount /proc.")
        found = self.engine.containers.values()
        return Counter({(one.address, PORT): one.connections for one in found if one.connections})
