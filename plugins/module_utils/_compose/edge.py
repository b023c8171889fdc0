# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge's file (Traefik's dynamic configuration with containers in the place of services), and what came of it.

A service's name leads to all its containers, so it cannot say "the new copy, not the old one"; a container's can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._errors import PlatformError
from .yaml_text import render_model

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

_API_SECONDS = 2.0
_KINDS = ("http", "tcp", "udp")

# scheme and user, host (IPv6 in brackets), port and path: ``http://web:80/x``, ``web:5432``, ``h2c://[::1]:80``.
_ADDRESS = re.compile(
    r"(?P<before>(?:[^/?#]*://)?(?:[^/?#@]*@)?)(?P<host>\[[^\]]*\](?=[:/?#]|\Z)|[^:/?#\[\]]*)(?P<after>.*)", re.DOTALL
)
# Go's template opening. The second brace cannot be structure: after `{` JSON has a name or `}`, so it stands in a
# text and may be written as an escape.
_TEMPLATE = re.compile(r"(?<=\{)\{")


def render_edge(config: Mapping[str, Any], containers: Mapping[str, Sequence[str]]) -> str:
    """Return ``config`` as JSON, which is YAML, where each server that is a service became its containers.

    :param containers: service to the names of the containers that get its traffic; a server with any other host stays
        as it is, and a service without a container loses its servers, so Traefik answers 503.
    """
    text = render_model({name: _swap_servers(value, containers) for name, value in config.items()}, indent=1)
    return _TEMPLATE.sub(r"\\u007b", text) + "\n"


def _swap_servers(value: object, containers: Mapping[str, Sequence[str]]) -> object:
    if isinstance(value, Mapping):
        return {
            key: [entry for server in inner for entry in _copies(server, containers)]
            if key == "servers" and isinstance(inner, (list, tuple))
            else _swap_servers(inner, containers)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_swap_servers(inner, containers) for inner in value]
    return value


def _copies(server: object, containers: Mapping[str, Sequence[str]]) -> list[object]:
    if not isinstance(server, Mapping):
        return [server]
    address = server_address(server)
    names = containers.get(server_host(address))
    if names is None:
        return [server]
    key = "url" if server.get("url") else "address"
    return [{**server, key: with_host(address, name)} for name in names]


def server_address(server: Mapping[str, Any]) -> str:
    """Return the URL (HTTP) or the address (TCP, UDP) of one entry of ``servers``; empty where there is neither."""
    return str(server.get("url") or server.get("address") or "")


def server_host(address: str) -> str:
    """Return the host of ``scheme://user@host:port/path`` or ``host:port``; an IPv6 address keeps its brackets."""
    found = _ADDRESS.fullmatch(address)
    return found["host"] if found else ""


def with_host(address: str, host: str) -> str:
    """Return ``address`` with another host, all else as it is."""
    found = _ADDRESS.fullmatch(address)
    return f"{found['before']}{host}{found['after']}" if found else address


def server_addresses(config: object) -> Iterator[tuple[str, str]]:
    """Yield (host, whole URL or address) of every server under ``servers``, wherever in the data."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            if key == "servers" and isinstance(value, (list, tuple)):
                addresses = (server_address(server) for server in value if isinstance(server, Mapping))
                yield from ((server_host(address), address) for address in addresses)
            else:
                yield from server_addresses(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from server_addresses(value)


def listed_servers(api_url: str) -> frozenset[str]:
    """Return the URLs and addresses that Traefik sends requests to now, as its API lists them.

    The API answers with the configuration that its routers were built from, so what it does not list gets no new
    request. Source: Traefik's manual, "API", endpoints ``/api/{http,tcp,udp}/services``.

    :raises PlatformError: nobody answers there, or not as Traefik does.
    """
    from urllib.request import ProxyHandler, build_opener

    # The edge is on this host or in its private network: a proxy from the environment would only lead astray.
    opener = build_opener(ProxyHandler({}))
    found: set[str] = set()
    try:
        for kind in _KINDS:
            for service in _list_services(opener, f"{api_url.rstrip('/')}/api/{kind}/services"):
                found.update(address for _host, address in server_addresses(service))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise PlatformError(
            f"Cannot ask the edge at {api_url} for its servers: {error}; start the edge, or correct 'edge.api'."
        ) from error
    return frozenset(found)


def _list_services(opener: OpenerDirector, url: str) -> Iterator[Mapping[str, Any]]:
    page = 1
    while page:
        with opener.open(f"{url}?page={page}&per_page=500", timeout=_API_SECONDS) as answer:
            services = json.load(answer)
            following = int(answer.headers.get("X-Next-Page", "1"))
        yield from services
        # After the last page the API names the first one.
        page = following if following > page else 0
