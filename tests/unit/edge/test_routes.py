# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.modelyard.platform.plugins.filter.traefik_routes import FilterModule
from ansible_collections.modelyard.platform.plugins.module_utils._compose.edge import server_addresses

traefik_routes = FilterModule().filters()["traefik_routes"]

WEB: dict[str, Any] = {"name": "web", "hosts": ["web.example.org"], "service": "app", "port": 8080}
DATABASE: dict[str, Any] = {
    "name": "db", "kind": "postgres", "hosts": ["db.example.org"], "service": "pg", "port": 5432,
    "allowed_ranges": ["192.0.2.0/24"],
}  # fmt: skip


def middlewares_of(**more: Any) -> list[str]:
    chain: list[str] = traefik_routes([{**WEB, **more}])["http"]["routers"]["web"]["middlewares"]
    return chain


def test_a_plain_route_gets_tls_security_headers_and_the_rate_limit() -> None:
    assert traefik_routes([WEB]) == {
        "http": {
            "routers": {
                "web": {
                    "rule": "Host(`web.example.org`)",
                    "entryPoints": ["websecure"],
                    "service": "web",
                    "middlewares": ["security-headers@file", "rate-limit@file"],
                }
            },
            "services": {"web": {"loadBalancer": {"servers": [{"url": "http://app:8080"}]}}},
        }
    }


def test_a_postgres_route_is_a_tcp_router_with_alpn_and_allowed_ranges() -> None:
    assert traefik_routes([DATABASE]) == {
        "tcp": {
            "routers": {
                "db": {
                    "rule": "HostSNI(`db.example.org`)",
                    "entryPoints": ["postgres"],
                    "service": "db",
                    "middlewares": ["db-ranges"],
                    "tls": {"options": "postgres@file"},
                }
            },
            "services": {"db": {"loadBalancer": {"servers": [{"address": "pg:5432"}]}}},
            "middlewares": {"db-ranges": {"ipAllowList": {"sourceRange": ["192.0.2.0/24"]}}},
        }
    }


def test_no_route_is_an_empty_configuration() -> None:
    assert traefik_routes([]) == {}


def test_compose_project_finds_the_services_that_servers_name() -> None:
    config = traefik_routes([WEB, DATABASE])
    assert sorted(server_addresses(config)) == [("app", "http://app:8080"), ("pg", "pg:5432")]


def test_several_hosts_are_alternatives() -> None:
    made = traefik_routes([{**WEB, "hosts": ["a.example.org", "b.example.org"]}])
    assert made["http"]["routers"]["web"]["rule"] == "Host(`a.example.org`) || Host(`b.example.org`)"


def test_two_services_may_share_a_host_by_their_paths() -> None:
    routes = [
        WEB, {**WEB, "name": "api", "path": "/api", "port": 8081},
        {**WEB, "name": "files", "hosts": ["a.example.org", "b.example.org"], "path": "/v1/files"},
    ]  # fmt: skip
    routers = traefik_routes(routes)["http"]["routers"]
    assert {name: router["rule"] for name, router in routers.items()} == {
        "web": "Host(`web.example.org`)",
        "api": "Host(`web.example.org`) && PathPrefix(`/api`)",
        "files": "(Host(`a.example.org`) || Host(`b.example.org`)) && PathPrefix(`/v1/files`)",
    }


def test_the_chain_asks_for_address_rate_and_login_before_it_buffers() -> None:
    more = {
        "allowed_ranges": ["10.0.0.0/8"], "rate": {"average": 5, "burst": 9}, "auth": "admin",
        "middlewares": ["compress@file"], "headers": {"customRequestHeaders": {"X-A": "b"}}, "buffering_bytes": 1024,
    }  # fmt: skip
    assert middlewares_of(**more) == [
        "web-ranges", "security-headers@file", "web-rate", "admin@file", "compress@file", "web-headers",
        "web-buffering",
    ]  # fmt: skip
    assert traefik_routes([{**WEB, **more}])["http"]["middlewares"] == {
        "web-ranges": {"ipAllowList": {"sourceRange": ["10.0.0.0/8"]}},
        "web-rate": {"rateLimit": {"average": 5, "burst": 9}},
        "web-headers": {"headers": {"customRequestHeaders": {"X-A": "b"}}},
        "web-buffering": {"buffering": {"memRequestBodyBytes": 1024}},
    }


def test_a_middleware_of_the_user_may_be_called_like_one_of_ours() -> None:
    assert middlewares_of(middlewares=["web-headers"])[-1] == "web-headers"


def test_a_rate_without_burst_allows_one_second_at_once() -> None:
    made = traefik_routes([{**WEB, "rate": {"average": 7}}])
    assert made["http"]["middlewares"]["web-rate"] == {"rateLimit": {"average": 7, "burst": 7}}


def test_an_https_service_is_verified_by_its_own_name() -> None:
    http = traefik_routes([{**WEB, "scheme": "https"}])["http"]
    assert http["services"]["web"]["loadBalancer"] == {
        "servers": [{"url": "https://app:8080"}],
        "serversTransport": "web",
    }
    assert http["serversTransports"] == {"web": {"serverName": "app"}}


def test_another_edge_is_verified_by_the_name_that_it_serves() -> None:
    far = {
        "name": "s3", "hosts": ["s3.example.org"], "service": "10.0.0.2", "port": 443, "scheme": "https",
        "server_name": "s3.example.org", "authority": "/etc/ca.pem",
    }  # fmt: skip
    database = {
        "name": "db", "kind": "postgres", "hosts": ["db.example.org"], "service": "fd00::2", "port": 5432,
        "allowed_ranges": ["0.0.0.0/0"], "server_name": "db.example.org", "authority": "/etc/ca.pem",
    }  # fmt: skip
    made = traefik_routes([far, database])
    assert made["http"]["services"]["s3"]["loadBalancer"]["servers"] == [{"url": "https://10.0.0.2:443"}]
    assert made["http"]["serversTransports"] == {"s3": {"serverName": "s3.example.org", "rootCAs": ["/etc/ca.pem"]}}
    assert made["tcp"]["services"]["db"]["loadBalancer"] == {
        "servers": [{"address": "[fd00::2]:5432", "tls": True}], "serversTransport": "db",
    }  # fmt: skip
    assert made["tcp"]["serversTransports"] == {
        "db": {"tls": {"serverName": "db.example.org", "rootCAs": ["/etc/ca.pem"]}}
    }


def test_a_service_of_traefik_itself_needs_no_server() -> None:
    route = {"name": "dashboard", "hosts": ["traefik.example.org"], "service": "api@internal", "auth": "admin"}
    http = traefik_routes([route])["http"]
    assert http["routers"]["dashboard"]["service"] == "api@internal"
    assert "services" not in http


@pytest.mark.parametrize("port", [8080, "8080"], ids=["number", "text of a template"])
def test_a_port_is_a_number_or_its_text(port: object) -> None:
    made = traefik_routes([{**WEB, "port": port}])
    assert made["http"]["services"]["web"]["loadBalancer"]["servers"] == [{"url": "http://app:8080"}]


def test_an_empty_value_is_none() -> None:
    assert traefik_routes([{**WEB, "rate": None, "headers": None, "kind": None}]) == traefik_routes([WEB])


def test_one_host_may_be_routed_in_http_and_in_postgres() -> None:
    assert set(traefik_routes([WEB, {**DATABASE, "hosts": WEB["hosts"]}])) == {"http", "tcp"}


WEB_KEYS = (
    "allowed_ranges, auth, authority, buffering_bytes, headers, hosts, kind, middlewares, name, path, port, rate, "
    "scheme, server_name, service"
)
HOSTS = "give DNS names in lower case, without '*', scheme and port."
SERVICE = "give the name of a Compose service, or Traefik's own such as 'api@internal'."

REFUSED: list[tuple[str, object, str]] = [
    ("no list", {"name": "web"}, "Cannot make routes: {'name': 'web'} is no list; give a list of routes."),
    (
        "no mapping",
        ["web"],
        "Cannot make route 1 of the list: it is 'web'; give a mapping with 'name', 'hosts', 'service' and 'port'.",
    ),
    (
        "no name",
        [WEB, {**WEB, "name": None}],
        "Cannot make route 2 of the list: its name is missing; use up to 63 lower-case letters, digits and '-'.",
    ),
    (
        "name with a backtick",
        [{**WEB, "name": "a`b"}],
        "Cannot make route 1 of the list: its name is 'a`b'; use up to 63 lower-case letters, digits and '-'.",
    ),
    (
        "unknown key",
        [{**WEB, "host": "x"}],
        f"Cannot make route 'web': there is no key 'host'; known are {WEB_KEYS}.",
    ),
    (
        "unknown key of rate",
        [{**WEB, "rate": {"average": 1, "period": 1}}],
        "Cannot make route 'web': there is no key 'rate.period'; known are average, burst.",
    ),
    (
        "same name",
        [WEB, {**WEB, "hosts": ["b.example.org"]}],
        "Cannot make route 'web': two routes have this name; rename one.",
    ),
    (
        "same host",
        [WEB, {**WEB, "name": "b"}],
        "Cannot make routes: host 'web.example.org' leads to two services; name it in one route.",
    ),
    (
        "same host and path",
        [{**WEB, "path": "/a"}, {**WEB, "name": "b", "path": "/a"}],
        "Cannot make routes: host 'web.example.org/a' leads to two services; name it in one route.",
    ),
    (
        "rule in a path",
        [{**WEB, "path": "/a`)"}],
        "Cannot make route 'web': 'path' has '/a`)'; give the beginning of a path, such as '/api'.",
    ),
    (
        "path that every request has",
        [{**WEB, "path": "/"}],
        "Cannot make route 'web': 'path' has '/'; give the beginning of a path, such as '/api'.",
    ),
    ("no host", [{**WEB, "hosts": []}], "Cannot make route 'web': it has no host; give 'hosts', a list of DNS names."),
    (
        "hosts as text",
        [{**WEB, "hosts": "a.b"}],
        (
            "Cannot make route 'web': 'hosts' is 'a.b'; "
            "give a list of DNS names in lower case, without '*', scheme and port."
        ),
    ),
    ("wildcard", [{**WEB, "hosts": ["*.a"]}], f"Cannot make route 'web': 'hosts' has '*.a'; {HOSTS}"),
    ("upper case", [{**WEB, "hosts": ["A.b"]}], f"Cannot make route 'web': 'hosts' has 'A.b'; {HOSTS}"),
    ("rule in a host", [{**WEB, "hosts": ["a`)||("]}], f"Cannot make route 'web': 'hosts' has 'a`)||('; {HOSTS}"),
    ("no service", [{**WEB, "service": None}], f"Cannot make route 'web': 'service' is missing; {SERVICE}"),
    ("service with path", [{**WEB, "service": "a/b"}], f"Cannot make route 'web': 'service' has 'a/b'; {SERVICE}"),
    (
        "port range",
        [{**WEB, "port": 70000}],
        "Cannot make route 'web': 'port' is 70000; give a number from 1 to 65535.",
    ),
    ("no port", [{**WEB, "port": None}], "Cannot make route 'web': 'port' is missing; give a number from 1 to 65535."),
    (
        "truth as port",
        [{**WEB, "port": True}],
        "Cannot make route 'web': 'port' is True; give a number from 1 to 65535.",
    ),
    (
        "port of Traefik's own",
        [{**WEB, "service": "api@internal"}],
        "Cannot make route 'web': service 'api@internal' is in Traefik itself and has no port; remove 'port'.",
    ),
    ("kind", [{**WEB, "kind": "udp"}], "Cannot make route 'web': 'kind' is 'udp'; choose http or postgres."),
    ("auth", [{**WEB, "auth": "yes"}], "Cannot make route 'web': 'auth' is 'yes'; choose none or admin."),
    ("headers", [{**WEB, "headers": ["a"]}], "Cannot make route 'web': 'headers' is ['a']; give a mapping."),
    (
        "middleware",
        [{**WEB, "middlewares": ["a b"]}],
        "Cannot make route 'web': 'middlewares' has 'a b'; give names of middlewares, such as 'compress@file'.",
    ),
    (
        "host bits",
        [{**WEB, "allowed_ranges": ["10.0.0.1/8"]}],
        "Cannot make route 'web': 10.0.0.1/8 has host bits set; give 'allowed_ranges' such as '10.0.0.0/8'.",
    ),
    (
        "nobody allowed",
        [{**WEB, "allowed_ranges": []}],
        (
            "Cannot make route 'web': 'allowed_ranges' is empty, so nobody could connect; give the ranges that may "
            "connect."
        ),
    ),
    (
        "open database",
        [{**DATABASE, "allowed_ranges": None}],
        (
            "Cannot make route 'db': it opens a database and 'allowed_ranges' is missing; give the ranges that may "
            "connect, ['0.0.0.0/0', '::/0'] for everybody."
        ),
    ),
    (
        "HTTP key of a database",
        [{**DATABASE, "auth": "admin"}],
        "Cannot make route 'db': 'auth' is of HTTP and this route is of PostgreSQL; remove 'auth'.",
    ),
]


@pytest.mark.parametrize(("declared", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_traefik_would_drop_is_refused(declared: object, message: str) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        traefik_routes(declared)
    assert str(caught.value) == message
