# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts of whole hosts as the module returns them, and that its documentation names each."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.answer import to_answer
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.judge import judge
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe
from support.gpu_hosts import CASES, FOLDER, HOSTS, DescribedHost, read_description
from support.tree import ROOT

MIB = 1024 * 1024


def answer(path: Path, folder: Path) -> dict[str, Any]:
    facts = observe(DescribedHost(folder, read_description(path)), "/etc/docker/daemon.json")
    # As it reaches the controller: what is no plain data fails here.
    told: dict[str, Any] = json.loads(json.dumps(to_answer(facts, judge(facts))))
    return told


def of_host(name: str, folder: Path) -> dict[str, Any]:
    return answer(FOLDER / "hosts" / f"{name}.yml", folder)


def of_case(name: str, folder: Path) -> dict[str, Any]:
    return answer(FOLDER / "cases" / f"{name}.yml", folder)


def test_a_t4_of_aws(tmp_path: Path) -> None:
    told = of_host("t4", tmp_path)
    assert told["present"]
    assert told["good"]
    assert told["cards"] == [{"pci_address": "0000:00:1e.0", "device_id": "0x1eb8", "kernel_driver": "nvidia"}]
    assert told["gpus"] == [
        {
            "index": 0, "uuid": "GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21", "model": "Tesla T4",
            "architecture": "Turing", "pci_address": "0000:00:1e.0", "device_number": 0,
            "memory_total_bytes": 15360 * MIB,
            "memory_used_bytes": 1032 * MIB, "mig_mode": "unsupported", "mig_mode_pending": "unsupported",
            "mig_instances": [], "has_persistence": True, "compute_mode": "Default", "recovery_action": "",
            "memory_repair": "none", "problem": "",
        }
    ]  # fmt: skip
    assert told["driver"] == {
        "user_space_version": "550.163.01", "loaded_version": "550.163.01", "module_version": "550.163.01",
        "module_kind": "proprietary", "is_loaded": True, "is_mismatched": False, "is_reboot_pending": False,
        "is_signed": True, "is_secure_boot": None, "is_nouveau_loaded": False, "cuda_version": "12.4",
        "nvidia_smi": {"state": "answered", "exit_code": 0, "text": ""},
    }  # fmt: skip
    assert told["docker"] == {
        "is_installed": True, "settings_file": "/etc/docker/daemon.json", "is_runtime_registered": True,
        "is_runtime_default": False, "runtime_program": "nvidia-container-runtime",
        "engine": {
            "version": "28.3.3", "runtimes": ["io.containerd.runc.v2", "nvidia", "runc"], "default_runtime": "runc",
            "cdi_devices": [
                "nvidia.com/gpu=0", "nvidia.com/gpu=GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21", "nvidia.com/gpu=all",
            ],
        },
    }  # fmt: skip
    assert told["cdi_specs"] == [
        {
            "path": "/etc/cdi/nvidia.yaml", "kind": "nvidia.com/gpu",
            "devices": ["0", "GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21", "all"], "driver_versions": ["550.163.01"],
            "is_fresh": True, "is_overridden": False, "reasons": [],
        }
    ]  # fmt: skip


def test_an_a100_in_two_halves(tmp_path: Path) -> None:
    told = of_host("a100_mig", tmp_path)
    (gpu,) = told["gpus"]
    assert (gpu["mig_mode"], gpu["mig_mode_pending"], gpu["memory_total_bytes"]) == ("enabled", "enabled", 40960 * MIB)
    assert gpu["mig_instances"] == [
        {
            "index": 0, "gpu_instance_id": 1, "compute_instance_id": 0, "profile": "3g.20gb",
            "uuid": "MIG-4e1b7c52-8d06-5f93-9a2c-60d3e8f1b745", "memory_total_bytes": 19968 * MIB,
            "memory_used_bytes": 19 * MIB,
        },
        {
            "index": 1, "gpu_instance_id": 2, "compute_instance_id": 0, "profile": "3g.20gb",
            "uuid": "MIG-91d0f3a6-27c8-5b4e-8e15-cf72a94d3068", "memory_total_bytes": 19968 * MIB,
            "memory_used_bytes": 12 * MIB,
        },
    ]  # fmt: skip
    assert told["docker"]["is_runtime_default"]
    assert told["docker"]["engine"] is None
    assert [node["path"] for node in told["device_nodes"]] == [
        "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap12",
        "/dev/nvidia-caps/nvidia-cap13",
    ]  # fmt: skip
    assert told["device_nodes"][0] == {"path": "/dev/nvidia-uvm", "mode": "0666", "major": 510, "minor": 0}


def test_two_rtx_4090_beside_their_sound(tmp_path: Path) -> None:
    told = of_host("two_rtx_4090", tmp_path)
    assert [card["pci_address"] for card in told["cards"]] == ["0000:01:00.0", "0000:41:00.0"]
    assert [(gpu["index"], gpu["pci_address"], gpu["memory_used_bytes"]) for gpu in told["gpus"]] == [
        (0, "0000:01:00.0", 18 * MIB),
        (1, "0000:41:00.0", 14210 * MIB),
    ]
    assert (told["driver"]["module_kind"], told["driver"]["is_secure_boot"]) == ("open", True)
    assert told["toolkit"] == {
        "version": "1.18.2", "ctk": "/usr/bin/nvidia-ctk", "runtime": "/usr/bin/nvidia-container-runtime",
        "runtime_hook": "/usr/bin/nvidia-container-runtime-hook", "cdi_hook": "/usr/bin/nvidia-cdi-hook",
    }  # fmt: skip


def test_a_mismatch_is_a_fact_and_a_reboot_is_pending(tmp_path: Path) -> None:
    driver = of_case("an_unattended_upgrade_left_the_old_module_loaded", tmp_path)["driver"]
    versions = [driver[name] for name in ("user_space_version", "loaded_version", "module_version")]
    assert versions == ["595.80", "580.95.05", "595.80"]
    assert driver["is_mismatched"]
    assert driver["is_reboot_pending"]
    assert driver["nvidia_smi"] == {
        "state": "failed", "exit_code": 18,
        "text": "Failed to initialize NVML: Driver/library version mismatch NVML library version: 595.80",
    }  # fmt: skip


def test_errors_are_counted_by_card_and_code(tmp_path: Path) -> None:
    told = of_case("programs_with_faults_of_their_own", tmp_path)
    assert told["kernel_log_readable"]
    assert told["xids"][0] == {
        "code": 31, "pci_address": "0000:00:1e.0", "count": 2, "last_at": "2026-11-21T10:24:09Z", "severity": "info",
        "last_message": "pid=80101, name=python3, Ch 0000000a, intr 00000000.",
        "meaning": "a program used memory that is not its own",
    }  # fmt: skip


def test_a_host_without_a_card_is_no_error(tmp_path: Path) -> None:
    told = of_host("bare", tmp_path)
    assert not told["present"]
    assert told["good"]
    assert not any(told[name] for name in ("cards", "gpus", "findings"))


@pytest.mark.parametrize("name", ["a_host_without_a_card_has_no_finding", "WSL_is_not_covered"])
def test_what_was_not_looked_at_is_not_said_to_be_missing(name: str, tmp_path: Path) -> None:
    told = of_case(name, tmp_path)
    assert sorted(told) == ["cards", "findings", "good", "gpus", "machine", "present"]


def undocumented(value: Any, contains: dict[str, Any], place: str) -> list[str]:
    """Return the names of values that ``contains`` lacks or does not give, and goes on into lists and dictionaries."""
    missing = sorted(f"{place}{name}" for name in value.keys() ^ contains.keys())
    for name in value.keys() & contains.keys():
        inner = contains[name].get("contains")
        entries = value[name] if isinstance(value[name], list) else [value[name]]
        for entry in entries if inner else []:
            missing += undocumented(entry, inner, f"{place}{name}.")
    return missing


@pytest.mark.parametrize("path", [*HOSTS, *CASES], ids=lambda path: path.stem)
def test_the_documentation_names_exactly_what_is_returned(path: Path, tmp_path: Path) -> None:
    tree = ast.parse((ROOT / "plugins/modules/gpu_info.py").read_text(encoding="utf-8"))
    (block,) = [
        node.value.value for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "RETURN"
    ]  # fmt: skip
    documented = yaml.safe_load(str(block))
    told = answer(path, tmp_path)
    expected = {
        name: entry for name, entry in documented.items()
        if entry["returned"] == "success" or (told["present"] and told["machine"] == "host")
    }  # fmt: skip
    assert undocumented(told, expected, "") == []
