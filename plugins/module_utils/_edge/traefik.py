# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes as Traefik's dynamic configuration, for the file provider.

What all routes share (security headers, rate limit, admin login, TLS options) is defined once, in the edge's own file;
the names here are how every other file refers to it. Whether a certificate comes from ACME or from files is decided at
the entry point and in that file too: an HTTP router without ``tls`` takes its entry point's, so no project knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .routes import INTERNAL_SUFFIX, Route

HTTP_ENTRY_POINT = "websecure"
POSTGRES_ENTRY_POINT = "postgres"

#: Defined by role traefik in its own dynamic file.
SECURITY_HEADERS = "security-headers@file"
RATE_LIMIT = "rate-limit@file"
ADMIN_LOGIN = "admin@file"
#: With ALPN ``postgresql``: libpq 17 offers it and hangs up on a server that does not know it.
POSTGRES_TLS_OPTIONS = "postgres@file"

Section = dict[str, Any]


def render_routes(routes: Iterable[Route]) -> Section:
    """Return dynamic configuration; the URL of a server names a Compose service, as ``edge.config`` wants it.

    Source: Traefik 3.7's manual, "Dynamic configuration with files".
    """
    http: dict[str, Section] = {"routers": {}, "services": {}, "middlewares": {}, "serversTransports": {}}
    tcp: dict[str, Section] = {"routers": {}, "services": {}, "middlewares": {}, "serversTransports": {}}
    for route in routes:
        if route.kind == "http":
            _add_http(http, route)
        else:
            _add_postgres(tcp, route)
    # Traefik refuses a file with an empty section ("cannot be a standalone element").
    sections = {"http": _without_empty(http), "tcp": _without_empty(tcp)}
    return _without_empty(sections)


def _without_empty(sections: Section) -> Section:
    return {name: value for name, value in sections.items() if value}


def _add_http(http: dict[str, Section], route: Route) -> None:
    http["middlewares"].update(_own_middlewares(route))
    http["routers"][route.name] = {
        "rule": _http_rule(route),
        "entryPoints": [HTTP_ENTRY_POINT],
        "service": route.service if route.service.endswith(INTERNAL_SUFFIX) else route.name,
        "middlewares": _middlewares(route),
    }
    if route.service.endswith(INTERNAL_SUFFIX):
        return
    balancer: Section = {"servers": [{"url": f"{route.scheme}://{_address(route)}"}]}
    if route.scheme == "https":
        http["serversTransports"][route.name] = _verification(route)
        balancer["serversTransport"] = route.name
    http["services"][route.name] = {"loadBalancer": balancer}


def _address(route: Route) -> str:
    return f"[{route.service}]:{route.port}" if ":" in route.service else f"{route.service}:{route.port}"


def _verification(route: Route) -> Section:
    """Return how the service's certificate is tried: the URL will name a container, the certificate the service."""
    trusted = {"rootCAs": [route.authority]} if route.authority else {}
    return {"serverName": route.server_name or route.service, **trusted}


def _own_middlewares(route: Route) -> Section:
    made: Section = {}
    if route.allowed_ranges:
        made[f"{route.name}-ranges"] = {"ipAllowList": {"sourceRange": list(route.allowed_ranges)}}
    if route.rate is not None:
        made[f"{route.name}-rate"] = {"rateLimit": {"average": route.rate.average, "burst": route.rate.burst}}
    if route.headers:
        made[f"{route.name}-headers"] = {"headers": dict(route.headers)}
    if route.buffering_bytes is not None:
        made[f"{route.name}-buffering"] = {"buffering": {"memRequestBodyBytes": route.buffering_bytes}}
    return made


def _middlewares(route: Route) -> list[str]:
    """Return the chain: who may come at all, how often, as whom; what a request costs comes last."""
    chain = [
        (f"{route.name}-ranges", bool(route.allowed_ranges)),
        (SECURITY_HEADERS, True),
        (f"{route.name}-rate", route.rate is not None),
        (RATE_LIMIT, route.rate is None),
        (ADMIN_LOGIN, route.auth == "admin"),
        *((name, True) for name in route.middlewares),
        (f"{route.name}-headers", bool(route.headers)),
        (f"{route.name}-buffering", route.buffering_bytes is not None),
    ]
    return [name for name, is_wanted in chain if is_wanted]


def _add_postgres(tcp: dict[str, Section], route: Route) -> None:
    ranges = f"{route.name}-ranges"
    tcp["middlewares"][ranges] = {"ipAllowList": {"sourceRange": list(route.allowed_ranges)}}
    tcp["routers"][route.name] = {
        "rule": _any_of("HostSNI", route),
        "entryPoints": [POSTGRES_ENTRY_POINT],
        "service": route.name,
        "middlewares": [ranges],
        "tls": {"options": POSTGRES_TLS_OPTIONS},
    }
    balancer: Section = {"servers": [{"address": _address(route)}]}
    if route.authority:
        # PostgreSQL's own way to TLS is not spoken to the service: it is another edge, which takes TLS at once too.
        balancer["servers"][0]["tls"] = True
        tcp["serversTransports"][route.name] = {"tls": _verification(route)}
        balancer["serversTransport"] = route.name
    tcp["services"][route.name] = {"loadBalancer": balancer}


def _http_rule(route: Route) -> str:
    hosts = _any_of("Host", route)
    if not route.path:
        return hosts
    # A longer rule goes first, so a path wins over the rest of its host.
    return (f"({hosts})" if len(route.hosts) > 1 else hosts) + f" && PathPrefix(`{route.path}`)"


def _any_of(matcher: str, route: Route) -> str:
    return " || ".join(f"{matcher}(`{host}`)" for host in route.hosts)
