# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open WebUI with its database, its route and its key for the gate, behind which is a language model."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Answer, Server

ORIGIN = "https://webui.molecule.test"
ADMIN = "admin@molecule.test"


def log_in(server: Server, password: str) -> Answer:
    return server.ask(f"{ORIGIN}/api/v1/auths/signin", body={"email": ADMIN, "password": password})


def from_inside(server: Server, url: str, key: str = "", *, seconds: int = 9) -> str:
    """Return the status that an address answers to a program in its container, or what went wrong."""
    script = (
        "import urllib.request as u, urllib.error as e\n"
        f"headers = {{'X-API-Key': '{key}'}} if '{key}' else {{}}\n"
        f"try: print(u.urlopen(u.Request('{url}', headers=headers), timeout={seconds}).status)\n"
        "except e.HTTPError as error: print(error.code)\n"
        "except OSError as error: print(type(error).__name__)"
    )
    return server.inside("open-webui/server", f"python -c {shlex.quote(script)}")


def test_its_page_is_there_and_the_rest_asks_for_a_login(server: Server) -> None:
    page = server.ask(f"{ORIGIN}/")
    assert (page.status, "<title>Open WebUI</title>" in page.text) == (200, True)
    assert server.ask(f"{ORIGIN}/api/models").status == 401


def test_the_administrator_logs_in_with_the_password_of_the_store(server: Server) -> None:
    answer = log_in(server, server.secret("open_webui_admin_password"))
    assert answer.status == 200, answer.text
    assert json.loads(answer.text)["role"] == "admin"
    assert log_in(server, "another").status == 400


def test_nobody_signs_up(server: Server) -> None:
    stranger = {"name": "Eve", "email": "eve@molecule.test", "password": "Of-her-own-1"}
    assert server.ask(f"{ORIGIN}/api/v1/auths/signup", body=stranger).status == 403


def test_the_changed_setting_names_it(server: Server) -> None:
    shown = json.loads(server.ask(f"{ORIGIN}/api/config").text)
    assert shown["name"].startswith("Our lab")


def test_its_users_are_in_the_database(server: Server) -> None:
    query = 'SELECT role FROM \\"user\\"'
    assert server.inside("postgres/db", f'psql -XAtq -d open_webui -c "{query}"') == "admin"


def test_the_gate_knows_its_key_and_nobody_without_one(server: Server) -> None:
    address = "http://gate:8081/chat/v1/models"
    assert from_inside(server, address) == "401"
    assert from_inside(server, address, "mistaken") == "403"
    # The service sleeps until now.
    assert from_inside(server, address, server.secret("gateway_key_open_webui_1"), seconds=120) == "200"


def test_a_chat_gets_an_answer_of_the_model(server: Server) -> None:
    token = json.loads(log_in(server, server.secret("open_webui_admin_password")).text)["token"]
    shown = server.ask(f"{ORIGIN}/api/models", token=token)
    assert [model["id"] for model in json.loads(shown.text)["data"]] == ["chat"]
    message = {"role": "user", "content": "hello"}
    said = server.ask(
        f"{ORIGIN}/api/chat/completions",
        token=token,
        body={"model": "chat", "stream": False, "max_tokens": 4, "messages": [message]},
    )
    assert said.status == 200, said.text
    assert 1 <= json.loads(said.text)["usage"]["completion_tokens"] <= 4


def test_it_is_in_no_network_of_inference_services(server: Server) -> None:
    shown = "docker inspect --format '{{json .NetworkSettings.Networks}}'"
    networks = json.loads(server.must(f"{shown} modelyard-open-webui-server-1"))
    assert sorted(networks) == ["modelyard-data", "modelyard-edge"]
    (found,) = json.loads(server.must(f"{shown} modelyard-inference-chat-1")).values()
    assert from_inside(server, f"http://{found['IPAddress']}:8080/health") in ("URLError", "TimeoutError")


def test_after_a_restart_of_the_host_the_administrator_logs_in(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    before = restarted()
    assert server.containers() == before
    server.soon(f"python3 -c \"import urllib.request as u; u.urlopen('{ORIGIN}/ready')\"")
    assert log_in(server, server.secret("open_webui_admin_password")).status == 200
