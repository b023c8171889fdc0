# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From services to what Compose, the gateway, the edge and model_files get of them, by the role's own engines."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._inference.plan import plan_inference
from ansible_collections.modelyard.platform.plugins.module_utils._models.declaration import parse_models
from modelyard_gateway.services import parse_services
from support.inference_engines import engines, facts

KNOWN = "custom, llama_cpp, mlflow_model, ollama, osam, vllm"
FORMS = "write models:/NAME@ALIAS, or models:/NAME/NUMBER for one version for ever"
SHA, OTHER = "a" * 64, "b" * 64
CHAT = {"name": "chat", "engine": "llama_cpp", "model": {"url": "https://hub.example/m/tiny.gguf", "sha256": SHA}}
FIELDS = {
    "name": "fields", "engine": "osam",
    "model": {
        "name": "fields:v1",
        "files": [
            {"part": "encoder", "url": "https://hub.example/e.onnx", "sha256": SHA},
            {"part": "decoder", "url": "https://hub.example/d.onnx", "sha256": OTHER},
        ],
    },
}  # fmt: skip
CUSTOM = {"name": "own", "engine": "custom", "image": "registry.example/own:1", "ready": {"path": "/up"}}
VLLM = {"name": "large", "engine": "vllm", "gpus": [0], "model": CHAT["model"]}
OLLAMA = {"name": "llama", "engine": "ollama", "model": CHAT["model"]}


def plan(*services: Any, **more: Any) -> dict[str, Any]:
    found = plan_inference(list(services), engines(), facts(**more))
    assert found["problem"] == "\n".join(found["problems"])
    return found


def right(*services: Any, **more: Any) -> dict[str, Any]:
    found = plan(*services, **more)
    assert found["problems"] == []
    return found


def test_a_service_is_hardened_and_sees_its_model_alone() -> None:
    found = right(CHAT)
    [model] = parse_models(found["models"])
    service = found["services"]["chat"]
    assert service["volumes"] == [f"/opt/lab/models/trees/{model.tree}:/models:ro"]
    assert service["networks"] == {"chat": {}}, "of its own"
    assert (service["read_only"], service["cap_drop"], service["user"]) == (True, ["ALL"], "10020:10020")
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["image"] == "modelyard/llama-cpp:1"
    assert service["entrypoint"] == [
        "llama-server", "--model", "/models/tiny.gguf", "--alias", "chat", "--host", "0.0.0.0", "--port", "8080",  # noqa: S104
    ]  # fmt: skip
    assert "deploy" not in service
    assert "x-modelyard" not in service
    assert found["models"] == [
        {
            "name": "chat",
            "files": [{"path": "tiny.gguf", "sha256": SHA, "sources": ["https://hub.example/m/tiny.gguf"]}],
        }
    ]


def test_the_health_check_asks_for_the_model_as_long_as_a_wake_may_take() -> None:
    check = right({**CHAT, "wake_seconds": 900})["services"]["chat"]["healthcheck"]
    assert check["test"][:3] == ["CMD", "bash", "-c"]
    assert "/dev/tcp/127.0.0.1/8080" in check["test"][3]
    assert r"'GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n'" in check["test"][3]
    assert (check["interval"], check["start_period"]) == ("5s", "900s")


def test_the_gateway_understands_what_it_is_told() -> None:
    more = {"gpus": ["0"], "vram_mib": 6000, "idle_minutes": 15, "hold_seconds": 60, "stop_seconds": 5}
    found = right({**FIELDS, **more, "scopes": ["vision"]}, CHAT, CUSTOM)
    own = ("hosts", "cors", "max_body_mib", "timeout_seconds")
    told = [{key: value for key, value in entry.items() if key not in own} for entry in found["gated"]]
    content = json.dumps({"format": 1, "gpus": {"0": 8000}, "services": told})
    read = parse_services(content.encode(), "services.json").services
    fields = read["fields"]
    assert (fields.container, fields.port) == ("lab-inference-fields-1", 11368)
    assert fields.network == "lab-inference_fields"
    assert fields.address == fields.container, "in the networks of the edge a bare name may be somebody else's"
    assert (fields.vram_mib, fields.idle_seconds, fields.hold_seconds, fields.stop_seconds) == ({"0": 6000}, 900, 60, 5)
    assert (fields.scopes, read["chat"].scopes) == ({"fields", "vision"}, {"chat"})
    assert fields.warm_up is not None
    body = json.loads(fields.warm_up.body)
    assert (body["model"], fields.warm_up.content_type) == ("fields:v1", "application/json")
    picture = base64.b64decode(body["image"], validate=True)
    content = zlib.decompress(picture[picture.index(b"IDAT") + 4 : picture.index(b"IEND") - 8])
    assert content == (b"\0" + b"\xff" * 3 * 64) * 64
    assert read["chat"].idle_seconds is None
    assert "hold_seconds" not in found["gated"][1], "as long as the gateway holds any"
    assert read["chat"].ready.path == "/health"
    assert (read["own"].ready.path, read["own"].warm_up) == ("/up", None)
    assert [entry["hosts"] for entry in found["gated"]] == [["fields.lab.test"], ["chat.lab.test"], ["own.lab.test"]]


def test_routes_name_the_hosts_and_what_is_behind_them() -> None:
    [route] = right({**CHAT, "hosts": ["llm.lab.test", "chat.example.org"]})["routes"]
    assert (route["name"], route["hosts"]) == ("chat", ["llm.lab.test", "chat.example.org"])
    assert route["entry"]["description"] == "chat by llama_cpp, for whoever has a key"


def test_a_segmentation_model_is_told_which_file_is_which_part() -> None:
    service = right(FIELDS)["services"]["fields"]
    assert json.loads(service["environment"]["MODEL"]) == {
        "name": "fields:v1", "kind": "efficientsam", "files": {"encoder": "e.onnx", "decoder": "d.onnx"},
    }  # fmt: skip
    assert service["environment"]["OSAM_ONNX_PROVIDERS"] == "CPUExecutionProvider"
    assert "NEEDS_GPU" not in service["environment"]


@pytest.mark.parametrize(("form", "device"), [("nvidia", "0"), ("cdi", "nvidia.com/gpu=0")])
def test_a_service_with_a_gpu_asks_for_it_and_must_use_it(form: str, device: str) -> None:
    found = right({**FIELDS, "gpus": [0], "vram_mib": {"0": 4000}}, gpu_form=form)
    service = found["services"]["fields"]
    [request] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (request["driver"], request["device_ids"]) == (form, [device])
    assert service["environment"]["NEEDS_GPU"] == "1"
    assert service["image"] == "modelyard/osam-gpu:1"
    assert found["recipes"] == ["osam_gpu"]
    assert found["gpu"] == [{"service": "fields", "gpus": ["0"], "vram_mib": {"0": 4000}, "fallback": False}]


def test_a_guard_stands_before_a_program_that_goes_on_by_the_cpu() -> None:
    service = right({**CHAT, "gpus": ["0"]})["services"]["chat"]
    assert service["entrypoint"][:2] == ["/bin/sh", "-c"]
    assert "--list-devices | grep -q" in service["entrypoint"][2]
    assert "Cannot serve chat on a GPU" in service["entrypoint"][2]
    assert service["entrypoint"][2].endswith('&& exec "$$0" "$$@"')
    assert service["entrypoint"][3:6] == ["/app/llama-server", "--model", "/models/tiny.gguf"]


@pytest.mark.parametrize("has_gpus", [None, True, False])
def test_a_service_that_may_fall_back_does_so_where_there_is_no_gpu(has_gpus: bool | None) -> None:
    found = right({**FIELDS, "gpus": ["0"], "vram_mib": 4000, "cpu_fallback": True}, has_gpus=has_gpus)
    service = found["services"]["fields"]
    assert "NEEDS_GPU" not in service["environment"]
    assert ("deploy" in service) is (has_gpus is not False)
    assert found["gated"][0]["vram_mib"] == ({} if has_gpus is False else {"0": 4000})
    assert found["recipes"] == (["osam"] if has_gpus is False else ["osam_gpu"])
    assert found["gpu"][0]["fallback"] is True


def test_a_service_behind_the_gateway_is_left_to_it() -> None:
    service = right(CHAT, gateway="lab-gateway")["services"]["chat"]
    assert service["x-modelyard"] == {"sleeper": {"project": "lab-gateway", "service": "gateway", "name": "chat"}}


def test_replicas_are_containers_of_one_service_each_with_its_share_of_the_gpus() -> None:
    four = {"gpus": [0, 1, 2, 3], "vram_mib": {"0": 10, "1": 11, "2": 12, "3": 13}, "replicas": 2, "idle_minutes": 5}
    found = right({**FIELDS, **four, "scopes": ["vision"]}, gateway="lab-gateway")
    assert list(found["services"]) == ["fields", "fields-2"]
    requests = [
        one["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] for one in found["services"].values()
    ]
    assert requests == [["0", "1"], ["2", "3"]]
    sleepers = [one["x-modelyard"]["sleeper"]["name"] for one in found["services"].values()]
    assert sleepers == ["fields", "fields-2"]
    first, second = found["gated"]
    own = {"name": "fields-2", "container": "lab-inference-fields-2-1", "replica_of": "fields", "hosts": []}
    assert {key: second[key] for key in own} == own
    assert (first["vram_mib"], second["vram_mib"]) == ({"0": 10, "1": 11}, {"2": 12, "3": 13})
    assert second["address"] != first["address"]
    assert first.keys() == second.keys() - {"replica_of"}
    assert [wanted["gpus"] for wanted in found["gpu"]] == [["0", "1"], ["2", "3"]]
    assert [len(found[key]) for key in ("routes", "models", "recipes")] == [1, 1, 1]
    one, other = (found["services"][name] for name in ("fields", "fields-2"))
    same = ("volumes", "environment", "image", "entrypoint")
    assert {key: one[key] for key in same} == {key: other[key] for key in same}


def test_replicas_answer_to_one_name() -> None:
    found = right({**CUSTOM, "port": 1, "command": ["serve", "--as={name}"], "replicas": 2})
    assert [one["entrypoint"] for one in found["services"].values()] == [["serve", "--as=own"]] * 2


def test_a_name_that_cannot_be_looked_up_is_refused() -> None:
    longest = "n" * 40
    right({**CHAT, "name": longest}, prefix="p" * 10)
    [problem] = plan({**CHAT, "name": longest, "replicas": 2}, prefix="p" * 10)["problems"]
    assert problem == (
        f"Cannot serve '{longest}': its container would be called {'p' * 10}-inference-{longest}-2-1, and names that "
        "are looked up have 63 characters at most; give it, or the site (site_prefix), a shorter name."
    )


@pytest.mark.parametrize(
    ("gpus", "replicas", "dealt"),
    [([], 3, [[], [], []]), (["0"], 2, [["0"], ["0"]]), (["0", "1"], 4, [["0"], ["1"], ["0"], ["1"]])],
)
def test_gpus_are_dealt_to_replicas(gpus: list[str], replicas: int, dealt: list[list[str]]) -> None:
    found = right({**FIELDS, **({"gpus": gpus} if gpus else {}), "replicas": replicas})
    devices = [one.get("deploy", {}).get("resources", {}) for one in found["services"].values()]
    given = [one["reservations"]["devices"][0]["device_ids"] if one else [] for one in devices]
    assert given == dealt


def test_replicas_serve_one_model_of_the_registry() -> None:
    model = {"name": "roofs", "engine": "mlflow_model", "model": {"uri": "models:/roofs@champion"}, "replicas": 2}
    folders = {"roofs": "/opt/lab/models/mlflow/abc"}
    found = right(model, registered=folders, recipes={"mlflow-model-roofs": "modelyard/mlflow-model:1"})
    for service in found["services"].values():
        assert (service["image"], service["volumes"]) == (
            "modelyard/mlflow-model:1", ["/opt/lab/models/mlflow/abc:/models:ro"],
        )  # fmt: skip
    assert (found["recipes"], [one["service"] for one in found["registered"]]) == (["mlflow-model-roofs"], ["roofs"])


def test_what_compose_would_expand_is_escaped() -> None:
    more = {"arguments": ["--prompt=$HOME"], "environment": {"PRICE": "5$", "NUMBER": 3}}
    service = right({**CHAT, **more})["services"]["chat"]
    assert service["entrypoint"][-1] == "--prompt=$$HOME"
    assert (service["environment"]["PRICE"], service["environment"]["NUMBER"]) == ("5$$", "3")


def test_a_custom_server_is_what_its_service_says() -> None:
    more = {
        "command": ["serve", "--port={port}"],
        "port": 9000,
        "memory_limit": "512m",
        "gpu_guard": "test -e /dev/gpu",
    }
    service = right({**CUSTOM, **more})["services"]["own"]
    assert (service["entrypoint"], service["mem_limit"]) == (["serve", "--port=9000"], "512m")
    assert "volumes" not in service
    guarded = right({**CUSTOM, **more, "gpus": ["1"]})["services"]["own"]["entrypoint"]
    assert guarded[2] == 'test -e /dev/gpu && exec "$$0" "$$@"'


def test_upstream_engines_are_what_their_images_take() -> None:
    found = right(VLLM, OLLAMA)
    assert found["services"]["large"]["image"] == "{{ inference_vllm_image }}"
    assert found["services"]["large"]["environment"]["HF_HUB_OFFLINE"] == "1"
    assert found["services"]["llama"]["environment"]["OLLAMA_HOST"] == "0.0.0.0:11434"
    assert found["recipes"] == []


def test_the_gate_waits_longer_than_the_slowest_wake() -> None:
    assert right(CHAT, {**FIELDS, "wake_seconds": 1200})["wait_seconds"] == 1500


def test_a_token_goes_to_model_files_alone() -> None:
    found = right({**CHAT, "model": {**CHAT["model"], "token": "@@secret:hub@@"}})
    assert found["models"][0]["files"][0]["token"] == "@@secret:hub@@"
    assert "hub@@" not in json.dumps([found["services"], found["gated"], found["routes"]])


def test_an_own_engine_is_used_like_one_of_ours() -> None:
    own = {
        "cpu": {"image": "registry.example/e:1"},
        "command": ["serve", "{file}"],
        "port": 81,
        "ready": {"path": "/r"},
    }
    found = plan_inference([{**CHAT, "engine": "mine"}], {**engines(), "mine": own}, facts())
    assert found["problems"] == []
    assert found["services"]["chat"]["entrypoint"] == ["serve", "/models/tiny.gguf"]


def test_an_engine_of_another_form_is_told() -> None:
    found = plan_inference([CHAT], {**engines(), "mine": {"prot": 81}}, facts())
    assert found["problems"] == [
        (
            "Cannot use engine 'mine': it has no option 'prot'; known are command, cpu, environment, gpu, "
            "loads_when_called, model, port, proof, ready, shm_size, tmpfs, user, warm_up."
        )
    ]
    assert set(found["services"]) == {"chat"}


WRONG: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "no-mapping": (["chat"], {}, "Cannot serve 'chat': it is no mapping; give one with 'name', 'engine' and 'model'."),
    "name": (
        [{**CHAT, "name": "Chat!"}], {},
        "Cannot serve 'Chat!': name is 'Chat!'; give up to 40 lower-case letters, digits and '-'.",
    ),
    "name-of-the-gate": (
        [{**CHAT, "name": "gate"}], {}, "Cannot serve 'gate': that is the gateway's own name; choose another one.",
    ),
    "option": (
        [{**CUSTOM, "idle": 5}], {},
        (
            "Cannot serve 'own': it has no option 'idle'; known are arguments, command, cors, cpu_fallback, engine, "
            "environment, gpu_guard, gpus, hold_seconds, hosts, idle_minutes, image, max_body_mib, memory_limit, "
            "model, name, port, ready, replicas, scopes, stop_seconds, timeout_seconds, vram_mib, wake_seconds, "
            "warm_up."
        ),
    ),
    "engine": (
        [{**CHAT, "engine": "torch"}], {},
        f"Cannot serve 'chat': there is no engine 'torch'; known are {KNOWN}.",
    ),
    "two-of-one-name": ([CHAT, CHAT], {}, "Cannot serve 'chat': two services have this name; rename one."),
    "two-of-one-host": (
        [CHAT, {**FIELDS, "hosts": ["chat.lab.test"]}], {},
        "Cannot serve 'chat' and 'fields': both have the host chat.lab.test; give one another in 'hosts'.",
    ),
    "checksum": (
        [{**CHAT, "model": {"url": "https://x/y.gguf", "sha256": "123"}}], {},
        (
            "Cannot have model 'chat': the checksum of 'y.gguf' is '123'; give the 64 hexadecimal digits of its "
            "SHA-256 (sha256sum FILE)."
        ),
    ),
    "no-model": (
        [{"name": "chat", "engine": "llama_cpp"}], {},
        "Cannot serve 'chat': engine 'llama_cpp' needs a model; give 'model' with 'url' and 'sha256'.",
    ),
    "both-forms-of-a-model": (
        [{**CHAT, "model": {**CHAT["model"], "files": []}}], {},
        "Cannot serve 'chat': 'files' is beside 'sha256'; give either 'files', or 'url' and 'sha256' of one.",
    ),
    "parts": (
        [{**FIELDS, "model": CHAT["model"]}], {},
        (
            "Cannot serve 'fields': its files have no parts, or two the same; give each 'part', such as encoder and "
            "decoder."
        ),
    ),
    "kind": (
        [{**FIELDS, "model": {**FIELDS["model"], "kind": "yolo"}}], {},
        "Cannot serve 'fields': model.kind is 'yolo'; known are efficientsam, sam, sam2, sam3, yoloworld.",
    ),
    "gpu": (
        [{**CHAT, "gpus": ["card1"]}], {},
        "Cannot serve 'chat': 'card1' is no GPU; name it by its index or UUID, as nvidia-smi -L shows them.",
    ),
    "gpu-twice": (
        [{**CHAT, "gpus": ["all", 0]}], {},
        "Cannot serve 'chat': gpus are all, 0; name each once, or 'all' alone.",
    ),
    "memory-of-no-gpu": (
        [{**CHAT, "vram_mib": 5000}], {},
        "Cannot serve 'chat': it has vram_mib, and gpus are none; name the same GPUs in both.",
    ),
    "memory-of-another-gpu": (
        [{**CHAT, "gpus": [0], "vram_mib": {"1": 5000}}], {},
        "Cannot serve 'chat': vram_mib names GPU '1', and gpus are 0; name the same GPUs in both.",
    ),
    "memory": (
        [{**CHAT, "gpus": [0], "vram_mib": "all"}], {},
        "Cannot serve 'chat', vram_mib: 0 is 'all'; give a number from 1 to 16777216.",
    ),
    "fallback-of-nothing": (
        [{**CHAT, "cpu_fallback": True}], {},
        "Cannot serve 'chat': it has cpu_fallback and no GPU; give it 'gpus', or leave cpu_fallback out.",
    ),
    "cpu-of-vllm": (
        [{"name": "large", "engine": "vllm", "model": CHAT["model"]}], {},
        "Cannot serve 'large': engine 'vllm' runs on GPUs alone; give it 'gpus'.",
    ),
    "custom-without-an-image": (
        [{"name": "own", "engine": "custom", "ready": {"path": "/"}}], {},
        "Cannot serve 'own': engine 'custom' brings no image; give it 'image'.",
    ),
    "custom-that-is-never-ready": (
        [{"name": "own", "engine": "custom", "image": "x:1"}], {},
        "Cannot serve 'own': nothing says when its model is loaded; give 'ready', such as {path: /health}.",
    ),
    "upstream-image-where-none-is-pulled": (
        [OLLAMA], {"pulls_images": False},
        (
            "Cannot serve 'llama': engine 'ollama' has no packages to build its image from, and site_images is "
            "'packages'; choose another engine, or allow this one image with 'image: {{ inference_ollama_image }}'."
        ),
    ),
    "model-that-nobody-loads": (
        [{**OLLAMA, "warm_up": False}], {},
        (
            "Cannot serve 'llama': engine 'ollama' loads its model with the first call, and warm_up is none; leave "
            "'warm_up' out, or give the call that loads it."
        ),
    ),
    "number": (
        [{**CHAT, "idle_minutes": "soon"}], {},
        "Cannot serve 'chat': idle_minutes is 'soon'; give a number from 0 to 525600.",
    ),
    "host": (
        [{**CHAT, "hosts": ["Chat.lab"]}], {},
        "Cannot serve 'chat': 'Chat.lab' is no name of a host; give lower-case DNS names in 'hosts'.",
    ),
    "replicas": (
        [{**FIELDS, "gpus": [0, 1], "replicas": 3}], {},
        "Cannot serve 'fields': 3 replicas cannot share 2 GPUs; give each as many, or each GPU as many of them.",
    ),
    "replica's name": (
        [{**CHAT, "replicas": 2}, {**CHAT, "name": "chat-2"}], {},
        "Cannot serve 'chat-2': two services have this name; rename one.",
    ),
    "scope": (
        [{**CHAT, "scopes": ["*"]}], {},
        "Cannot serve 'chat': '*' is no scope; use lower-case letters, digits, '_', '.' and '-'.",
    ),
    "memory-limit": (
        [{**CHAT, "memory_limit": "much"}], {}, "Cannot serve 'chat': memory_limit is 'much'; give a size such as 4g.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_meant_is_told(case: str) -> None:
    services, more, text = WRONG[case]
    assert plan(*services, **more)["problems"] == [text]


def test_all_that_is_wrong_is_told_at_once_and_what_is_right_is_planned() -> None:
    found = plan(CHAT, {**FIELDS, "engine": "torch"}, {"name": "x y"})
    assert len(found["problems"]) == 2
    assert set(found["services"]) == {"chat"}


def test_services_that_are_no_list_are_told() -> None:
    found = plan_inference({"chat": CHAT}, engines(), facts())
    assert found["problems"] == ["Cannot serve models: inference_services is no list; make it one."]


def test_the_warm_up_may_be_changed_and_left_out() -> None:
    found = right({**CHAT, "warm_up": {"path": "/v1/embeddings", "body": {"input": "{model}"}}})
    warm_up = found["gated"][0]["warm_up"]
    assert (warm_up["path"], json.loads(warm_up["body"]), warm_up["method"]) == (
        "/v1/embeddings",
        {"input": "chat"},
        "POST",
    )
    assert "warm_up" not in right({**CHAT, "warm_up": False})["gated"][0]


REGISTERED = {"name": "roofs", "engine": "mlflow_model", "model": {"uri": "models:/roofs@champion", "python": "3.13"}}


def test_a_model_of_the_registry_has_the_folder_and_the_image_of_its_version() -> None:
    found = right(
        REGISTERED, registered={"roofs": "/opt/lab/models/mlflow/4-ab"}, recipes={"mlflow-model-roofs": "modelyard/m:1"}
    )
    assert found["registered"] == [{"service": "roofs", "uri": "models:/roofs@champion", "python": "3.13"}]
    assert (found["models"], found["recipes"]) == ([], ["mlflow-model-roofs"])
    service = found["services"]["roofs"]
    assert service["volumes"] == ["/opt/lab/models/mlflow/4-ab:/models:ro"]
    assert service["image"] == "modelyard/m:1"
    [gated] = found["gated"]
    assert gated["ready"] == {"path": "/ping"}


def test_two_models_of_one_environment_are_two_recipes_of_the_same_image() -> None:
    found = right(REGISTERED, {**REGISTERED, "name": "walls", "model": {"uri": "models:/walls/3"}})
    assert found["recipes"] == ["mlflow-model-roofs", "mlflow-model-walls"]
    assert [model["uri"] for model in found["registered"]] == ["models:/roofs@champion", "models:/walls/3"]


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (
            {**REGISTERED, "model": {}},
            "Cannot serve 'roofs': engine 'mlflow_model' needs a model of the registry; give 'model' with 'uri'.",
        ),
        (
            {**REGISTERED, "model": {"uri": "models:/roofs"}},
            f"Cannot serve 'models:/roofs' as 'roofs': it names no model of the registry; {FORMS}.",
        ),
        (
            {**REGISTERED, "model": {"uri": "models:/roofs/1", "python": "3.12"}},
            "Cannot serve 'roofs': python is '3.12'; give '3.11' or '3.13'.",
        ),
        (
            {**REGISTERED, "model": {**CHAT["model"], "uri": "models:/roofs/1"}},  # type: ignore[dict-item]
            "Cannot serve 'roofs': engine 'mlflow_model' reads no files; leave them out of 'model'.",
        ),
        (
            {**CHAT, "model": {**CHAT["model"], "uri": "models:/roofs/1"}},  # type: ignore[dict-item]
            "Cannot serve 'chat': engine 'llama_cpp' has no models of the registry; leave out 'uri' and 'python'.",
        ),
        (
            {**REGISTERED, "gpus": [0]},
            "Cannot serve 'roofs': engine 'mlflow_model' has no variant for GPUs; leave 'gpus' out.",
        ),
    ],
)
def test_a_model_of_the_registry_that_cannot_be_meant_is_refused(service: dict[str, Any], said: str) -> None:
    assert plan(service)["problems"] == [said]
