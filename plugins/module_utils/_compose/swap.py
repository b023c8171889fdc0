# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start-first: the new copies serve before the old ones stop, and no request is lost on the way.

Two kinds of clients are looked after. Those of the edge: Traefik has forgotten the old copy before it is touched.
Those inside the network, by the service's name: it resolves to old and new copies while both live, a copy that does
not listen (yet) or that refuses new connections answers with a reset, and the client takes the next address.

That is the limit, too: a client inside the network that tries only one address, or that never closes its connection
to the old copy within ``drain_seconds``, loses it when the old copy stops.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .._errors import PlatformError
from .._run import Run
from .containers import remove_container
from .desired import PROJECT_LABEL, SERVICE_LABEL, DesiredService
from .edge import listed_servers, server_addresses, server_host
from .engine import Engine, EngineError
from .netns import accept_new_connections, open_connections, refuse_new_connections
from .observe import ObservedContainer
from .project import Edge

if TYPE_CHECKING:
    from typing import TypeGuard

EDGE_SECONDS = 30.0
_EDGE_POLL_SECONDS = 0.1
#: A request that Traefik took before it forgot the old copy gets this long to reach it.
_EDGE_SETTLE_SECONDS = 1.0
_QUIET_READS = 3
_QUIET_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Swap:
    """What swapping needs from whoever applies the project ``project``."""

    engine: Engine
    run: Run
    project: str
    edge: Edge | None
    #: Service to the names of the containers that get its traffic: rewrites the edge's file, other services unchanged.
    write_edge: Callable[[Mapping[str, Sequence[str]]], None]
    #: Makes and starts containers so that this many exist in all, old ones included and unchanged.
    bring_up: Callable[[DesiredService, int], None]
    #: Waits for the copies with the service's identity; PlatformError when one fails.
    gate: Callable[[DesiredService], None]
    #: Writes down the ids of the containers that refuse new connections.
    remember_blocked: Callable[[Sequence[str]], None]


def swap_start_first(swap: Swap, service: DesiredService, old: Sequence[ObservedContainer]) -> str:
    """Replace the ``old`` copies of ``service`` by new ones; return a sentence on how the old ones drained.

    Killed anywhere, it is called again with the copies whose identity still differs: what is done is not done twice.

    :raises PlatformError: the new copies failed, then they are gone and the old ones serve as before; or the edge did
        not take the new ones up, then old and new copies serve.
    """
    old_ids = {container.id for container in old}
    _remove_ended(swap, old)
    try:
        _bring_up(swap, service, old_ids)
        swap.gate(service)
    except PlatformError:
        _take_back(swap, service, old)
        raise
    new = [copy for copy in _copies(swap, service) if copy.id not in old_ids]
    names = sorted(copy.name for copy in new)
    # They may be the old ones of a swap that was broken off.
    reopen(swap.engine, swap.run, [copy.id for copy in new])
    swap.write_edge({service.name: names})
    _wait_for_edge(swap, service, new=names, old=[container.name for container in old])
    swap.remember_blocked(sorted(old_ids))
    drained = _Drain(swap, sorted(old_ids)).wait(service.extras.drain_seconds)
    for container_id in sorted(old_ids):
        remove_container(swap.engine, container_id)
    swap.remember_blocked([])
    return f"{service.name}: {drained}"


def reopen(engine: Engine, run: Run, container_ids: Iterable[str]) -> None:
    """Let containers that a broken-off swap had closed take new connections again; those that are gone are skipped."""
    for container_id in container_ids:
        pid = _closable_pid(engine, container_id)
        if pid:
            accept_new_connections(run, pid)


@dataclass(frozen=True)
class _Copy:
    id: str
    name: str


def _copies(swap: Swap, service: DesiredService) -> list[_Copy]:
    labels = [f"{PROJECT_LABEL}={swap.project}", f"{SERVICE_LABEL}={service.name}", "com.docker.compose.oneoff=False"]
    listed = swap.engine.get("/containers/json", {"all": "1", "filters": {"label": labels}})
    return [_Copy(entry["Id"], entry["Names"][0].removeprefix("/")) for entry in listed]


def _remove_ended(swap: Swap, old: Iterable[ObservedContainer]) -> None:
    """Remove old copies that serve nobody: Compose would start them again beside the new ones."""
    for container in old:
        if container.state in ("created", "exited", "dead"):
            remove_container(swap.engine, container.id)


def _bring_up(swap: Swap, service: DesiredService, old_ids: set[str]) -> None:
    living = sum(copy.id in old_ids for copy in _copies(swap, service))
    swap.bring_up(service, living + service.scale)


def _take_back(swap: Swap, service: DesiredService, old: Sequence[ObservedContainer]) -> None:
    """Remove the new copies; what a killed swap had given them already goes back to the old ones first."""
    old_ids = {container.id for container in old}
    copies = _copies(swap, service)
    new = [copy for copy in copies if copy.id not in old_ids]
    names = [copy.name for copy in copies if copy.id in old_ids]
    reopen(swap.engine, swap.run, sorted(old_ids))
    # The reason of the failure counts more than an edge that does not answer as well.
    with contextlib.suppress(PlatformError):
        if names and _edge_hosts(swap, service) & {copy.name for copy in new}:
            swap.write_edge({service.name: names})
            _wait_for_edge(swap, service, new=names, old=[copy.name for copy in new])
    for copy in new:
        remove_container(swap.engine, copy.id)


def _wait_for_edge(swap: Swap, service: DesiredService, *, new: Sequence[str], old: Sequence[str]) -> None:
    """Return when the edge sends requests to all new copies and to no old one, by its own account.

    The service's name counts as old: it leads to every copy.
    """
    if not _is_routed(swap.edge, service):
        return
    deadline = time.monotonic() + EDGE_SECONDS
    forgotten = {service.name, *old}
    while True:
        hosts = _edge_hosts(swap, service)
        if hosts.issuperset(new) and not hosts & forgotten:
            break
        if time.monotonic() >= deadline:
            raise _edge_unmoved(swap.edge, service, missing=sorted(set(new) - hosts), kept=sorted(hosts & forgotten))
        time.sleep(_EDGE_POLL_SECONDS)
    time.sleep(_EDGE_SETTLE_SECONDS)


def _is_routed(edge: Edge | None, service: DesiredService) -> TypeGuard[Edge]:
    return edge is not None and any(host == service.name for host, _address in server_addresses(edge.config))


def _edge_hosts(swap: Swap, service: DesiredService) -> set[str]:
    """Return the hosts that the edge sends requests to; none where no route leads to the service."""
    if not _is_routed(swap.edge, service):
        return set()
    if swap.edge.api is None:
        raise PlatformError(
            f"Cannot update service {service.name!r} without a gap: the edge's API is not given, so nobody can tell "
            "when it has forgotten the old container; give 'edge.api', or declare 'update: stop_first'."
        )
    return {server_host(address) for address in listed_servers(swap.edge.api)}


def _edge_unmoved(edge: Edge, service: DesiredService, *, missing: list[str], kept: list[str]) -> PlatformError:
    found = " and ".join(
        [f"does not know {', '.join(missing)}"] * bool(missing) + [f"still uses {', '.join(kept)}"] * bool(kept)
    )
    return PlatformError(
        f"Cannot move the traffic of service {service.name!r}: after {EDGE_SECONDS:g} s the edge at {edge.api} "
        f"{found}; see in its log whether it watches and can read {edge.file}. Old and new containers still run."
    )


@dataclass
class _Drain:
    """Keeps new connections from old copies and waits until the open ones have ended."""

    swap: Swap
    container_ids: Sequence[str]
    _closed: dict[str, int] = field(default_factory=dict)
    _obstacle: str = ""

    def wait(self, limit_seconds: float) -> str:
        """Return how it went: drained, or what was still open when the time was over."""
        started = time.monotonic()
        quiet = 0
        while True:
            still_open = sum(self._close_and_count(container_id) for container_id in self.container_ids)
            seconds = time.monotonic() - started
            quiet = quiet + 1 if still_open == 0 else 0
            if quiet >= _QUIET_READS:
                return f"no connection to the old copy was open after {seconds:.1f} s{self._obstacle}"
            if seconds >= limit_seconds:
                return (
                    f"open connections to the old copy when drain_seconds ({limit_seconds:g} s) were over: "
                    f"{still_open}; they were closed{self._obstacle}"
                )
            time.sleep(_QUIET_POLL_SECONDS)

    def _close_and_count(self, container_id: str) -> int:
        # Asked each time: a copy that crashes meanwhile and is started again has a new, open namespace.
        pid = _closable_pid(self.swap.engine, container_id)
        if not pid:
            return 0
        if self._closed.get(container_id) != pid:
            self._closed[container_id] = pid
            self._close(pid)
        return open_connections(pid)

    def _close(self, pid: int) -> None:
        try:
            refuse_new_connections(self.swap.run, pid)
        except PlatformError as error:
            # The edge's clients are safe without; only one inside the network could come at the last moment.
            self._obstacle = f"; new ones were not refused: {error}"


def _closable_pid(engine: Engine, container_id: str) -> int:
    """Return the first process of a container that runs in a network of its own; 0 where there is none."""
    try:
        found = engine.get(f"/containers/{container_id}/json")
    except EngineError as error:
        if error.status != 404:
            raise
        return 0
    mode = found["HostConfig"].get("NetworkMode", "")
    shared = mode in ("host", "none") or mode.startswith("container:")
    return 0 if shared or not found["State"]["Running"] else int(found["State"]["Pid"])
