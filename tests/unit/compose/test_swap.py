# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a swap, against an engine and an edge that answer over real sockets with what a test sets."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socketserver
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose import swap as subject
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import DesiredService
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import ObservedContainer
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Edge, ServiceExtras
from ansible_collections.modelyard.platform.plugins.module_utils._compose.swap import Swap, swap_start_first
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

ROUTES = {"http": {"services": {"web": {"loadBalancer": {"servers": [{"url": "http://web:80"}]}}}}}
#: No process has this number, so nothing is open in its network.
NOBODY = 2**22 + 1


@dataclass
class World:
    """Containers by name, what the edge uses, and what happened in order."""

    containers: dict[str, str] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    edge_follows: bool = True

    def answer(self, method: str, path: str) -> object:
        """Answer as the engine does; None is a 404."""
        path = path.partition("?")[0]
        if path == "/containers/json":
            return [{"Id": name, "Names": [f"/{name}"], "State": state} for name, state in self.containers.items()]
        name = path.split("/")[2]
        if name not in self.containers:
            return None
        if method == "GET":
            state = {"Running": self.containers[name] == "running", "Pid": NOBODY}
            return {"State": state, "Config": {"StopTimeout": 1}, "HostConfig": {"NetworkMode": "shop_default"}}
        self.happened.append(f"{'remove' if method == 'DELETE' else 'stop'} {name}")
        if method == "DELETE":
            del self.containers[name]
        return {}


class Handler(BaseHTTPRequestHandler):
    """Engine and edge in one: their paths differ."""

    world: World

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            servers = [{"url": f"http://{name}:80"} for name in self.world.listed]
            self._send([{"loadBalancer": {"servers": servers}}] if "/http/" in self.path else [])
        else:
            self._send(self.world.answer(self.command, self.path))

    do_POST = do_DELETE = do_GET  # noqa: N815 (the server's own names)

    def _send(self, answer: object) -> None:
        self.send_response(404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(
            json.dumps(answer or ({"message": "no such container"} if answer is None else answer)).encode()
        )

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self) -> tuple[Any, Any]:
        request, _address = super().get_request()
        return request, ("engine", 0)


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(containers={"old-1": "running"}, listed=["old-1"])
    monkeypatch.setattr(Handler, "world", made, raising=False)
    monkeypatch.setattr(subject, "EDGE_SECONDS", 0.3)
    for pause in ("_EDGE_SETTLE_SECONDS", "_QUIET_POLL_SECONDS"):
        monkeypatch.setattr(subject, pause, 0.01)
    return made


@pytest.fixture
def swap(world: World, tmp_path: Path) -> Iterator[Swap]:
    path = f"/tmp/{tmp_path.name[-30:]}-{id(world):x}.sock"
    edge, engine = ThreadingHTTPServer(("127.0.0.1", 0), Handler), UnixServer(path, Handler)
    with serving(edge), serving(engine):
        yield make_swap(world, Engine(path), f"http://127.0.0.1:{edge.server_port}")
    Path(path).unlink()


def make_swap(world: World, engine: Engine, api: str) -> Swap:
    def bring_up(service: DesiredService, count: int) -> None:
        world.happened.append(f"bring up to {count}")
        for number in range(1, count - len(world.containers) + 1):
            world.containers[f"new-{number}"] = "running"

    def write_edge(names: Any) -> None:
        world.happened.append(f"route {json.dumps(names)}")
        if world.edge_follows:
            world.listed = list(names["web"])

    def run(*_: Any, **__: Any) -> Completed:
        raise AssertionError("no process is there whose network could be closed")

    return Swap(
        engine=engine,
        run=run,
        project="shop",
        edge=Edge("/site/edge/shop.yml", ROUTES, api),
        write_edge=write_edge,
        bring_up=bring_up,
        gate=lambda service: world.happened.append(f"gate {service.name}"),
        remember_blocked=lambda ids: world.happened.append(f"blocked {','.join(ids)}"),
    )


def service(scale: int = 1, drain_seconds: float = 5.0) -> DesiredService:
    return DesiredService("web", "web:2", "new", {}, scale=scale, extras=ServiceExtras(drain_seconds=drain_seconds))


def old(*names: str, state: str = "running") -> Sequence[ObservedContainer]:
    return [ObservedContainer(name, name, "web", state, "sha256:1", "old") for name in names]


def test_the_old_copy_goes_only_after_the_new_one_serves(world: World, swap: Swap) -> None:
    sentence = swap_start_first(swap, service(), old("old-1"))
    assert world.happened == [
        "bring up to 2",
        "gate web",
        'route {"web": ["new-1"]}',
        "blocked old-1",
        "stop old-1",
        "remove old-1",
        "blocked ",
    ]
    assert sentence.startswith("web: no connection to the old copy was open after 0.")
    assert world.containers == {"new-1": "running"}


def test_replicas_are_all_there_before_one_goes(world: World, swap: Swap) -> None:
    world.containers = {"old-1": "running", "old-2": "running"}
    swap_start_first(swap, service(scale=3), old("old-1", "old-2"))
    assert world.happened[0] == "bring up to 5"
    assert sorted(world.containers) == ["new-1", "new-2", "new-3"]


AFTER_A_KILL = [
    pytest.param({"old-1": "running", "new-1": "running"}, ["old-1"], id="after the new copy was made"),
    pytest.param({"old-1": "running", "new-1": "running"}, ["new-1"], id="after the edge was moved"),
    pytest.param({"old-1": "exited", "new-1": "running"}, ["new-1"], id="after the old copy was stopped"),
]


@pytest.mark.parametrize(("containers", "listed"), AFTER_A_KILL)
def test_a_second_call_ends_what_a_killed_one_began(
    world: World, swap: Swap, containers: dict[str, str], listed: list[str]
) -> None:
    world.containers, world.listed = dict(containers), listed
    swap_start_first(swap, service(), old("old-1", state=containers["old-1"]))
    assert world.containers == {"new-1": "running"}
    assert world.listed == ["new-1"]


def test_an_old_copy_that_is_gone_already_is_no_obstacle(world: World, swap: Swap) -> None:
    world.containers = {"new-1": "running"}
    swap_start_first(swap, service(), old("old-1"))
    assert world.containers == {"new-1": "running"}


def failing_gate(_service: DesiredService) -> None:
    raise PlatformError("web is broken")


def test_a_new_copy_that_fails_is_removed_and_the_old_one_is_not_touched(world: World, swap: Swap) -> None:
    with pytest.raises(PlatformError, match=r"^web is broken$"):
        swap_start_first(replaced(swap, gate=failing_gate), service(), old("old-1"))
    assert world.happened == ["bring up to 2", "stop new-1", "remove new-1"]


def test_traffic_that_a_killed_swap_had_moved_goes_back_before_the_new_copy(world: World, swap: Swap) -> None:
    world.containers, world.listed = {"old-1": "running", "new-1": "running"}, ["new-1"]
    with pytest.raises(PlatformError, match=r"^web is broken$"):
        swap_start_first(replaced(swap, gate=failing_gate), service(), old("old-1"))
    assert world.happened == ["bring up to 2", 'route {"web": ["old-1"]}', "stop new-1", "remove new-1"]


def test_an_edge_that_does_not_move_keeps_both(world: World, swap: Swap) -> None:
    world.edge_follows = False
    with pytest.raises(PlatformError) as failure:
        swap_start_first(swap, service(), old("old-1"))
    assert swap.edge is not None
    assert str(failure.value) == (
        f"Cannot move the traffic of service 'web': after 0.3 s the edge at {swap.edge.api} does not know new-1 and "
        "still uses old-1; see in its log whether it watches and can read /site/edge/shop.yml. Old and new containers "
        "still run."
    )
    assert sorted(world.containers) == ["new-1", "old-1"]


def test_a_route_without_the_edges_api_is_refused_before_anything_stops(world: World, swap: Swap) -> None:
    with pytest.raises(PlatformError, match=r"^Cannot update service 'web' without a gap: the edge's API is not given"):
        swap_start_first(replaced(swap, edge=Edge("/site/edge/shop.yml", ROUTES, None)), service(), old("old-1"))
    assert "old-1" in world.containers


@pytest.mark.parametrize("edge", [None, Edge("/site/edge/x.yml", {"http": {}}, None)], ids=["no edge", "no route"])
def test_a_service_without_a_route_asks_no_edge(world: World, swap: Swap, edge: Edge | None) -> None:
    world.edge_follows = False
    swap_start_first(replaced(swap, edge=edge), service(), old("old-1"))
    assert world.containers == {"new-1": "running"}


def replaced(swap: Swap, **changes: Any) -> Swap:
    return dataclasses.replace(swap, **changes)
