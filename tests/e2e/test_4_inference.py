# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole site serves models: the services of the sample inventory sleep until somebody with a key asks.

It comes last, since the site has more roles from here on.
"""

from __future__ import annotations

import json
import ssl
import subprocess
from typing import Any

import openai
import pytest
import requests
import yaml
from docker.models.containers import Container
from support.adding_model import REGISTER, URI
from support.modules import ROOT
from support.pictures import picture
from support.sentence_gguf import SENTENCE
from support.waiting import wait_until
from support.whole_site import BUNDLE, Play, WholeSite, is_running

SERVICES = ("fields", "chat")
NEVER = "0001-01-01T00:00:00Z"
#: Its left half is red, its right half blue.
PICTURE = picture([b"\xc8\x0a\x0a" * 32 + b"\x0a\x0a\xc8" * 32] * 48)
#: Counts the places of a mask, which is a picture in base64.
COUNT = (
    "import base64, io, sys, PIL.Image as i; print(i.open(io.BytesIO(base64.b64decode(sys.argv[1]))).histogram()[-1])"
)
ADDS: dict[str, Any] = {"name": "adds", "engine": "mlflow_model", "model": {"uri": URI}, "memory_limit": "1g"}
REGISTRY, PROJECT = "inference: Have the models of the registry", "inference: Apply the project"


def sample(**more: Any) -> dict[str, Any]:
    """Return what the sample inventory says of inference; its chat is of a scope besides."""
    text = (ROOT / "inventories/local/group_vars/all.yml").read_text(encoding="utf-8")
    values = yaml.safe_load(text.replace("{{ inventory_dir }}/..", str(ROOT / "inventories")))
    fields, chat = values["inference_services"]
    services = [fields, {**chat, "scopes": ["language"]}, *more.get("services", [])]
    return {"inference_services": services, "gateway_clients": values["gateway_clients"]}


@pytest.fixture(scope="module")
def first(site: WholeSite) -> Play:
    """Return the run that made the site one with models."""
    site.groups = (*site.groups, "inference")
    site.write_inventory(**sample())
    return site.up()


def container(site: WholeSite, service: str) -> Container:
    return site.containers()[f"inference/{service}"]


def started(site: WholeSite) -> dict[str, str]:
    """Return when each service was started last."""
    return {service: container(site, service).attrs["State"]["StartedAt"] for service in SERVICES}


def awake(site: WholeSite) -> list[str]:
    return [service for service in SERVICES if is_running(container(site, service))]


def verdicts(site: WholeSite) -> dict[str, str]:
    """Return what the command on the host says of each service, all of which is well."""
    argv = [f"/usr/local/sbin/modelyard-{site.prefix}", "status", "--json"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    projects = {project["name"]: project for project in json.loads(done.stdout)}
    project = projects[f"{site.prefix}-inference"]
    assert not [project["problems"] for project in projects.values() if project["problems"]]
    return {name: service["verdict"] for name, service in project["services"].items()}


def ask(site: WholeSite, service: str, path: str, key: str, body: Any = None) -> requests.Response:
    """Ask a service by its name, as any client does."""
    headers = {"X-API-Key": key} if key else {}
    method = "GET" if body is None else "POST"
    return requests.request(
        method, site.url(service) + path, headers=headers, json=body, verify=BUNDLE, timeout=120,
    )  # fmt: skip


def phase(site: WholeSite, service: str) -> str:
    return str(ask(site, service, f"/-/health/{service}", "").json()["state"])


def test_all_of_it_sleeps_after_the_first_run_and_after_the_second(first: Play, site: WholeSite) -> None:
    assert awake(site) == []
    before = started(site)
    assert NEVER not in before.values(), "each has shown that it works"
    again = site.up()
    assert (again.changed, awake(site), started(site)) == ({}, [], before)
    assert verdicts(site) == dict.fromkeys(SERVICES, "asleep")
    assert [phase(site, service) for service in SERVICES] == ["asleep", "asleep"]
    promised = again.results["verify: Try every promise of the site"]
    assert promised["broken"] == 0
    for service in SERVICES:
        assert f"holds   {service}.{site.domain} asks for a key" in promised["table"]
        assert f"holds   {service}.{site.domain} is awake or can be woken" in promised["table"]


def test_whoever_has_no_key_wakes_nothing(first: Play, site: WholeSite) -> None:
    before = started(site)
    for key, status in (("", 401), ("of-nobody-at-all-000000", 403)):
        for service in SERVICES:
            answer = ask(site, service, "/health", key)
            assert answer.status_code == status
            assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert (awake(site), started(site)) == ([], before)


def test_a_call_wakes_the_segmentation_and_gets_its_mask(first: Play, site: WholeSite) -> None:
    body = {"model": "colour", "image": PICTURE, "prompt": {"points": [[48, 20]], "point_labels": [1]}}
    answer = ask(site, "fields", "/api/generate", site.secret("gateway_key_me_1"), body)
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["annotations"]
    box = found["bounding_box"]
    assert (box["ymin"], box["xmax"], box["ymax"]) == (0, 63, 47)
    assert abs(box["xmin"] - 32) <= 1
    counted = container(site, "fields").exec_run(["python", "-c", COUNT, found["mask"]])
    assert isinstance(counted.output, bytes)
    assert int(counted.output) == (64 - box["xmin"]) * 48
    assert awake(site) == ["fields"], "nobody has asked the other one"
    # The gateway lets requests in as soon as the engine answers; Docker asks for its health some seconds later.
    expected = {"fields": "healthy", "chat": "asleep"}
    wait_until(lambda: verdicts(site) == expected, "one is awake and healthy", pause=1)


def test_the_client_of_openai_wakes_the_chat_and_streams_its_sentence(first: Play, site: WholeSite) -> None:
    with openai.DefaultHttpxClient(verify=ssl.create_default_context(cafile=BUNDLE)) as http_client:
        client = openai.OpenAI(
            api_key=site.secret("gateway_key_me_1"), base_url=f"{site.url('chat')}/v1", http_client=http_client,
            max_retries=0,
        )  # fmt: skip
        stream = client.chat.completions.create(
            model="sentence", messages=[{"role": "user", "content": "Hello"}], stream=True
        )
        parts = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(parts).strip() == SENTENCE
    assert len([part for part in parts if part]) > 5, "it came word by word"


def test_no_program_of_the_site_reaches_an_engine_past_the_gate(first: Play, site: WholeSite) -> None:
    key = site.secret("gateway_key_me_1")
    assert ask(site, "chat", "/v1/models", key).status_code == 200, "it is awake"
    networks = container(site, "chat").attrs["NetworkSettings"]["Networks"]
    assert list(networks) == [f"{site.prefix}-inference_chat"]
    address = networks[f"{site.prefix}-inference_chat"]["IPAddress"]
    assert reaches(site, "gateway/gateway", address), "by the gate's own way"
    for program in ("mlflow/server", "inference/fields"):
        assert not reaches(site, program, address), program


def reaches(site: WholeSite, name: str, address: str) -> bool:
    """Whether a program in a running container gets a connection to llama.cpp there."""
    dial = ["python", "-c", f"import socket; socket.create_connection(({address!r}, 8080), 3)"]
    found = site.containers()[name]
    if not is_running(found):
        assert ask(site, found.labels["com.docker.compose.service"], "/health", site.secret("gateway_key_me_1")).ok
    done = found.exec_run(dial)
    assert isinstance(done.output, bytes)
    if done.exit_code:
        assert b"TimeoutError" in done.output or b"OSError" in done.output, done.output
    return done.exit_code == 0


def test_an_issued_key_opens_what_has_its_scope_until_it_is_revoked(first: Play, site: WholeSite) -> None:
    issued = keys(site, "issue", "keys_scopes=language")
    [name] = [result["secret"] for result in issued.results.values() if "secret" in result]
    key = site.secret(name)
    assert key not in issued.output
    wait_until(lambda: ask(site, "chat", "/v1/models", key).status_code == 200, "the gateway knows the key")
    assert ask(site, "fields", "/health", key).status_code == 403
    keys(site, "revoke")
    wait_until(lambda: ask(site, "chat", "/v1/models", key).status_code == 403, "the gateway knows it no more")


def keys(site: WholeSite, action: str, *more: str) -> Play:
    given = [text for one in (f"keys_action={action}", "keys_client=ada", *more) for text in ("-e", one)]
    done = site.play(*given, playbook="playbooks/keys.yml")
    assert done.rc == 0, done.output[-4000:]
    return done


def register(site: WholeSite, number: int) -> None:
    """Register a model that adds so much, as a client of MLflow on this machine."""
    environment = {
        "MLFLOW_TRACKING_URI": site.url("mlflow"), "MLFLOW_TRACKING_USERNAME": "admin", "HOME": "/tmp",
        "MLFLOW_TRACKING_PASSWORD": site.secret("mlflow_admin_password"), "REQUESTS_CA_BUNDLE": BUNDLE,
    }  # fmt: skip
    image = site.containers()["mlflow/server"].attrs["Config"]["Image"]
    site.engine.containers.run(
        image, ["python", "-c", REGISTER, str(number)], remove=True,
        name=f"{site.prefix}-client", network_mode="host", environment=environment, entrypoint=[],
        volumes=[f"{BUNDLE}:{BUNDLE}:ro"],
    )  # fmt: skip


def added(site: WholeSite) -> Any:
    answer = ask(site, "adds", "/invocations", site.secret("gateway_key_me_1"), {"inputs": [1, 2]})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


@pytest.mark.long
def test_a_model_of_the_sites_own_registry_is_served_and_follows_its_alias(first: Play, site: WholeSite) -> None:
    register(site, 10)
    site.write_inventory(**sample(services=[ADDS]))
    site.up()
    assert verdicts(site)["adds"] == "asleep"
    assert added(site) == [11, 12]
    register(site, 20)
    drift = site.up("--check")
    assert [step["reason"] for step in drift.results[REGISTRY]["plan"]] == [
        f"{URI} is version 2, and version 1 is served"
    ]
    assert added(site) == [11, 12]
    followed = site.up()
    assert set(followed.changed) == set(drift.changed) == {REGISTRY, PROJECT}
    assert added(site) == [21, 22]
    assert site.up().changed == {}


@pytest.mark.long
def test_who_logs_in_to_the_page_for_chats_is_answered_by_the_chat(first: Play, site: WholeSite) -> None:
    site.groups = (*site.groups, "chat")
    site.write_inventory(**sample(), open_webui_models={"chat": ["sentence"]})
    site.up()
    page = requests.Session()
    page.verify = BUNDLE
    login = {"email": f"admin@{site.domain}", "password": site.secret("open_webui_admin_password")}
    token = page.post(f"{site.url('webui')}/api/v1/auths/signin", json=login, timeout=60).json()["token"]
    page.headers["Authorization"] = f"Bearer {token}"
    asked = {"model": "sentence", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    answer = page.post(f"{site.url('webui')}/api/chat/completions", json=asked, timeout=120)
    assert answer.status_code == 200, answer.text
    assert SENTENCE in answer.json()["choices"][0]["message"]["content"]
    assert site.up().changed == {}
