# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate and the gateway before a service that sleeps after half a minute: who gets in, what that wakes, and when."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Answer, Server

CHAT = "modelyard-inference-chat-1"
_ASK = (
    "import http.client, sys; c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10); "
    "c.request(*sys.argv[3:5]); a = c.getresponse(); print(a.status); print(a.read().decode())"
)
#: Twelve requests, as fast as they go.
_MANY = (
    "import http.client, json, sys; c = http.client.HTTPConnection(sys.argv[1], 8081, timeout=120); s = []\n"
    "for _ in range(12):\n"
    "    c.request('GET', '/chat/v1/models', headers={'X-API-Key': sys.argv[2]}); a = c.getresponse(); a.read()\n"
    "    s.append(a.status)\n"
    "print(json.dumps(s))"
)


def address(server: Server) -> str:
    """Return where programs of the site find the gate; nothing of it is published on the host."""
    return server.must(
        "docker inspect modelyard-gateway-pod-1 --format "
        "'{{(index .NetworkSettings.Networks \"modelyard-edge\").IPAddress}}'"
    )


def gate(server: Server, port: int, path: str, key: str = "") -> Answer:
    return server.ask(f"http://{address(server)}:{port}{path}", token=key)


def models(server: Server, key: str = "") -> Answer:
    """Ask the service what it has, over the edge."""
    return server.ask(f"https://chat-{server.release}.molecule.test/v1/models", token=key)


def phase(server: Server) -> str:
    """Return what the gateway says of the service, having found that the engine says the same."""
    found = str(json.loads(gate(server, 8081, "/-/health/chat").text)["state"])
    assert server.must(f"docker inspect {CHAT} --format '{{{{.State.Running}}}}'") == str(found == "awake").lower()
    return found


def fall_asleep(server: Server) -> None:
    assert gate(server, 8081, "/-/health/chat").status == 200
    server.soon(f"docker ps --all --filter name={CHAT} --filter status=exited --quiet | grep .")
    assert phase(server) == "asleep"


def engine(server: Server, method: str, path: str) -> str:
    """Return the status of a question to the engine's proxy, from the gateway."""
    asked = f"python -c {shlex.quote(_ASK)} engine 2375 {method} {shlex.quote(path)}"
    return server.inside("gateway/gateway", asked).partition("\n")[0]


def test_who_names_no_service_gets_nowhere(server: Server) -> None:
    answer = gate(server, 8080, "/")
    assert (answer.status, answer.text) == (421, '{"error":{"code":421,"message":"No service has this name."}}')
    assert gate(server, 8081, "/other/v1").status == 404
    assert gate(server, 8080, "/-/auth").status == 404


def test_who_is_denied_wakes_nothing(server: Server) -> None:
    fall_asleep(server)
    answer = models(server)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert models(server, "mistaken").status == 403
    assert models(server, server.secret("gateway_key_atlas_old")).status == 403, "its time is over"
    assert gate(server, 8081, "/chat/v1/models").status == 401
    assert phase(server) == "asleep"


def test_the_first_good_key_wakes_it_and_gets_the_answer(server: Server) -> None:
    answer = models(server, server.secret("gateway_key_atlas_new"))
    assert answer.status == 200, answer.text
    assert json.loads(answer.text)["data"][0]["id"] == "tiny"
    assert phase(server) == "awake"


def test_the_changed_option_is_a_client_with_its_rate(server: Server) -> None:
    key = server.secret("gateway_key_notebook_1")
    told = json.loads(server.must(f"python3 -c {shlex.quote(_MANY)} {address(server)} {key}"))
    assert told[:7] == [200] * 7
    assert 429 in told[7:]
    assert set(told[7:]) <= {200, 429}
    assert models(server, server.secret("gateway_key_atlas_new")).status == 200, "another client's requests are its own"


def test_who_is_idle_for_half_a_minute_sleeps(server: Server) -> None:
    fall_asleep(server)


def test_of_a_key_the_gateway_has_the_digest_alone(server: Server) -> None:
    text = server.must("cat /opt/modelyard/projects/modelyard-gateway/config/keys.json")
    key = server.secret("gateway_key_notebook_1")
    notebook = json.loads(text)["clients"]["notebook"]
    assert notebook["keys"][0]["sha256"] == hashlib.sha256(key.encode()).hexdigest()
    assert key not in text
    metrics = server.inside("gateway/gateway", f"python -c {shlex.quote(_ASK)} 127.0.0.1 9090 GET /-/metrics")
    assert "modelyard_gateway_keys 3" in metrics


def test_of_the_engine_it_reaches_its_service_and_nothing_else(server: Server) -> None:
    assert engine(server, "GET", "/_ping") == "200"
    assert engine(server, "GET", f"/containers/{CHAT}/json") == "200"
    for path in ("/info", "/containers/json", "/containers/modelyard-traefik-traefik-1/json"):
        assert engine(server, "GET", path) == "403"
    for path in (f"/containers/{CHAT}/kill", "/containers/modelyard-traefik-traefik-1/stop?t=1"):
        assert engine(server, "POST", path) == "403"


def test_it_publishes_nothing_and_cannot_write(server: Server) -> None:
    for part in ("pod", "gate", "gateway", "engine"):
        container = f"modelyard-gateway-{part}-1"
        assert server.must(f"docker port {container}") == ""
        assert "Read-only file system" in server.run(f"docker exec {container} bash -c '> /run/x'").stderr
    assert server.must("stat -c '%u %a' /opt/modelyard/state/gateway") == "10007 700"


def test_without_the_gateway_a_good_key_opens_nothing(server: Server) -> None:
    key = server.secret("gateway_key_atlas_new")
    server.must("docker stop modelyard-gateway-gateway-1")
    assert models(server, key).status == 503
    assert gate(server, 8081, "/-/health/chat").status == 503
    server.must("docker start modelyard-gateway-gateway-1")
    server.soon("docker ps --filter name=modelyard-gateway-gateway-1 --filter health=healthy --quiet | grep .")
    assert models(server, key).status == 200


def test_after_a_restart_of_the_host_who_slept_sleeps_and_is_woken(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    fall_asleep(server)
    before = restarted()
    assert server.containers() == before
    assert phase(server) == "asleep"
    assert models(server, server.secret("gateway_key_atlas_new")).status == 200
