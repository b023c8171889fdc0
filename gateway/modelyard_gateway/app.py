# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gateway as an ASGI application, and the contract between it and the gate.

**The gate asks** ``GET /auth`` by ``auth_request``, without the body, and sets (nobody else may: ``proxy_set_header``
replaces what a client sent under these names):

========================  ==================================================
``X-Gate-Service``        the service's name, from the gate's own configuration
``X-Original-Method``     ``$request_method``, for the audit log
``X-Original-URI``        ``$request_uri``, for the audit log, which leaves the query out
``X-Original-Address``    ``$remote_addr``: who dialled the gate
``X-Original-Forwarded``  what that one said in ``X-Forwarded-For``, where the edge may be who dials
========================  ==================================================

and passes the client's ``X-API-Key`` and ``Authorization`` on as they came, all of them.

**The gateway answers** 204 with ``X-Auth-Client: CLIENT`` and ``X-Gate-Address: ADDRESS``, which of several containers
of the service the request goes to, or 403 with

======================  =================================================
``X-Gate-Status``       what the client is to get: 400, 401, 403, 429 or 503
``X-Gate-Challenge``    with 401: the value of ``WWW-Authenticate``
``X-Gate-Retry-After``  with 429 and 503: the value of ``Retry-After``
======================  =================================================

and either with ``X-Auth-Address``, the address that the request is from: :mod:`.edge` says whose word counts.

A denial is always 403, since ``auth_request`` passes 401 and 403 on and makes 500 of all else. The gate takes these
headers by ``auth_request_set`` and answers with that status in an ``error_page 403`` of its own. Any other answer, or
none, is the gateway's fault: the gate answers 503. It never lets a request through for want of an answer.

**What the gate has to keep**, or what this program counts is not true:

* ``proxy_request_buffering off`` and no ``keepalive`` to services: the gate dials right after a grant, and an open
  connection is a request in flight. ``resolver_timeout`` below ``dial_seconds``.
* ``/auth`` with ``proxy_pass_request_body off``, and ``Content-Length`` and ``Upgrade`` empty.
* ``proxy_read_timeout`` of ``/auth`` above the longest ``hold_seconds``.
* ``X-API-Key`` and ``Authorization`` end at the gate, as do ``X-Auth-*`` that a client sent.
* It answers CORS preflights itself. One that comes here is denied like any request without a key, and wakes nothing.

Others may ask ``GET /-/health/SERVICE`` (its phase alone, 503 where it could not be started; wakes nothing, needs no
key) and, by the gate's inner port, ``GET /-/metrics``; in the gate's network namespace ``GET /-/live``: 204, or 503 and
a line for each file that changed and is not used.

Who deploys asks ``POST /-/prove/SERVICE``, ``POST /-/rest/SERVICE?seconds=N`` and ``POST /-/check``, which reads the
files that changed, by :mod:`.client`, from this machine's own network namespace alone; the gate forwards none of them.
The answer is 200 with ``{"outcome": ..., "cause": ...}``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from .audit import AuditLog
from .commands import Commands, Report
from .credential import Porter
from .decision import Decision, Denial, Grant, headers_of
from .edge import Edge
from .fleet import Fleet
from .keys import Key
from .metrics import CONTENT_TYPE, Metrics, Readings
from .replicas import Replicas

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_HEALTH = "/-/health/"
_READ = frozenset(
    {
        b"x-api-key", b"authorization", b"x-gate-service", b"x-original-method", b"x-original-uri",
        b"x-original-address", b"x-original-forwarded",
    }
)  # fmt: skip
_JSON = b"application/json"
_COMMAND = re.compile(r"/-/(?:(prove|rest)/([^/]+)|check)")
_SECONDS = re.compile(rb"seconds=([0-9]{1,5})")


class Asked:
    """The headers of a question of the gate. A client's bytes are shown, never trusted."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in _READ:
                self._found.setdefault(name, []).append(value)

    def all(self, name: bytes) -> list[bytes]:
        return self._found.get(name, [])

    def keys(self) -> tuple[list[bytes], list[bytes]]:
        """Return the values of every header in which a key may be."""
        return self.all(b"x-api-key"), self.all(b"authorization")

    def only(self, name: bytes) -> str:
        """Return the value of a header of the gate's own; empty where it is missing or not there once."""
        values = self.all(name)
        return values[0].decode("latin-1") if len(values) == 1 else ""


class Gateway:
    """The application.

    :param check_files: reads the files that changed, and returns why each that is not used is not.
    """

    def __init__(
        self,
        porter: Porter,
        fleet: Fleet,
        metrics: Metrics,
        audit: AuditLog,
        wall: Callable[[], float] = time.time,
        check_files: Callable[[], Sequence[str]] = tuple,
        edge: Edge | None = None,
    ) -> None:
        self._porter, self._fleet, self._metrics, self._audit, self._wall = porter, fleet, metrics, audit, wall
        self._check_files, self._edge = check_files, edge or Edge()
        self._commands, self._replicas = Commands(fleet), Replicas(fleet)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # The gate asks by plain HTTP whatever its client speaks. Closed before it was accepted: 403.
            await send({"type": "websocket.close"})
            return
        path = scope["path"]
        if path == "/auth":
            await self._auth(scope, receive, send)
        elif command := _COMMAND.fullmatch(path):
            await self._command(scope, command[1], command[2], send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, [(b"allow", b"GET, HEAD")])
        elif path.startswith(_HEALTH):
            await self._health(path.removeprefix(_HEALTH), send)
        elif path == "/-/metrics":
            await _answer(send, 200, [(b"content-type", CONTENT_TYPE)], self._metrics.text(self._readings()))
        elif path == "/-/live":
            refusals = self._check_files()
            await _answer(send, 503 if refusals else 204, body="".join(f"{one}\n" for one in refusals).encode())
        else:
            await _answer(send, 404)

    async def _auth(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Asked(scope["headers"])
        service = asked.only(b"x-gate-service")
        checked = self._check(asked, service)
        decision = checked if isinstance(checked, Denial) else await self._let_through(asked, checked, service, receive)
        known = service if service in self._fleet.replicas else ""
        remote = self._edge.client_of(asked.only(b"x-original-address"), asked.only(b"x-original-forwarded"))
        self._metrics.decided(known, decision)
        self._audit.add(
            self._wall(),
            known,
            decision,
            method=asked.only(b"x-original-method"),
            target=asked.only(b"x-original-uri"),
            remote=remote,
        )
        headers = [*headers_of(decision), (b"x-auth-address", remote.encode("latin-1"))]
        await _answer(send, 204 if isinstance(decision, Grant) else 403, headers)

    def _check(self, asked: Asked, service: str) -> Key | Denial:
        if not service:
            return Denial("misasked")
        now = asyncio.get_running_loop().time()
        scopes = self._fleet.scopes_of(service)
        return self._porter.check(*asked.keys(), scopes, wall=self._wall(), now=now)

    async def _let_through(self, asked: Asked, key: Key, service: str, receive: Receive) -> Decision:
        replica = self._replicas.choose(service)
        if replica is None:
            return Denial("unknown_service", 5, key)
        if self._fleet.grant(replica.config.name):
            return Grant(key, replica.config.address)
        held = asyncio.ensure_future(self._fleet.hold(replica.config.name))
        left = asyncio.ensure_future(_until_disconnect(receive))
        try:
            await asyncio.wait({held, left}, return_when=asyncio.FIRST_COMPLETED)
            denial = held.result() if held.done() else Denial("gone")
        finally:
            held.cancel()
            left.cancel()
        if denial is not None:
            return dataclasses.replace(denial, key=key)
        # While it was held its key may have been revoked, or have come to its end.
        found = self._porter.look_up(*asked.keys(), self._fleet.scopes_of(service), wall=self._wall())
        return found if isinstance(found, Denial) else Grant(found, replica.config.address)

    async def _command(self, scope: Scope, verb: str | None, service: str, send: Send) -> None:
        if not _is_local(scope.get("client")):
            await _answer(send, 404)
            return
        if scope["method"] != "POST":
            await _answer(send, 405, [(b"allow", b"POST")])
            return
        seconds = _SECONDS.fullmatch(scope.get("query_string", b""))
        report = await self._carry_out(verb, service, float(seconds[1]) if seconds else None)
        await _answer(send, 200, [(b"content-type", _JSON)], json.dumps(dataclasses.asdict(report)).encode())

    async def _carry_out(self, verb: str | None, service: str, seconds: float | None) -> Report:
        if verb is None:
            refusals = self._check_files()
            return Report("refused" if refusals else "in_use", " ".join(refusals))
        if verb == "prove":
            return await self._commands.prove(service)
        return await self._commands.rest(service) if seconds is None else await self._commands.rest(service, seconds)

    async def _health(self, service: str, send: Send) -> None:
        states = list(self._replicas.all(service))
        phases = [state.phase for state in states]
        if not phases:
            await _answer(send, 404)
            return
        # Of several, what the next request would find. To a client, one that goes to sleep is asleep: it would wake it.
        found = next((phase for phase in ("awake", "waking", "sleeping", "asleep") if phase in phases), phases[0])
        phase = "asleep" if found == "sleeping" else found
        body = json.dumps({"service": service, "state": phase}).encode()
        headers = [(b"content-type", _JSON), (b"cache-control", b"no-store")]
        # What ended by itself is started by the next request; of one that did not start, a client is told the same.
        cannot_start = phase == "failed" and all(state.failures for state in states)
        await _answer(send, 503 if cannot_start else 200, headers, body)

    def _readings(self) -> Readings:
        room = self._fleet.room
        return Readings(self._fleet.states.values(), room.budget_mib, room.used_mib(), len(self._porter.keyring))


def _is_local(client: object) -> bool:
    try:
        return isinstance(client, (tuple, list)) and ipaddress.ip_address(client[0]).is_loopback
    except (ValueError, IndexError):
        return False


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, status: int, headers: Headers | None = None, body: bytes = b"") -> None:
    length = [] if status == 204 else [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": [*(headers or []), *length]})
    await send({"type": "http.response.body", "body": body})
