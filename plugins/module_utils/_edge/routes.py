# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes as a role declares them, read and checked before any of them reaches Traefik.

Traefik drops a router that it cannot build and says so in its log alone, so whatever it would drop is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .._errors import PlatformError

Kind = Literal["http", "postgres"]
Auth = Literal["none", "admin"]
Scheme = Literal["http", "https"]

#: A service of Traefik itself, such as its dashboard; it has no port.
INTERNAL_SUFFIX = "@internal"

_KEYS = (
    "name", "hosts", "service", "port", "kind", "auth", "buffering_bytes", "headers", "rate", "middlewares",
    "allowed_ranges", "scheme", "path", "authority", "server_name",
)  # fmt: skip
# What only means something in HTTP.
_HTTP_KEYS = ("auth", "buffering_bytes", "headers", "rate", "middlewares", "scheme", "path")
_RATE_KEYS = ("average", "burst")

# No quote, backtick or parenthesis can get from these into a rule or a URL.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*|[a-z]+@internal|[0-9a-fA-F]*:[0-9a-fA-F:.]+")
_FILE = re.compile(r"(?:/[A-Za-z0-9._-]+)+")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_MIDDLEWARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:@[a-z]+)?")
# RFC 1123: labels of up to 63 characters, 253 in all.
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class Rate:
    """Requests per second of one client address, and how many at once; an average of 0 means no limit."""

    average: int
    burst: int


@dataclass(frozen=True)
class Route:
    """Names of hosts, or a path below them, that lead to a port of a Compose service."""

    name: str
    hosts: tuple[str, ...]
    service: str
    #: 0 for a service of Traefik itself.
    port: int
    kind: Kind = "http"
    auth: Auth = "none"
    buffering_bytes: int | None = None
    #: Data of a Traefik middleware ``headers`` of its own.
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: Instead of the edge's own limit.
    rate: Rate | None = None
    #: Further middlewares by name, after the ones of ours.
    middlewares: tuple[str, ...] = ()
    #: Who may connect; of an HTTP route empty for everybody.
    allowed_ranges: tuple[str, ...] = ()
    scheme: Scheme = "http"
    #: What the request's path begins with, and is passed on; empty for every path.
    path: str = ""
    #: File of whoever signs for the service, where the edge reaches it by TLS and no public authority does; also of
    #: PostgreSQL, to which the edge then speaks TLS.
    authority: str = ""
    #: Name in the service's certificate; empty for that of the service.
    server_name: str = ""


def parse_routes(declared: object) -> tuple[Route, ...]:
    """Return the routes that a role declares.

    :raises PlatformError: one of them cannot be meant, or two are in each other's way.
    """
    if not isinstance(declared, Sequence) or isinstance(declared, (str, bytes)):
        raise PlatformError(f"Cannot make routes: {_quote(declared)} is no list; give a list of routes.")
    routes = tuple(_parse_route(entry, number) for number, entry in enumerate(declared, start=1))
    _refuse_twice([route.name for route in routes], "Cannot make route {0}: two routes have this name; rename one.")
    for kind in ("http", "postgres"):
        places = [f"{host}{route.path}" for route in routes if route.kind == kind for host in route.hosts]
        _refuse_twice(places, "Cannot make routes: host {0} leads to two services; name it in one route.")
    return routes


def _parse_route(entry: object, number: int) -> Route:
    if not isinstance(entry, Mapping):
        raise PlatformError(
            f"Cannot make route {number} of the list: it is {_quote(entry)}; give a mapping with "
            "'name', 'hosts', 'service' and 'port'."
        )
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PlatformError(
            f"Cannot make route {number} of the list: its name is {_quote(name)}; use up to 63 lower-case letters, "
            "digits and '-'."
        )
    reader = _Reader(entry, f"Cannot make route {name!r}")
    reader.refuse_unknown(_KEYS)
    kind = cast(Kind, reader.choice("kind", ("http", "postgres")))
    if kind == "postgres":
        _check_postgres(reader)
    service = reader.text("service", _SERVICE, "the name of a Compose service, or Traefik's own such as 'api@internal'")
    return Route(
        name=name,
        hosts=_parse_hosts(reader),
        service=service,
        port=_parse_port(reader, service),
        kind=kind,
        auth=cast(Auth, reader.choice("auth", ("none", "admin"))),
        buffering_bytes=reader.number("buffering_bytes", 1, 2**40) if reader.has("buffering_bytes") else None,
        headers=reader.mapping("headers"),
        rate=_parse_rate(reader),
        middlewares=reader.texts("middlewares", _MIDDLEWARE, "names of middlewares, such as 'compress@file'"),
        allowed_ranges=_parse_ranges(reader),
        scheme=cast(Scheme, reader.choice("scheme", ("http", "https"))),
        path=reader.text("path", _PATH, "the beginning of a path, such as '/api'") if reader.has("path") else "",
        authority=reader.text("authority", _FILE, "the path of a file") if reader.has("authority") else "",
        server_name=reader.text("server_name", _HOST, "a DNS name") if reader.has("server_name") else "",
    )


def _check_postgres(reader: _Reader) -> None:
    for key in _HTTP_KEYS:
        if reader.has(key):
            raise reader.refuse(f"{key!r} is of HTTP and this route is of PostgreSQL", f"remove {key!r}")
    if not reader.has("allowed_ranges"):
        raise reader.refuse(
            "it opens a database and 'allowed_ranges' is missing",
            "give the ranges that may connect, ['0.0.0.0/0', '::/0'] for everybody",
        )


def _parse_hosts(reader: _Reader) -> tuple[str, ...]:
    hosts = reader.texts("hosts", _HOST, "DNS names in lower case, without '*', scheme and port")
    if not hosts:
        raise reader.refuse("it has no host", "give 'hosts', a list of DNS names")
    return hosts


def _parse_port(reader: _Reader, service: str) -> int:
    if not service.endswith(INTERNAL_SUFFIX):
        return reader.number("port", 1, 65535)
    if reader.has("port"):
        raise reader.refuse(f"service {service!r} is in Traefik itself and has no port", "remove 'port'")
    return 0


def _parse_rate(reader: _Reader) -> Rate | None:
    if not reader.has("rate"):
        return None
    inner = _Reader(reader.mapping("rate"), reader.where, above="rate.")
    inner.refuse_unknown(_RATE_KEYS)
    average = inner.number("average", 0, 10**6)
    return Rate(average, inner.number("burst", 1, 10**6) if inner.has("burst") else max(1, average))


def _parse_ranges(reader: _Reader) -> tuple[str, ...]:
    ranges = reader.texts("allowed_ranges", re.compile(r"[0-9a-fA-F:.]+(?:/[0-9]+)?"), "ranges such as '10.0.0.0/8'")
    if reader.has("allowed_ranges") and not ranges:
        raise reader.refuse("'allowed_ranges' is empty, so nobody could connect", "give the ranges that may connect")
    for text in ranges:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise reader.refuse(f"{error}", "give 'allowed_ranges' such as '10.0.0.0/8'") from None
    return ranges


@dataclass(frozen=True)
class _Reader:
    """The keys of one mapping, each read with its check."""

    entry: Mapping[Any, Any]
    #: Begins each message: *Cannot make route 'x'*.
    where: str
    #: Stands before the names of keys, ``rate.``.
    above: str = ""

    def has(self, key: str) -> bool:
        # Ansible's templates leave an empty value as null.
        return self.entry.get(key) is not None

    def refuse(self, cause: str, advice: str) -> PlatformError:
        return PlatformError(f"{self.where}: {cause}; {advice}.")

    def refuse_unknown(self, known: Sequence[str]) -> None:
        if unknown := sorted(set(map(str, self.entry)) - set(known)):
            raise self.refuse(f"there is no key '{self.above}{unknown[0]}'", f"known are {', '.join(sorted(known))}")

    def text(self, key: str, pattern: re.Pattern[str], meaning: str) -> str:
        return self._check(key, self.entry.get(key), pattern, meaning)

    def texts(self, key: str, pattern: re.Pattern[str], meaning: str) -> tuple[str, ...]:
        if not self.has(key):
            return ()
        values = self.entry[key]
        if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
            raise self.refuse(f"'{self.above}{key}' is {_quote(values)}", f"give a list of {meaning}")
        return tuple(self._check(key, value, pattern, meaning) for value in values)

    def _check(self, key: str, value: object, pattern: re.Pattern[str], meaning: str) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            found = "is missing" if value is None else f"has {_quote(value)}"
            raise self.refuse(f"'{self.above}{key}' {found}", f"give {meaning}")
        return str(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return the value; the first one where there is none."""
        value = self.entry[key] if self.has(key) else choices[0]
        if value not in choices:
            raise self.refuse(f"'{self.above}{key}' is {_quote(value)}", f"choose {' or '.join(choices)}")
        return str(value)

    def number(self, key: str, least: int, most: int) -> int:
        value = self.entry.get(key)
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value)  # a template's result is text
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.refuse(f"'{self.above}{key}' is {_quote(value)}", f"give a number from {least} to {most}")
        return int(value)

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self.entry.get(key) if self.has(key) else {}
        if not isinstance(value, Mapping):
            raise self.refuse(f"'{self.above}{key}' is {_quote(value)}", "give a mapping")
        return value


def _refuse_twice(values: Sequence[str], message: str) -> None:
    for value in values:
        if values.count(value) > 1:
            raise PlatformError(message.format(repr(str(value))))


def _quote(value: object) -> str:
    return "missing" if value is None else repr(value)[:80]
