# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps an engine that was to use a GPU from going on by the CPU, run by ``sh`` with stand-ins of its programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._inference.plan import plan_inference
from support.inference_engines import engines, facts

MODEL = {"url": "https://hub.example/m/tiny.gguf", "sha256": "a" * 64}
#: What ``llama-server --list-devices`` writes: Debian's build; upstream's for CUDA, its log among it; that with a GPU.
NO_DEVICE = "Available devices:\n  (none)"
NO_DRIVER = f"ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n{NO_DEVICE}"
DEVICE = "Available devices:\n  CUDA0: Tesla T4 (15095 MiB, 14990 MiB free)"
LLAMA = """\
#!/bin/sh
if [ "$1" = --list-devices ]; then cat "${0%/*}/devices"; else echo "serves $*"; fi
"""
#: Of its answers `up` is there once it listens, where it was told to in the guard; `ended` is when it was stopped.
OLLAMA = """\
#!/bin/sh
place=${0%/*}
case "$1 $OLLAMA_HOST" in
    "serve 0.0.0.0:11434") echo "serves $*" ;;
    "serve 127.0.0.1:11435")
        [ ! -e "$place/broken" ] || exit 3
        trap 'touch "$place/ended"; exit 0' TERM
        sleep 0.3; touch "$place/up"
        while :; do sleep 0.05; done ;;
    "list 127.0.0.1:11435") [ -e "$place/up" ] ;;
    "run 127.0.0.1:11435")
        if [ -e "$place/unloadable" ]; then echo "Error: unable to load model" >&2; exit 1; fi
        echo "$2" > "$place/loaded" ;;
    "ps 127.0.0.1:11435") echo "NAME ID SIZE PROCESSOR CONTEXT UNTIL"; [ ! -e "$place/loaded" ] || cat "$place/ps" ;;
    *) echo "unexpected: $* at $OLLAMA_HOST" >&2; exit 64 ;;
esac
"""


def start(service: dict[str, Any], folder: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run what a service's container runs, with other programs in the place of the engine's."""
    found = plan_inference([{"model": MODEL, "gpus": [0], **service}], engines(), facts(has_gpus=True))
    assert found["problems"] == []
    rendered = next(iter(found["services"].values()))
    for name, text in programs.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    # Compose makes $ of $$; upstream's image has llama.cpp's programs in a folder of their own.
    command = [part.replace("$$", "$").replace("/app/", f"{folder}/") for part in rendered["entrypoint"]]
    environment = {**os.environ, **rendered["environment"], "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=30)


def start_llama(folder: Path, devices: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return start(
        {"name": "chat", "engine": "llama_cpp", **more}, folder, {"llama-server": LLAMA, "devices": f"{devices}\n"}
    )


def start_ollama(folder: Path, processor: str, model: str = "qwen3:0.6b", *marks: str) -> Any:
    table = f"{model} 7df6b6e09427 1.2 GB {processor} 4096 Forever\n"
    service = {"name": "llama", "engine": "ollama", "model": {**MODEL, "name": model}}
    return start(service, folder, {"ollama": OLLAMA, "ps": table, **dict.fromkeys(marks, "")})


def test_llama_cpp_starts_where_it_finds_a_gpu(tmp_path: Path) -> None:
    done = start_llama(tmp_path, DEVICE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("serves --model /models/tiny.gguf ")
    assert done.stdout.endswith("--n-gpu-layers 999\n")


@pytest.mark.parametrize("devices", [NO_DEVICE, NO_DRIVER], ids=["none", "no-driver"])
def test_llama_cpp_ends_where_it_finds_none(devices: str, tmp_path: Path) -> None:
    done = start_llama(tmp_path, devices)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Cannot serve chat on a GPU: llama-server --list-devices names none; look at driver and toolkit (gpu_info), or "
        "allow cpu_fallback.\n"
    )


def test_llama_cpp_ends_where_its_program_is_missing(tmp_path: Path) -> None:
    done = start({"name": "chat", "engine": "llama_cpp"}, tmp_path, {})
    assert (done.returncode, done.stdout) == (1, "")
    assert "Cannot serve chat on a GPU: " in done.stderr


def test_llama_cpp_that_may_fall_back_is_not_asked(tmp_path: Path) -> None:
    done = start_llama(tmp_path, NO_DEVICE, cpu_fallback=True)
    assert (done.returncode, done.stdout[:7]) == (0, "serves ")


@pytest.mark.parametrize("model", ["qwen3:0.6b", "for-CPUs:1b"])
def test_ollama_starts_where_the_model_is_on_gpus_alone(model: str, tmp_path: Path) -> None:
    done = start_ollama(tmp_path, "100% GPU", model)
    assert (done.returncode, done.stdout, done.stderr) == (0, "serves serve\n", "")
    assert (tmp_path / "loaded").read_text(encoding="utf-8") == f"{model}\n"
    assert (tmp_path / "ended").exists(), "what loaded the model for the guard has its memory still"


@pytest.mark.parametrize("processor", ["100% CPU", "48%/52% CPU/GPU", "0%/100% CPU/GPU"])
@pytest.mark.parametrize("model", ["qwen3:0.6b", "for-GPUs:1b"])
def test_ollama_ends_where_the_cpu_has_a_part(model: str, processor: str, tmp_path: Path) -> None:
    done = start_ollama(tmp_path, processor, model)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Cannot serve llama on a GPU: the CPU has a part in it, as ollama ps says; choose a smaller model, look at "
        "driver and toolkit (gpu_info), or allow cpu_fallback.\n"
    )
    assert (tmp_path / "ended").exists()


def test_a_model_that_ollama_cannot_load_is_not_blamed_on_the_gpu(tmp_path: Path) -> None:
    done = start_ollama(tmp_path, "100% GPU", "qwen3:0.6b", "unloadable")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: unable to load model\n"
    assert (tmp_path / "ended").exists()


def test_ollama_that_does_not_start_is_not_waited_for(tmp_path: Path) -> None:
    done = start_ollama(tmp_path, "100% GPU", "qwen3:0.6b", "broken")
    assert (done.returncode, done.stdout) == (1, "")
