# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A language model behind the gate: served, mirrored, closed to others, and there after a restart of the host."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Server

CHAT = "modelyard-inference-chat-1"
_ASK = """
import http.client, json, ssl, sys
host, key, path, body = sys.argv[1:5]
connection = http.client.HTTPSConnection(host, timeout=120)
headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
connection.request("POST" if body else "GET", path, body or None, headers)
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode(errors="replace")]))
"""


def ask(server: Server, key: str, path: str, body: Any = None) -> tuple[int, str]:
    """Return what the service answers through the edge."""
    host = f"chat-{server.release}.molecule.test"
    arguments = " ".join(shlex.quote(text) for text in (host, key, path, json.dumps(body) if body else ""))
    status, text = json.loads(server.must(f"python3 -c {shlex.quote(_ASK)} {arguments}"))
    return int(status), str(text)


def test_who_has_a_key_gets_an_answer_of_the_model(server: Server) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
    status, text = ask(server, server.secret("gateway_key_notebook_1"), "/v1/chat/completions", body)
    assert (status, json.loads(text)["model"]) == (200, "tiny")
    assert 1 <= json.loads(text)["usage"]["completion_tokens"] <= 4


def test_who_has_no_key_or_another_one_gets_none(server: Server) -> None:
    assert ask(server, "", "/v1/models")[0] == 401
    assert ask(server, "not-a-key", "/v1/models")[0] == 403


def test_its_container_is_in_no_network_but_that_of_the_gate(server: Server) -> None:
    networks = json.loads(server.must(f"docker inspect {CHAT} --format '{{{{json .NetworkSettings.Networks}}}}'"))
    assert set(networks) == {"modelyard-inference_chat"}
    assert server.must("docker network inspect modelyard-inference_chat --format '{{.Internal}}'") == "true"
    assert server.must(f"docker port {CHAT}") == ""


def test_the_model_is_under_its_checksum_and_in_the_mirror(server: Server) -> None:
    sum_of_file = server.must("sha256sum /srv/models/tiny.gguf").split()[0]
    assert server.must("ls /opt/modelyard/models/blobs").split() == [f"sha256-{sum_of_file}"]
    mirrored = server.inside("object-store/s3", f"sha256sum /data/models/{sum_of_file}")
    assert mirrored.split()[0] == sum_of_file


def test_the_changed_option_is_the_limit_of_its_memory(server: Server) -> None:
    assert server.must(f"docker inspect {CHAT} --format '{{{{.HostConfig.Memory}}}}'") == str(512 << 20)


def test_a_wrong_checksum_is_told_and_touches_nothing(server: Server) -> None:
    before = server.containers()
    failed = server.play("-e", json.dumps({"model_sha256": "e" * 64}))
    assert failed.returncode != 0
    assert f"and {'e' * 64} is expected" in failed.stdout
    assert server.containers() == before


def test_after_a_restart_of_the_host_it_answers(server: Server, restarted: Callable[[], dict[str, str]]) -> None:
    before = restarted()
    assert server.containers() == before
    assert ask(server, server.secret("gateway_key_notebook_1"), "/v1/models")[0] == 200
