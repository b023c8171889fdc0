# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inference services that cannot work, told before anything is touched; and what the others come to for other roles.

Each case is a host with values of its own, so that one run of ``site_plan`` tells of all of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.answers import plan_of

ROLES = {"traefik": "site_hosts", "gateway": "site_hosts", "inference": "site_hosts"}
SHA = "a" * 64
KNOWN = "custom, llama_cpp, mlflow_model, ollama, osam, vllm"


def chat(host: str, **more: Any) -> dict[str, Any]:
    model = {"url": "https://hub.example/tiny.gguf", "sha256": SHA}
    # Names of the edge are of the whole site.
    return {"name": "chat", "engine": "llama_cpp", "model": model, "hosts": [f"{host}.lab.eu"], **more}


CASES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "none": ([], []),
    "right": ([chat("right", gpus=[0], vram_mib=2000)], []),
    "engine": (
        [chat("engine", engine="torch")],
        [f"Cannot serve 'chat': there is no engine 'torch'; known are {KNOWN}."],
    ),
    "twice": (
        [chat("twice"), chat("again")], ["Cannot serve 'chat': two services have this name; rename one."],
    ),
    "checksum": (
        [chat("checksum", model={"url": "https://hub.example/tiny.gguf", "sha256": "12"})],
        [
            (
                "Cannot have model 'chat': the checksum of 'tiny.gguf' is '12'; give the 64 hexadecimal digits of its "
                "SHA-256 (sha256sum FILE)."
            )
        ],
    ),
    "two-at-once": (
        [chat("two-at-once", gpus=["x"]), chat("other", name="b", engine="vllm")],
        [
            "Cannot serve 'chat': 'x' is no GPU; name it by its index or UUID, as nvidia-smi -L shows them.",
            "Cannot serve 'b': engine 'vllm' runs on GPUs alone; give it 'gpus'.",
        ],
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plan")
    hosts = {name: {"inference_services": services} for name, (services, _said) in CASES.items()}
    values = {"site_domain": "lab.eu", "ansible_connection": "local", "inference_mirror_bucket": ""}
    inventory = {"site_hosts": {"hosts": hosts, "vars": values}}
    return plan_of(inventory, ROLES, folder)


@pytest.mark.parametrize("case", CASES)
def test_what_is_said_of_services(case: str, planned: dict[str, Any]) -> None:
    said = [line for text in planned["problems"] if text.startswith(f"{case}: ") for line in text.splitlines()]
    assert [line.removeprefix(f"{case}: ") for line in said] == CASES[case][1]


def test_the_gateway_the_edge_and_preflight_are_told_of_a_service(planned: dict[str, Any]) -> None:
    of_host = {
        subject: [need["data"] for need in needs if need["host"] == "right" and need["role"] == "inference"]
        for subject, needs in planned["needs"].items()
    }
    [gated], [route], [gpu] = of_host["gated"], of_host["route"], of_host["gpu"]
    assert (gated["container"], gated["hosts"]) == ("modelyard-inference-chat-1", ["right.lab.eu"])
    assert route["hosts"] == ["right.lab.eu"]
    assert gpu == {"service": "chat", "gpus": ["0"], "vram_mib": {"0": 2000}, "fallback": False}
    assert planned["order"].index("gateway") < planned["order"].index("inference")
