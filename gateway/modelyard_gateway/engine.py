# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Docker engine, through a proxy that allows start, stop and inspect of exactly the rendered names.

Paths carry no version, as everywhere in this collection. What the proxy has to let through, NAME being ``container``
of a service::

    GET /containers/NAME/json    POST /containers/NAME/start    POST /containers/NAME/stop?t=SECONDS

of its ``network`` ``POST /networks/NETWORK/connect``, which the proxy makes one of the gate's own container,
and, also of containers that are declared no more, ``POST /containers/NAME/wait``, which tells only that it ended.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from .errors import GatewayError
from .exchange import Answer, ExchangeError, Peer, exchange

_REQUEST_SECONDS = 20.0
#: The engine makes devices and mounts before it answers.
_START_SECONDS = 120.0
#: The engine kills a container that does not stop in time, and that takes time itself.
_BEYOND_STOP_SECONDS = 30.0
#: How long one question takes that is answered by the end of a container.
_WAIT_SECONDS = 20.0
_RUNNING = frozenset({"running", "restarting", "paused"})


class EngineError(GatewayError):
    """The engine did not do it, or did not answer."""


class UnreachableError(EngineError):
    """Nothing is known: there was no answer."""


class MissingContainerError(EngineError):
    """There is none of that name."""


@dataclass(frozen=True)
class Container:
    """What is known of a container at one moment.

    :param status: as the engine says: created, running, restarting, paused, exited, dead.
    :param started_at: as the engine writes it; tells one run of a container from the next.
    :param addresses: in every network that it is in; none while it does not run.
    """

    id: str
    status: str
    exit_code: int
    oom_killed: bool
    started_at: str
    error: str
    addresses: tuple[str, ...]

    @property
    def run(self) -> tuple[str, str]:
        """What tells this run of this container from all others."""
        return self.id, self.started_at

    @property
    def holds_resources(self) -> bool:
        """Whether it has processes, and so may have memory of a GPU. A restarting one is about to."""
        return self.status in _RUNNING

    def why_ended(self) -> str:
        """Say how it ended, for the log."""
        if self.oom_killed:
            return "it was killed because it ran out of memory"
        return f"it ended with exit code {self.exit_code}" + (f" ({self.error})" if self.error else "")


class Engine(Protocol):
    """What the gateway asks of an engine."""

    async def inspect(self, name: str) -> Container:
        """Return what is known of a container."""

    async def start(self, name: str) -> None:
        """Start a container; one that runs stays as it is."""

    async def stop(self, name: str, seconds: int) -> None:
        """Stop a container, by force after so many seconds; return when it has ended."""

    async def connect(self, network: str) -> None:
        """Bring the gate into a network; where it is already it stays."""

    async def has_ended(self, name: str) -> bool:
        """Return whether a container is gone or does not run. It takes its time where it runs, or nothing is known."""


class DockerEngine:
    """The engine behind a proxy at ``http://HOST:PORT``."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        try:
            usable = parts.scheme == "http" and parts.hostname and parts.port and parts.path in ("", "/")
        except ValueError:
            usable = False
        if not usable:
            raise GatewayError(f"Cannot use the engine at {address!r}: it is not of the form http://HOST:PORT; set it.")
        self._peer = Peer(str(parts.hostname), int(parts.port or 0))

    async def inspect(self, name: str) -> Container:
        answer = await self._ask("inspect", name, "GET", "json")
        try:
            return parse_container(json.loads(answer.body))
        except (ValueError, KeyError, TypeError) as error:
            raise EngineError(
                f"Cannot inspect container {name!r}: the answer is not the engine's ({type(error).__name__}: {error}); "
                "see that the proxy leaves it as it is."
            ) from None

    async def start(self, name: str) -> None:
        await self._ask("start", name, "POST", "start", _START_SECONDS)

    async def stop(self, name: str, seconds: int) -> None:
        await self._ask("stop", name, "POST", f"stop?t={seconds}", seconds + _BEYOND_STOP_SECONDS)

    async def connect(self, network: str) -> None:
        answer = await self._exchange("join", f"network {network!r}", "POST", f"/networks/{network}/connect")
        # The engine has no other word for it than this, with 403.
        if answer.status != 200 and b"already exists in network" not in answer.body:
            raise EngineError(
                f"Cannot join network {network!r}: {answer.status}, {_message(answer.body)}; see its log."
            )

    async def has_ended(self, name: str) -> bool:
        try:
            answer = await self._ask("wait for", name, "POST", "wait", _WAIT_SECONDS)
        except MissingContainerError:
            return True
        except UnreachableError:
            return False
        return b"StatusCode" in answer.body  # it is empty where the answer broke off

    async def _ask(
        self, doing: str, name: str, method: str, verb: str, timeout_seconds: float = _REQUEST_SECONDS
    ) -> Answer:
        path = f"/containers/{name}/{verb}"
        answer = await self._exchange(doing, f"container {name!r}", method, path, timeout_seconds)
        if answer.status in (200, 204, 304):  # 304: it is so already
            return answer
        if answer.status == 404:
            raise MissingContainerError(
                f"Cannot {doing} container {name!r}: there is none; apply the project that makes it."
            )
        raise EngineError(f"Cannot {doing} container {name!r}: {answer.status}, {_message(answer.body)}; see its log.")

    async def _exchange(
        self, doing: str, what: str, method: str, path: str, timeout_seconds: float = _REQUEST_SECONDS
    ) -> Answer:
        try:
            return await exchange(self._peer, method, path, timeout_seconds=timeout_seconds)
        except ExchangeError as error:
            raise UnreachableError(
                f"Cannot {doing} {what}: the engine's proxy at {self._peer.host}:{self._peer.port} gave {error}; "
                "see that it runs."
            ) from None


def parse_container(found: Any) -> Container:
    """Return the engine's inspect answer as a value.

    :raises KeyError, TypeError, ValueError: it is none.
    """
    state = found["State"]
    networks = (found.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = [
        network.get(kind) for network in networks.values() if network for kind in ("IPAddress", "GlobalIPv6Address")
    ]
    return Container(
        id=str(found["Id"]),
        status=str(state["Status"]),
        exit_code=int(state["ExitCode"]),
        oom_killed=bool(state.get("OOMKilled")),
        started_at=str(state["StartedAt"]),
        error=str(state.get("Error") or ""),
        addresses=tuple(str(address) for address in addresses if address),
    )


def _message(body: bytes) -> str:
    """Return what the engine said, shortened; a proxy's refusal is a page."""
    try:
        return str(json.loads(body)["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return "with no reason given (does the proxy allow it?)"
