# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services: which container each is, how it is woken, and what it needs of the GPUs.

The file::

    {"format": 1, "gpus": {"0": 81559}, "services": [{
        "name": "chat", "container": "site-inference-chat-1", "address": "site-inference-chat-1", "port": 8080,
        "network": "site-inference_chat", "scopes": ["language"],
        "vram_mib": {"0": 24000}, "idle_seconds": 900, "hold_seconds": 120, "wake_seconds": 600, "stop_seconds": 30,
        "ready": {"path": "/health", "status": 200},
        "warm_up": {"method": "POST", "path": "/v1/completions", "body": "{...}", "content_type": "application/json"}}]}

``gpus`` is what services may use of each GPU together; index or UUID, as ``vram_mib`` names it. ``address`` is the
name that the gate dials. ``network`` is one that the service has for itself, into which the gate is brought before the
service wakes; without one it is in a network of the gate's.
``scopes`` are what keys may have in the place of its name, which may be left out. One more container of a service is a
service with ``replica_of``, the name by which it is asked for. Without ``idle_seconds`` a service is never put to sleep
for being idle, only for another one that needs its GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .files import Fields, parse_fields

#: They stand in paths and headers as they are, so nothing here can be more than one part of either.
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_PATH = re.compile(r"/[!-~]*")
_METHODS = ("GET", "POST")
_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+/;= -]{1,128}")
_DAY = 86400.0
MOST_MIB = 1 << 24
Mebibytes = Mapping[str, int]


@dataclass(frozen=True)
class Call:
    """An HTTP request of ours to a service, and the status that means success."""

    path: str
    status: int = 200
    method: str = "GET"
    body: str = ""
    content_type: str = ""
    timeout_seconds: float = 5.0


@dataclass(frozen=True)
class ServiceConfig:
    """What is declared of a service. ``idle_seconds`` is None where it may stay awake for ever.

    ``scopes``: those of keys that open it, its own name among them.
    """

    name: str
    container: str
    address: str
    port: int
    network: str
    scopes: frozenset[str]
    vram_mib: Mebibytes
    idle_seconds: float | None
    hold_seconds: float
    wake_seconds: float
    stop_seconds: int
    ready: Call
    warm_up: Call | None
    replica_of: str = ""


@dataclass(frozen=True)
class Declared:
    """All services by name, and what they may use of each GPU together."""

    services: Mapping[str, ServiceConfig]
    budget_mib: Mebibytes

    def replicas(self) -> dict[str, tuple[str, ...]]:
        """Return the containers of each service that may be asked for, by their names; its own is the first."""
        firsts = [name for name, service in self.services.items() if not service.replica_of]
        return {first: (first, *self._further(first)) for first in firsts}

    def _further(self, first: str) -> list[str]:
        return [name for name, service in self.services.items() if service.replica_of == first]


def parse_services(content: bytes, path: str) -> Declared:
    """Return the services that a file declares.

    :raises GatewayError: it is not of that form, two share a name or a container, or one can never be awake.
    """
    fields = parse_fields(content, path)
    fields.only("format", "gpus", "services")
    budget = fields.numbers("gpus", least=0, most=MOST_MIB)
    found = [(_parse_service(inner), inner) for inner in fields.objects("services")]
    for service, inner in found:
        _check_budget(service, budget, inner)
    _check_distinct(fields, "name", (service.name for service, _inner in found))
    _check_distinct(fields, "container", (service.container for service, _inner in found))
    firsts = {service.name for service, _inner in found if not service.replica_of}
    for service, inner in found:
        if service.replica_of and service.replica_of not in firsts:
            raise inner.wrong(f"is a replica of {service.replica_of!r}, which is none of {', '.join(sorted(firsts))}")
    return Declared({service.name: service for service, _inner in found}, budget)


def _parse_service(fields: Fields) -> ServiceConfig:
    fields.only(
        "name", "container", "address", "port", "network", "scopes", "vram_mib", "idle_seconds", "hold_seconds",
        "wake_seconds", "stop_seconds", "ready", "warm_up", "replica_of",
    )  # fmt: skip
    ready, warm_up = fields.inner("ready"), fields.inner("warm_up")
    if ready is None:
        raise fields.wrong("has no ready")
    never = fields.found.get("idle_seconds") is None
    return ServiceConfig(
        name=_matching(fields, "name", _NAME),
        container=_matching(fields, "container", _CONTAINER),
        address=_matching(fields, "address", _ADDRESS),
        port=int(fields.number("port", least=1, most=65535)),
        network=_matching(fields, "network", _CONTAINER) if "network" in fields.found else "",
        scopes=_parse_scopes(fields),
        vram_mib=fields.numbers("vram_mib", least=1, most=MOST_MIB),
        idle_seconds=None if never else fields.number("idle_seconds", least=1, most=365 * _DAY),
        hold_seconds=fields.number("hold_seconds", 120, least=0, most=3600),
        wake_seconds=fields.number("wake_seconds", 600, least=1, most=_DAY),
        stop_seconds=int(fields.number("stop_seconds", 30, least=0, most=3600)),
        ready=_parse_call(ready),
        warm_up=None if warm_up is None else _parse_call(warm_up, timeout_seconds=60.0),
        replica_of=fields.text("replica_of", ""),
    )


def _parse_scopes(fields: Fields) -> frozenset[str]:
    scopes = fields.texts("scopes", [])
    if wrong := [scope for scope in scopes if not _NAME.fullmatch(scope)]:
        raise fields.wrong(f"has the scope {wrong[0]!r}, which is not of the form {_NAME.pattern}")
    return frozenset((fields.text("name"), *scopes))


def _parse_call(fields: Fields, timeout_seconds: float = 5.0) -> Call:
    fields.only("path", "status", "method", "body", "content_type", "timeout_seconds")
    method, content_type = fields.text("method", "GET"), fields.text("content_type", "")
    if method not in _METHODS:
        raise fields.wrong(f"has method {method!r}, which is none of {', '.join(_METHODS)}")
    if content_type and not _CONTENT_TYPE.fullmatch(content_type):
        raise fields.wrong(f"has content_type {content_type!r}, which is none")
    return Call(
        path=_matching(fields, "path", _PATH),
        status=int(fields.number("status", 200, least=100, most=599)),
        method=method,
        body=fields.text("body", ""),
        content_type=content_type,
        timeout_seconds=fields.number("timeout_seconds", timeout_seconds, least=0.1, most=3600),
    )


def _matching(fields: Fields, name: str, form: re.Pattern[str]) -> str:
    value = fields.text(name)
    if not form.fullmatch(value):
        raise fields.wrong(f"has {name} {value!r}, which is not of the form {form.pattern}")
    return value


def _check_budget(service: ServiceConfig, budget: Mebibytes, fields: Fields) -> None:
    for gpu, wanted in service.vram_mib.items():
        if gpu not in budget:
            raise fields.wrong(f"wants GPU {gpu!r}, which is none of {', '.join(sorted(budget)) or 'no GPUs'}")
        if wanted > budget[gpu]:
            raise fields.wrong(f"wants {wanted} MiB of GPU {gpu!r}, which has {budget[gpu]}")


def _check_distinct(fields: Fields, what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise fields.wrong(f"has two services with the {what} {value!r}")
        seen.add(value)
