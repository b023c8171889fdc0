# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._compose.edge import (
    listed_servers,
    render_edge,
    server_addresses,
    server_host,
    with_host,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from hypothesis import given
from hypothesis import strategies as st

ADDRESSES = [
    pytest.param("http://web:8080", "web", "http://new:8080", id="url with a port"),
    pytest.param("http://web", "web", "http://new", id="url without a port"),
    pytest.param("https://web/a/b:c?d=e@f", "web", "https://new/a/b:c?d=e@f", id="path that looks like more"),
    pytest.param("h2c://web:50051/", "web", "h2c://new:50051/", id="another scheme"),
    pytest.param("http://me:pass@web:80", "web", "http://me:pass@new:80", id="with a user"),
    pytest.param("db:5432", "db", "new:5432", id="address of a TCP service"),
    pytest.param("web", "web", "new", id="a name alone"),
    pytest.param("http://[::1]:80/x", "[::1]", "http://new:80/x", id="IPv6 with a port"),
    pytest.param("http://[fd00::7]", "[fd00::7]", "http://new", id="IPv6 without a port"),
    pytest.param("10.0.0.7:80", "10.0.0.7", "new:80", id="IPv4"),
]


@pytest.mark.parametrize(("address", "host", "moved"), ADDRESSES)
def test_the_host_of_an_address_is_found_and_replaced_alone(address: str, host: str, moved: str) -> None:
    assert server_host(address) == host
    assert with_host(address, "new") == moved


@given(st.text())
def test_any_text_is_an_address(text: str) -> None:
    assert server_host(with_host(text, "new")) == "new"


def http(*servers: object) -> dict[str, Any]:
    return {"http": {"services": {"any": {"loadBalancer": {"servers": list(servers)}}}}}


RENDERED = [
    pytest.param(
        http({"url": "http://web:8080/base", "weight": 2}),
        {"web": ["shop-web-2"]},
        http({"url": "http://shop-web-2:8080/base", "weight": 2}),
        id="a service becomes its container, all else stays",
    ),
    pytest.param(
        http({"url": "http://web:80"}, {"url": "http://other:80"}),
        {"web": ["shop-web-1", "shop-web-2"]},
        http({"url": "http://shop-web-1:80"}, {"url": "http://shop-web-2:80"}, {"url": "http://other:80"}),
        id="replicas become a server each, a stranger stays",
    ),
    pytest.param(http({"url": "http://web:80"}), {"web": []}, http(), id="no container, no server"),
    pytest.param(
        {"tcp": {"services": {"db": {"loadBalancer": {"servers": [{"address": "db:5432"}]}}}}},
        {"db": ["shop-db-1"]},
        {"tcp": {"services": {"db": {"loadBalancer": {"servers": [{"address": "shop-db-1:5432"}]}}}}},
        id="addresses of TCP services too",
    ),
    pytest.param(
        {"http": {"middlewares": {"auth": {"forwardAuth": {"address": "http://web:80/check"}}}}},
        {"web": ["shop-web-1"]},
        {"http": {"middlewares": {"auth": {"forwardAuth": {"address": "http://web:80/check"}}}}},
        id="what is no server keeps the service's name",
    ),
    pytest.param(
        http({"url": "http://web.example.org:80"}, {"url": "http://10.0.0.1/web"}, {"weight": 1}, "web"),
        {"web": ["shop-web-1"]},
        http({"url": "http://web.example.org:80"}, {"url": "http://10.0.0.1/web"}, {"weight": 1}, "web"),
        id="only the whole host counts, and what is no server at all stays",
    ),
]


@pytest.mark.parametrize(("config", "containers", "wanted"), RENDERED)
def test_containers_take_the_place_of_services(
    config: dict[str, Any], containers: dict[str, list[str]], wanted: dict[str, Any]
) -> None:
    before = json.dumps(config)
    assert json.loads(render_edge(config, containers)) == wanted
    assert json.dumps(config) == before, "the declared data was changed"


def test_equal_data_gives_equal_text_whatever_its_order() -> None:
    assert render_edge({"a": 1, "b": 2}, {}) == render_edge({"b": 2, "a": 1}, {})


def test_no_text_opens_a_template() -> None:
    """Traefik's file provider runs Go's templates over each file before it reads it."""
    config = {"rule": "Path(`/{{ env `HOME` }}`)", "nested": {"empty": {}, "{{{": "{"}}
    text = render_edge(config, {})
    assert "{{" not in text
    assert json.loads(text) == config


# A lone surrogate is in no text that came in as UTF-8.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.booleans(), st.none(), st.lists(TEXTS))))
def test_every_text_survives_json_and_yaml(config: dict[str, Any]) -> None:
    text = render_edge({"data": config}, {})
    assert json.loads(text) == {"data": config}
    assert yaml.safe_load(text) == {"data": config}


def test_every_server_is_found_with_its_host() -> None:
    config = {
        **http({"url": "http://a:1"}, {"url": "http://[::1]:2"}),
        "tcp": {"x": [{"servers": [{"address": "b:3"}]}]},
    }
    assert list(server_addresses(config)) == [("a", "http://a:1"), ("[::1]", "http://[::1]:2"), ("b", "b:3")]


class Api(BaseHTTPRequestHandler):
    """Answers as Traefik does: one service per page, the header names the next page, after the last one the first."""

    services: dict[str, list[object]]
    answer: bytes | None = None

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        found = self.services.get(address.path, [])
        page = int(parse_qs(address.query)["page"][0])
        self.send_response(200)
        self.send_header("X-Next-Page", str(page + 1 if page < len(found) else 1))
        self.end_headers()
        self.wfile.write(self.answer or json.dumps(found[page - 1 : page]).encode())

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Api, "services", {}, raising=False)
    monkeypatch.setattr(Api, "answer", None)
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_servers_of_all_pages_and_kinds_are_listed(api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    Api.services = {
        "/api/http/services": [
            {"name": "a@file", "loadBalancer": {"servers": [{"url": "http://a:1"}]}},
            {"name": "weighted@file", "weighted": {"services": [{"name": "a"}]}},
            {"name": "b@file", "loadBalancer": {"servers": [{"url": "http://b:1"}, {"url": "http://c:1"}]}},
        ],
        "/api/tcp/services": [{"loadBalancer": {"servers": [{"address": "db:5432"}]}}],
        "/api/udp/services": [{"loadBalancer": {"servers": [{"address": "dns:53"}]}}],
    }
    wanted = {"http://a:1", "http://b:1", "http://c:1", "db:5432", "dns:53"}
    assert listed_servers(api) == wanted
    assert listed_servers(f"{api}/") == wanted


def test_an_edge_that_does_not_answer_is_named() -> None:
    with pytest.raises(PlatformError) as failure:
        listed_servers("http://127.0.0.1:9")
    assert str(failure.value) == (
        "Cannot ask the edge at http://127.0.0.1:9 for its servers: <urlopen error [Errno 111] Connection refused>; "
        "start the edge, or correct 'edge.api'."
    )


@pytest.mark.parametrize("address", ["not a url", "ftp://127.0.0.1:9"])
def test_an_address_that_is_none_is_an_error_too(address: str) -> None:
    with pytest.raises(PlatformError, match=r"^Cannot ask the edge at .*; start the edge, or correct 'edge.api'\.$"):
        listed_servers(address)


def test_a_server_that_is_no_traefik_is_an_error(api: str) -> None:
    Api.services = {}
    Api.answer = b"<html>"
    with pytest.raises(PlatformError, match=r"for its servers: Expecting value: line 1 column 1 \(char 0\);"):
        listed_servers(api)
