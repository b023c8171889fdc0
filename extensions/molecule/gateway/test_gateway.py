# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate and the gateway on their own: closed, with the keys of their clients, and there after a restart."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server

_ASK = (
    "import http.client, sys; c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10); "
    "c.request(*sys.argv[3:5]); a = c.getresponse(); print(a.status); print(a.read().decode())"
)


def gate(server: Server, port: int, path: str) -> tuple[str, str]:
    """Return what the gate answers to a program in the edge's network."""
    address = server.must(
        "docker inspect modelyard-gateway-pod-1 --format "
        "'{{(index .NetworkSettings.Networks \"modelyard-edge\").IPAddress}}'"
    )
    told = server.must(f"python3 -c {shlex.quote(_ASK)} {address} {port} GET {shlex.quote(path)}")
    status, _line, body = told.partition("\n")
    return status, body


def engine(server: Server, method: str, path: str) -> str:
    """Return the status of a question to the engine's proxy, from the gateway."""
    asked = f"python -c {shlex.quote(_ASK)} engine 2375 {method} {shlex.quote(path)}"
    return server.inside("gateway/gateway", asked).partition("\n")[0]


def test_who_names_no_service_gets_nowhere(server: Server) -> None:
    assert gate(server, 8080, "/") == ("421", '{"error":{"code":421,"message":"No service has this name."}}')
    assert gate(server, 8081, "/chat/v1")[0] == "404"
    assert gate(server, 8080, "/-/auth")[0] == "404"


def test_the_changed_option_is_a_client_with_its_rate_and_the_digest_of_its_key(server: Server) -> None:
    text = server.must("cat /opt/modelyard/projects/modelyard-gateway/config/keys.json")
    clients = json.loads(text)["clients"]
    key = server.secret("gateway_key_notebook_1")
    assert clients["notebook"]["rate"] == {"per_minute": 30, "burst": 7}
    assert clients["notebook"]["keys"][0]["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert [one["id"] for one in clients["atlas"]["keys"]] == ["old", "new"]
    assert key not in text


def test_the_gateway_knows_the_keys(server: Server) -> None:
    metrics = server.inside("gateway/gateway", f"python -c {shlex.quote(_ASK)} 127.0.0.1 9090 GET /-/metrics")
    assert "modelyard_gateway_keys 3" in metrics


def test_nothing_of_the_engine_is_told_but_that_it_is_there(server: Server) -> None:
    assert engine(server, "GET", "/_ping") == "200"
    for path in ("/info", "/containers/json", "/containers/modelyard-traefik-traefik-1/json"):
        assert engine(server, "GET", path) == "403"
    assert engine(server, "POST", "/containers/modelyard-traefik-traefik-1/stop?t=1") == "403"


def test_it_publishes_nothing_and_cannot_write(server: Server) -> None:
    assert server.must("docker ps --filter name=modelyard-gateway --format '{{.Ports}}'").strip() == ""
    for part in ("gate", "gateway", "engine"):
        assert server.run(f"docker exec modelyard-gateway-{part}-1 touch /etc/x").rc != 0
    assert server.must("stat -c '%u %a' /opt/modelyard/state/gateway") == "10007 700"


def test_without_the_gateway_its_health_is_not_told_by_the_gate(server: Server) -> None:
    server.must("docker stop modelyard-gateway-gateway-1")
    assert gate(server, 8081, "/-/health/chat")[0] == "503"
    server.must("docker start modelyard-gateway-gateway-1")
    server.soon("docker ps --filter name=modelyard-gateway-gateway-1 --filter health=healthy --quiet | grep .")
    assert gate(server, 8081, "/-/health/chat")[0] == "404"


def test_after_a_restart_of_the_host_gate_and_gateway_are_there(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    before = restarted()
    assert server.containers() == before
    assert gate(server, 8080, "/")[0] == "421"
    assert gate(server, 8081, "/-/health/chat")[0] == "404"
