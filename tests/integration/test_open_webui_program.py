# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role open_webui with Open WebUI itself, in its packaged image, on the packaged PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator

import docker
import pytest
from support.chat import SECRETS, Chat, running_chat
from support.declared import resident_bytes, wait_healthy
from support.modules import run_module
from support.recipes import packaged

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def chat(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    with running_chat(engine, tmp_path_factory.mktemp("program")) as found:
        yield found


def test_a_second_run_changes_nothing(chat: Chat) -> None:
    before = chat.ids()
    assert chat.must_apply().changed == []
    assert chat.ids() == before


def test_the_administrator_logs_in_and_nobody_signs_up(chat: Chat) -> None:
    answer = chat.log_in(chat.secret("open_webui_admin_password"))
    assert (answer.status, answer.content["role"]) == (200, "admin")
    assert chat.log_in("another").status == 400
    stranger = {"name": "Eve", "email": "eve@lab.test", "password": "Of-her-own-1"}
    assert chat.ask("/api/v1/auths/signup", stranger).status == 403
    features = chat.ask("/api/config").content["features"]
    assert (features["auth"], features["enable_signup"]) == (True, False)


def test_its_pages_are_there_and_the_rest_asks_for_a_login(chat: Chat) -> None:
    page = chat.ask("/")
    assert (page.status, "<title>Open WebUI</title>" in page.text) == (200, True)
    assert (chat.ask("/ready").status, chat.ask("/api/models").status) == (200, 401)


def test_what_somebody_clicks_together_is_gone_with_a_restart(chat: Chat) -> None:
    token = chat.token()
    before = chat.ask("/api/v1/auths/admin/config", token=token).content
    changed = chat.ask("/api/v1/auths/admin/config", {**before, "ENABLE_SIGNUP": True}, token=token)
    assert (changed.status, changed.content["ENABLE_SIGNUP"]) == (200, True)
    chat.container().restart(timeout=30)
    wait_healthy(chat.container(), seconds=120)
    assert chat.ask("/api/v1/auths/admin/config", token=token).content["ENABLE_SIGNUP"] is False


def test_a_chat_goes_by_the_gate_and_a_look_asks_nobody(chat: Chat) -> None:
    token = chat.token()
    before = len(chat.requests_at_the_gate())
    assert [model["id"] for model in chat.ask("/api/models", token=token).content["data"]] == ["chat"]
    assert len(chat.requests_at_the_gate()) == before
    assert chat.say("Do you hear me?", token=token).content["choices"][0]["message"]["content"] == "I heard you"
    streamed = chat.say("And now?", token=token, stream=True)
    pieces = [
        json.loads(line.removeprefix("data: ")) for line in streamed.text.splitlines() if line.startswith("data: {")
    ]
    heard = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces if piece.get("choices"))
    assert heard.strip() == "I heard you"
    assert all(request["admitted"] for request in chat.requests_at_the_gate()[before:])


def test_another_user_may_chat_once_the_administrator_has_let_him_in(chat: Chat) -> None:
    user = {"name": "Ada", "email": "ada@lab.test", "password": "Of-her-own-1", "role": "user"}
    assert chat.ask("/api/v1/auths/add", user, token=chat.token()).status == 200
    token = chat.log_in("Of-her-own-1", "ada@lab.test").content["token"]
    assert [model["id"] for model in chat.ask("/api/models", token=token).content["data"]] == ["chat"]
    assert chat.say("Do you hear me?", token=token).status == 200


def test_no_secret_is_where_others_look(chat: Chat) -> None:
    values = [chat.secret(str(entry["name"])) for entry in SECRETS]
    for service in chat.ids():
        container = chat.container(service)
        shown = json.dumps(container.attrs) + container.logs().decode()
        assert [value for value in values if value in shown] == []


def test_a_rotated_password_is_the_administrators(chat: Chat) -> None:
    old = chat.secret("open_webui_admin_password")
    number = chat.log_in(old).content["id"]
    options = {"path": str(chat.roles.secret_store), "site_directory": str(chat.site.directory), "secrets": SECRETS}
    assert not run_module("secrets", {**options, "rotate": ["open_webui_admin_password"]}).failed
    chat.must_apply()
    assert chat.log_in(old).status == 400
    assert chat.log_in(chat.secret("open_webui_admin_password")).content["id"] == number


def test_its_memory_is_within_what_it_may_take(chat: Chat) -> None:
    assert resident_bytes(chat.container()) < 1100 * 2**20


def test_the_image_says_what_the_contract_says(chat: Chat) -> None:
    contract = packaged("open_webui").contract
    config = chat.container().image.attrs["Config"]
    assert config["User"] == contract["user"]
    assert sorted(config["ExposedPorts"]) == sorted(f"{port}/tcp" for port in contract["ports"])
    assert not config["Volumes"]
    declared = dict(entry.split("=", 1) for entry in config["Env"])
    asked = {key: value for key, value in contract["environment"].items() if key in declared}
    assert asked.items() <= declared.items()
    assert chat.container().image.attrs["Size"] <= 880 * 10**6
