# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role open_webui with an image that stands for Open WebUI's; ``test_open_webui_program.py`` has the program itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

import docker
import pytest
from support import images
from support.chat import ADMIN, SECRETS, Chat, running_chat
from support.modules import run_module
from support.stand_ins import OPEN_WEBUI

TASK = "Apply the project"
SETTINGS = {"WEBUI_NAME": "Our lab", "OAUTH_CLIENT_SECRET": "@@secret:login_of_others@@"}


@pytest.fixture(scope="module")
def chat(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    folder = tmp_path_factory.mktemp("chat")
    upstream = {"site_images": "registry", "open_webui_image": images.ensure(OPEN_WEBUI[1])}
    with running_chat(engine, folder, **upstream) as found:
        yield found


def test_a_second_run_changes_nothing_and_check_mode_says_so(chat: Chat) -> None:
    before = chat.ids()
    assert chat.must_apply(check=True).changed == []
    assert chat.must_apply().changed == []
    assert chat.ids() == before


def test_the_administrator_logs_in_and_nobody_signs_up(chat: Chat) -> None:
    answer = chat.log_in(chat.secret("open_webui_admin_password"))
    assert (answer.status, answer.content["role"]) == (200, "admin")
    assert chat.log_in("another").status == 400
    stranger = {"name": "Eve", "email": "eve@lab.test", "password": "of-her-own-1"}
    assert chat.ask("/api/v1/auths/signup", stranger).status == 403
    assert chat.ask("/api/models").status == 401


def test_a_chat_goes_by_the_gate_with_a_key_of_its_own_and_a_look_asks_nobody(chat: Chat) -> None:
    token = chat.token()
    before = len(chat.requests_at_the_gate())
    assert [model["id"] for model in chat.ask("/api/models", token=token).content["data"]] == ["chat"]
    assert len(chat.requests_at_the_gate()) == before, "a look at the page would wake a sleeping service"
    answer = chat.say("Do you hear me?", token=token)
    assert answer.content["choices"][0]["message"]["content"] == "I heard you"
    assert chat.requests_at_the_gate()[before:] == [{"path": "/chat/v1/chat/completions", "admitted": True}]


def test_no_inference_service_is_within_its_reach_but_through_the_gate(chat: Chat) -> None:
    networks = set(chat.container().attrs["NetworkSettings"]["Networks"])
    assert networks == {chat.site.name("edge"), chat.site.name("data")}
    engine = chat.site.engine.containers.get(chat.site.name("engine"))
    assert not networks & set(engine.attrs["NetworkSettings"]["Networks"])
    for host in (chat.address_of_engine(), chat.site.name("engine")):
        assert chat.reaches(f"http://{host}:8080/v1/models") in ("URLError", "TimeoutError")
    gate = f"http://{chat.site.name('gateway-pod-1')}:8081"
    assert chat.reaches(f"{gate}/chat/v1/models", key=chat.secret("gateway_key_open_webui_1")) == "200"
    assert chat.reaches(f"{gate}/chat/v1/models") == "401"


def test_no_secret_is_where_others_look(chat: Chat) -> None:
    values = [chat.secret(str(entry["name"])) for entry in SECRETS]
    for service in chat.ids():
        container = chat.container(service)
        shown = json.dumps(container.attrs) + container.logs().decode()
        if service == "server":
            shown += json.dumps(container.top(ps_args="-eo pid,args")["Processes"])
            shown += container.exec_run(["env"]).output.decode()
        assert [value for value in values if value in shown] == []
    for path in ("admin_password", "pg_service.conf", "variables/OPENAI_API_KEYS", "variables/WEBUI_SECRET_KEY"):
        status = (chat.folder / path).stat()
        assert (status.st_uid, status.st_mode & 0o777) == (10010, 0o400), path


def test_all_of_it_is_confined(chat: Chat) -> None:
    for service in chat.ids():
        attributes = chat.container(service).attrs
        assert attributes["Config"]["User"] == ("0:0" if service == "storage" else "10010:10010")
        assert attributes["HostConfig"]["ReadonlyRootfs"]
        assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
        assert not attributes["HostConfig"]["PortBindings"]
    assert chat.container().attrs["State"]["Health"]["Status"] == "healthy"


def test_without_a_key_the_program_does_not_begin(chat: Chat) -> None:
    attributes = chat.container().attrs["Config"]
    script = chat.folder / "with-secrets"
    command = ["sh", "/with-secrets", "python", "--version"]
    with pytest.raises(docker.errors.ContainerError) as ended:
        chat.site.engine.containers.run(
            attributes["Image"], command, name=chat.site.name("bare"), user="10010:10010", remove=True,
            network_mode="none",
            volumes={str(script): {"bind": "/with-secrets", "mode": "ro"}},
            mounts=[docker.types.Mount("/run/secrets/variables", None, type="tmpfs")], entrypoint=[],
        )  # fmt: skip
    assert b"Cannot start python: the file /run/secrets/variables/* is missing or empty" in ended.value.stderr


def test_a_setting_that_refers_to_a_secret_is_a_file(chat: Chat) -> None:
    before = chat.ids()
    done = chat.must_apply(open_webui_settings=SETTINGS)
    assert {step["service"]: step["action"] for step in done.results[TASK]["plan"]} == {"server": "recreate"}
    container = chat.container()
    assert "WEBUI_NAME=Our lab" in container.attrs["Config"]["Env"]
    value = chat.secret("login_of_others")
    assert value not in json.dumps(container.attrs)
    environment = container.exec_run(["cat", "/proc/1/task/1/children"]).output.decode().split()
    shown = container.exec_run(["cat", f"/proc/{environment[0]}/environ"]).output.decode()
    assert f"OAUTH_CLIENT_SECRET={value}" in shown
    assert chat.ids()["admin"] == before["admin"]
    chat.must_apply()


def test_a_rotated_password_is_the_administrators(chat: Chat) -> None:
    old = chat.secret("open_webui_admin_password")
    number = chat.log_in(old).content["id"]
    options = {"path": str(chat.roles.secret_store), "site_directory": str(chat.site.directory), "secrets": SECRETS}
    rotated = run_module("secrets", {**options, "rotate": ["open_webui_admin_password"]})
    assert not rotated.failed, rotated.msg
    done = chat.must_apply()
    assert [step["service"] for step in done.results[TASK]["plan"]] == ["admin"]
    assert chat.log_in(old).status == 400
    assert chat.log_in(chat.secret("open_webui_admin_password")).content["id"] == number


def test_another_address_of_the_administrator_is_another_administrator(chat: Chat) -> None:
    chat.must_apply(open_webui_admin_email="Head@lab.test")
    password = chat.secret("open_webui_admin_password")
    assert chat.log_in(password, "head@lab.test").content["role"] == "admin"
    assert chat.log_in(password, ADMIN).status == 200, "the one before stays"
    chat.must_apply()


def test_an_upgrade_that_fails_gives_the_database_back_and_one_that_does_not_keeps_a_dump(chat: Chat) -> None:
    token, number = chat.token(), chat.log_in(chat.secret("open_webui_admin_password")).content["id"]
    failed = chat.apply(open_webui_image=images.ensure(OPEN_WEBUI[3]))
    assert failed.rc != 0
    assert "service 'schema'" in failed.output
    assert chat.ask("/api/version").content == {"version": "0.1.0"}
    assert chat.log_in(chat.secret("open_webui_admin_password")).content["id"] == number
    assert chat.say("Still there?", token=token).status == 200
    chat.must_apply(open_webui_image=images.ensure(OPEN_WEBUI[2]))
    assert chat.ask("/api/version").content == {"version": "0.2.0"}
    assert chat.log_in(chat.secret("open_webui_admin_password")).content["id"] == number
    releases = chat.site.directory / "releases" / chat.site.name("open-webui")
    assert [path.name for path in sorted(releases.glob("*/*.dump"))][
        -1
    ] == f"{chat.site.name('postgres')}.db.open_webui.dump"
