# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role open_webui refuses, and by which way its program asks the inference services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.answers import answers_of
from support.rendered import RenderedProject, render

BESIDE = {"site_roles": {"postgres": "chat_hosts"}}
NOBODY = (
    "Cannot run Open WebUI: open_webui_services is empty, so there would be nobody to chat with; name a service of "
    "role 'inference', or take the host out of the group of role 'open_webui'."
)
NO_NAME = (
    "Cannot run Open WebUI: open_webui_services has 'a/b', which is no name of a service; such a name has small "
    "letters, digits and dashes."
)
OTHER_MODELS = (
    "Cannot run Open WebUI: open_webui_models names 'code', and open_webui_services does not; add it there, or remove "
    "it here."
)
FAR_DATABASE = (
    "Cannot run Open WebUI on this host: its database is dumped beside the server before an upgrade, and role "
    "'postgres' is on another host; put this host into group 'elsewhere', or that one into the group of "
    "role 'open_webui'."
)
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "usual": (BESIDE, []),
    "several": ({**BESIDE, "open_webui_services": ["chat", "code-2"], "open_webui_models": {"chat": []}}, []),
    "nobody": ({**BESIDE, "open_webui_services": []}, [NOBODY]),
    "no-name": ({**BESIDE, "open_webui_services": ["chat", "a/b"]}, [NO_NAME]),
    "other-models": ({**BESIDE, "open_webui_models": {"code": ["qwen"]}}, [OTHER_MODELS]),
    "far-database": ({"site_roles": {"postgres": "elsewhere"}}, [FAR_DATABASE]),
}


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("plan")
    hosts: dict[str, Any] = {name: values for name, (values, _said) in REFUSED.items()}
    inventory = {
        "chat_hosts": {"hosts": hosts, "vars": {"site_domain": "lab.eu", "ansible_connection": "local"}},
        "elsewhere": {"hosts": {"other": {"ansible_connection": "local", "site_domain": "lab.eu"}}},
    }
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    roles = {"postgres": "chat_hosts", "open_webui": "chat_hosts"}
    task = {"name": "Plan", "run_once": True, "modelyard.platform.site_plan": {"roles": roles}}
    play = {"name": "Plan", "hosts": "all", "gather_facts": False, "tasks": [task]}
    [(_task, answer)] = answers_of(play, folder, "-i", "inventory.yml")
    return list(answer["problems"])


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_said_of_values(case: str, problems: list[str]) -> None:
    said = [text.removeprefix(f"{case}: ") for text in problems if text.startswith(f"{case}: ")]
    assert said == REFUSED[case][1]


def of(folder: Path, **variables: Any) -> RenderedProject:
    values = {"site_domain": "lab.test", "site_images": "registry", "__site_url_port": "", **variables}
    return render(["open_webui"], values, folder)["open_webui"]


def test_several_services_are_asked_by_the_gate_each_with_its_models_and_the_key(tmp_path: Path) -> None:
    project = of(tmp_path, open_webui_services=["chat", "code"], open_webui_models={"code": ["small", "large"]})
    environment = project.services["server"]["environment"]
    gate = "http://modelyard-gateway-pod-1:8081"
    assert environment["OPENAI_API_BASE_URLS"] == f"{gate}/chat/v1;{gate}/code/v1", "nobody else has a container's name"
    models = {number: one["model_ids"] for number, one in json.loads(environment["OPENAI_API_CONFIGS"]).items()}
    assert models == {"0": ["chat"], "1": ["small", "large"]}
    key = "@@secret:gateway_key_open_webui_1@@"
    assert project.files["variables/OPENAI_API_KEYS"] == f"{key};{key}"


def test_a_gate_on_another_host_is_reached_over_the_edge(tmp_path: Path) -> None:
    replica = {"name": "chat-2", "hosts": [], "replica_of": "chat"}
    other = {"name": "chat", "hosts": ["other.lab.test"]}
    gpu = {"role": "inference", "host": "gpu", "at": "gpu"}
    needs = {
        "api_client": [{"role": "open_webui", "host": "localhost", "at": "gpu", "data": {}}],
        "gated": [
            {**gpu, "data": {"name": "chat", "hosts": ["chat.lab.test"]}},
            {**gpu, "data": {"name": "code", "hosts": ["code.lab.test"]}},
            {**gpu, "data": replica},
            {"role": "inference", "host": "other", "at": "other", "data": other},
        ],
        "trust": [{"role": "traefik", "host": "hub", "data": {"certificate": "@@secret:site_ca.certificate@@"}}],
    }
    place = {"is_inner": True, "edge": "hub", "routed": [], "admitted": {}, "addresses": {"hub": "10.0.0.3"}}
    project = of(tmp_path, site_needs=needs, site_place=place, open_webui_services=["chat", "code"])
    server = project.services["server"]
    assert server["environment"]["OPENAI_API_BASE_URLS"] == "https://chat.lab.test/v1;https://code.lab.test/v1"
    assert server["extra_hosts"] == {"chat.lab.test": "10.0.0.3", "code.lab.test": "10.0.0.3"}
    assert server["environment"]["AIOHTTP_CLIENT_SSL_CERT_FILE"] == "/run/secrets/ca.pem"
    assert project.files["ca.pem"] == "@@secret:site_ca.certificate@@"


def test_settings_win_and_those_with_a_secret_are_files(tmp_path: Path) -> None:
    settings = {
        "ENABLE_API_KEYS": True,
        "WEBUI_NAME": "Our lab",
        "DEFAULT_USER_ROLE": "user",
        "SMTP": "@@secret:word@@",
    }
    project = of(tmp_path, open_webui_settings=settings)
    environment = project.services["server"]["environment"]
    assert {name: environment.get(name) for name in settings} == {
        "ENABLE_API_KEYS": "true", "WEBUI_NAME": "Our lab", "DEFAULT_USER_ROLE": "user", "SMTP": None,
    }  # fmt: skip
    assert project.files["variables/SMTP"] == "@@secret:word@@"
    assert "./variables/SMTP:/run/secrets/variables/SMTP:ro" in project.services["server"]["volumes"]
