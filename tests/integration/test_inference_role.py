# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role inference on CPUs: osam and llama.cpp with models that are made here, asked directly and over the edge.

Beside them a server of one's own, of which the role knows no more than image, port and readiness.
"""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import openai
import pytest
import yaml
from docker.models.containers import Container
from support import images
from support.answers import answers_of
from support.declared import processes
from support.edge import DOMAIN, Edge
from support.gate import STAND_IN, TLS_SECRETS, GateSite
from support.model_server import sha256_of
from support.pictures import picture
from support.ports import free_ports
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site
from support.tiny_gguf import tiny_gguf
from support.tiny_onnx import decoder, encoder

POINT = [60, 50]
#: A red one of 200 x 120.
PICTURE = picture([b"\xc8\x0a\x0a" * 200] * 120)
NO_GPU = "Cannot serve tiny:test on a GPU: decoder, encoder would run by CPUExecutionProvider"
#: What a model gives without a server: the mask of its two sessions, as rows of 0 and 1.
DIRECTLY = """
import io, json, sys, numpy, onnxruntime, PIL.Image, base64
asked = json.loads(sys.argv[1])
image = numpy.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(asked["image"]))))
run = lambda part, feed: onnxruntime.InferenceSession(f"/models/{part}.onnx").run(None, feed)
pixels = image.transpose(2, 0, 1)[None].astype(numpy.float32) / 255
masks = run("decoder", {
    "image_embeddings": run("encoder", {"batched_images": pixels})[0],
    "batched_point_coords": numpy.array([[asked["prompt"]["points"]]], numpy.float32),
    "batched_point_labels": numpy.array([[asked["prompt"]["point_labels"]]], numpy.float32),
    "orig_im_size": numpy.array(image.shape[:2], numpy.int64),
})[0]
mask = masks[0, 0, 0] > 0
box = asked["box"]
served = numpy.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(asked["mask"])))) > 0
whole = numpy.zeros_like(mask)
whole[box["ymin"]:box["ymax"] + 1, box["xmin"]:box["xmax"] + 1] = served
print(json.dumps({"equal": bool((whole == mask).all()), "pixels": int(mask.sum())}))
"""


def file_of(path: Path, content: bytes, **more: Any) -> dict[str, Any]:
    """Write a model's file on the host; return how a service declares it."""
    path.write_bytes(content)
    return {"sources": [str(path)], "sha256": sha256_of(content), **more}


def services(folder: Path, *, seed: int = 7) -> list[dict[str, Any]]:
    parts = [
        file_of(folder / f"{part}.onnx", content, part=part)
        for part, content in (("encoder", encoder()), ("decoder", decoder()))
    ]
    return [
        {"name": "fields", "engine": "osam", "model": {"name": "tiny:test", "files": parts}, "memory_limit": "1g"},
        {
            "name": "chat", "engine": "llama_cpp", "memory_limit": "1g",
            "model": file_of(folder / f"tiny-{seed}.gguf", tiny_gguf(seed)),
            "arguments": ["--ctx-size", "512", "--parallel", "2"],
        },
        {
            "name": "own", "engine": "custom", "image": images.ensure(STAND_IN), "port": 8080,
            "ready": {"path": "/health"}, "memory_limit": "256m",
        },
    ]  # fmt: skip


@pytest.fixture(scope="module")
def roles(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteOfRoles]:
    folder = tmp_path_factory.mktemp("inference")
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    gid = Path("/var/run/docker.sock").stat().st_gid
    values: dict[str, Any] = {
        "site_domain": DOMAIN, "inference_services": services(folder), "inference_mirror_bucket": "",
        "__site_gpu_request": "nvidia", "__inference_gateway": "", "site_address": "127.0.0.1", "site_tls": "local_ca",
        "site_ports": dict(zip(("http", "https", "postgres", "edge_api"), free_ports(4), strict=True)),
        "traefik_socket_gid": gid, "gateway_socket_gid": gid,
    }  # fmt: skip
    try:
        yield SiteOfRoles(site, folder, values)
    finally:
        site.remove()


@pytest.fixture(scope="module")
def first(roles: SiteOfRoles) -> RoleRun:
    done = roles.run("inference", secrets=[])
    assert done.rc == 0, done.output[-6000:]
    return done


@pytest.fixture(scope="module")
def way(first: RoleRun, roles: SiteOfRoles) -> GateSite:
    """Return the edge and the gate before the services, by what the role itself says that it needs of them."""
    edge = roles.run("traefik", secrets=TLS_SECRETS)
    assert edge.rc == 0, edge.output[-4000:]
    keys = [{"name": f"gateway_key_{client}_1", "kind": "api_key"} for client in ("notebook", "narrow")]
    clients = [{"name": "notebook", "scopes": ["*"]}, {"name": "narrow", "scopes": ["fields"]}]
    needs = {
        "gated": gated_of(roles),
        "api_client": [{"role": "gateway", "host": "localhost", "at": "localhost", "data": data} for data in clients],
    }
    gate = roles.run("gateway", secrets=[*TLS_SECRETS, *keys], site_needs=needs)
    assert gate.rc == 0, gate.output[-4000:]
    ca = roles.site.directory / "projects" / roles.site.name("traefik") / "private/ca/ca.pem"
    found = Edge(roles, roles.variables["site_ports"], edge, [*TLS_SECRETS, *keys], ca.read_text(encoding="ascii"))
    for service in ("fields", "chat", "own"):
        found.wait_for(f"{service}.{DOMAIN}", 401)
    return GateSite(roles, found, {})


def gated_of(roles: SiteOfRoles) -> list[dict[str, Any]]:
    """Return what the plan of the site has for the gateway."""
    values = {**roles.variables, "site_prefix": roles.site.prefix, "site_directory": str(roles.site.directory)}
    values["ansible_connection"] = "local"
    inventory = {"all": {"hosts": {"localhost": values}, "children": {"inference": {"hosts": {"localhost": {}}}}}}
    (roles.folder / "plan.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    asked = {"roles": dict.fromkeys(("traefik", "gateway", "inference"), "inference")}
    task = {"name": "Plan", "modelyard.platform.site_plan": asked}
    play = {"name": "Plan", "hosts": "localhost", "gather_facts": False, "tasks": [task]}
    [(_task, answer)] = answers_of(play, roles.folder, "-i", "plan.yml")
    assert answer["problems"] == []
    found: list[dict[str, Any]] = answer["needs"]["gated"]
    return found


def container(roles: SiteOfRoles, service: str) -> Container:
    return roles.site.engine.containers.get(f"{roles.site.name('inference')}-{service}-1")


def network_of(roles: SiteOfRoles, service: str) -> str:
    return f"{roles.site.name('inference')}_{service}"


def address_of(roles: SiteOfRoles, service: str) -> str:
    networks = container(roles, service).attrs["NetworkSettings"]["Networks"]
    return str(networks[network_of(roles, service)]["IPAddress"])


def ask(roles: SiteOfRoles, service: str, port: int, path: str, body: Any = None) -> tuple[int, bytes]:
    """Ask a service inside its network, which the host is in."""
    address = address_of(roles, service)
    request = urllib.request.Request(
        f"http://{address}:{port}{path}", None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def generate(roles: SiteOfRoles, model: str = "tiny:test") -> tuple[int, Any]:
    body = {"model": model, "image": PICTURE, "prompt": {"points": [POINT], "point_labels": [1]}}
    status, answer = ask(roles, "fields", 11368, "/api/generate", body)
    return status, json.loads(answer)


def directly(roles: SiteOfRoles, found: dict[str, Any]) -> Any:
    """Return whether a mask that was served is the one that its model gives without a server, and how large that is."""
    asked = {
        "image": PICTURE, "prompt": {"points": [POINT], "point_labels": [1]}, "mask": found["mask"],
        "box": found["bounding_box"],
    }  # fmt: skip
    code, said = container(roles, "fields").exec_run(["python", "-c", DIRECTLY, json.dumps(asked)])
    assert code == 0, said
    return json.loads(bytes(said).splitlines()[-1])


def test_services_are_healthy_without_rights_each_in_a_network_of_its_own(first: RoleRun, roles: SiteOfRoles) -> None:
    for service in ("fields", "chat", "own"):
        found = container(roles, service)
        assert found.attrs["State"]["Health"]["Status"] == "healthy"
        assert {process["Uid"].split()[0] for process in processes(found)} == {"10020"}
        assert set(found.attrs["NetworkSettings"]["Networks"]) == {network_of(roles, service)}
        assert roles.site.engine.networks.get(network_of(roles, service)).attrs["Internal"] is True
        assert found.attrs["HostConfig"]["ReadonlyRootfs"]
        assert found.attrs["HostConfig"]["CapDrop"] == ["ALL"]
        assert not found.attrs["HostConfig"]["PortBindings"]
        models = [mount["RW"] for mount in found.attrs["Mounts"] if mount["Destination"] == "/models"]
        assert models == ([] if service == "own" else [False])


def test_no_service_reaches_another_one(first: RoleRun, roles: SiteOfRoles) -> None:
    for host in (container(roles, "chat").name, address_of(roles, "chat")):
        script = f"import socket; socket.create_connection(('{host}', 8080), 3)"
        assert ask(roles, "chat", 8080, "/health")[0] == 200
        assert container(roles, "fields").exec_run(["python", "-c", script]).exit_code == 1


def test_a_mask_is_what_the_model_gives_when_run_directly(first: RoleRun, roles: SiteOfRoles) -> None:
    status, answer = generate(roles)
    assert status == 200
    [found] = answer["annotations"]
    assert found["bounding_box"] == {"xmin": 31, "ymin": 21, "xmax": 89, "ymax": 79}
    told = directly(roles, found)
    assert told["equal"]
    assert 2600 < told["pixels"] < 2900


def test_a_model_that_is_not_served_is_refused_and_not_downloaded(first: RoleRun, roles: SiteOfRoles) -> None:
    assert generate(roles, "sam2:tiny") == (400, {"detail": "Model 'sam2:tiny' not found."})


def test_the_health_of_segmentation_says_what_runs_it(first: RoleRun, roles: SiteOfRoles) -> None:
    status, answer = ask(roles, "fields", 11368, "/health")
    assert status == 200
    assert json.loads(answer) == {
        "model": "tiny:test", "providers": dict.fromkeys(("encoder", "decoder"), "CPUExecutionProvider"),
    }  # fmt: skip


def test_a_chat_is_answered_whole_and_streamed(first: RoleRun, roles: SiteOfRoles) -> None:
    status, listed = ask(roles, "chat", 8080, "/v1/models")
    assert (status, json.loads(listed)["data"][0]["id"]) == (200, "chat")
    body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}
    status, answer = ask(roles, "chat", 8080, "/v1/chat/completions", body)
    assert status == 200
    assert 1 <= json.loads(answer)["usage"]["completion_tokens"] <= 8
    status, stream = ask(roles, "chat", 8080, "/v1/chat/completions", {**body, "stream": True})
    events = [line.removeprefix(b"data: ") for line in stream.splitlines() if line.startswith(b"data: ")]
    assert (status, events[-1]) == (200, b"[DONE]")
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in events[:-1])


def test_segmentation_answers_over_the_edge_with_a_key_alone(way: GateSite, roles: SiteOfRoles) -> None:
    body = {"model": "tiny:test", "image": PICTURE, "prompt": {"points": [POINT], "point_labels": [1]}}
    asked = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": json.dumps(body).encode()}
    assert way.ask("fields", "/api/generate", key=None, **asked).status == 401
    reply = way.ask("fields", "/api/generate", key="narrow", **asked)
    assert reply.status == 200
    [found] = reply.told["annotations"]
    assert directly(roles, found)["equal"]
    assert way.ask("chat", "/v1/models", key="narrow").status == 403


def test_a_server_of_ones_own_answers_over_the_edge_with_a_key_alone(way: GateSite) -> None:
    assert way.ask("own", key=None).status == 401
    assert way.ask("own", key="narrow").status == 403
    reply = way.ask("own", "/echo?x=1", key="notebook")
    assert (reply.status, reply.told["path"]) == (200, "/echo?x=1")


def test_the_client_of_openai_streams_over_the_edge(way: GateSite, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def here(host: Any, *more: Any, **named: Any) -> Any:
        return resolve("127.0.0.1" if host == f"chat.{DOMAIN}" else host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    address = f"https://chat.{DOMAIN}:{way.edge.ports['https']}/v1"
    with openai.DefaultHttpxClient(verify=way.edge.context()) as http_client:
        client = openai.OpenAI(api_key=way.key("notebook"), base_url=address, max_retries=0, http_client=http_client)
        assert [model.id for model in client.models.list()] == ["chat"]
        stream = client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], max_tokens=8, stream=True
        )
        chunks = list(stream)
    assert len(chunks) >= 2
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")


def test_a_second_run_changes_nothing(first: RoleRun, roles: SiteOfRoles) -> None:
    before = [container(roles, service).id for service in ("fields", "chat")]
    again = roles.run("inference", secrets=[])
    assert again.rc == 0, again.output[-4000:]
    assert again.changed == []
    assert [container(roles, service).id for service in ("fields", "chat")] == before


def test_a_wrong_checksum_is_told_before_a_container_is_touched(first: RoleRun, roles: SiteOfRoles) -> None:
    before = container(roles, "chat").id
    declared = services(roles.folder)
    declared[1]["model"]["sha256"] = "e" * 64
    failed = roles.run("inference", secrets=[], inference_services=declared)
    assert failed.rc != 0
    message = failed.results["Have the models"]["msg"]
    assert "Cannot fetch 'tiny-7.gguf' of model 'chat': " in message
    assert f"and {'e' * 64} is expected" in message
    assert "Apply the project" not in failed.results
    assert container(roles, "chat").id == before


def test_a_program_that_was_to_use_a_gpu_and_does_not_ends_and_says_so(first: RoleRun, roles: SiteOfRoles) -> None:
    served = container(roles, "fields")
    environment = {**dict(line.split("=", 1) for line in served.attrs["Config"]["Env"]), "NEEDS_GPU": "1"}
    [models] = [mount["Source"] for mount in served.attrs["Mounts"] if mount["Destination"] == "/models"]
    tried = roles.site.engine.containers.run(
        served.attrs["Config"]["Image"], served.attrs["Config"]["Entrypoint"], name=roles.site.name("no-gpu"),
        environment=environment, volumes=[f"{models}:/models:ro"], user="10020:10020", network_mode="none", detach=True,
    )  # fmt: skip
    assert tried.wait(timeout=60)["StatusCode"] == 1
    assert NO_GPU in tried.logs().decode()


@pytest.mark.long
def test_a_service_that_was_to_use_a_gpu_and_does_not_is_a_failure(first: RoleRun, roles: SiteOfRoles) -> None:
    must = {"services": {"fields": {"environment": {"NEEDS_GPU": "1"}}}}
    failed = roles.run("inference", secrets=[], inference_overrides=must)
    assert failed.rc != 0
    message = failed.results["Apply the project"]["msg"]
    assert NO_GPU in message
    # The release before it serves again.
    assert generate(roles)[0] == 200


def test_another_model_makes_its_own_service_anew_and_no_other(first: RoleRun, roles: SiteOfRoles) -> None:
    before = {service: container(roles, service).id for service in ("fields", "chat")}
    done = roles.run("inference", secrets=[], inference_services=services(roles.folder, seed=8))
    assert done.rc == 0, done.output[-4000:]
    assert container(roles, "fields").id == before["fields"]
    assert container(roles, "chat").id != before["chat"]
    assert done.results["Have the models"]["unused"] == [sha256_of(tiny_gguf(7))]
    assert ask(roles, "chat", 8080, "/health")[0] == 200


def test_behind_the_gateway_services_are_proven_and_woken_by_who_has_a_key(way: GateSite, roles: SiteOfRoles) -> None:
    """The containers are made by the role and started by the gateway, which also calls the models first."""
    behind = {"__inference_gateway": roles.site.name("gateway"), "inference_services": services(roles.folder, seed=9)}
    done = roles.run("inference", secrets=[], **behind)
    assert done.rc == 0, done.output[-4000:]
    applied = done.results["Apply the project"]
    assert (applied["services"]["chat"], applied["unproven"]) == ("asleep", {})
    made = container(roles, "chat")
    assert (made.attrs["State"]["Running"], made.attrs["State"]["ExitCode"]) == (False, 0)
    assert b"n_tokens = " in made.logs(), "it was called before it went to sleep"
    assert way.ask("chat", "/v1/models", key=None).status == 401
    assert way.ask("chat", "/v1/models", key="narrow").status == 403
    assert (way.phase("chat"), container(roles, "chat").attrs["State"]["Running"]) == ("asleep", False)
    reply = way.ask("chat", "/v1/models", key="notebook")
    assert (reply.status, reply.told["data"][0]["id"]) == (200, "chat")
    assert (way.phase("chat"), container(roles, "chat").attrs["State"]["Running"]) == ("awake", True)
    again = roles.run("inference", secrets=[], **behind)
    assert again.rc == 0, again.output[-4000:]
    assert again.changed == []
    assert container(roles, "chat").id == made.id
