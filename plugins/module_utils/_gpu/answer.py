# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts and findings as the module returns them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .cdi import driver_versions, find_staleness, is_overridden
from .containers import RUNTIME
from .devices import memory_of, names_of, to_mib
from .facts import Docker, Driver, Facts, Finding, Spec
from .judge import is_good
from .requests import choose_form
from .xids import explain


def to_answer(facts: Facts, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """Return everything as plain data, memory in bytes, modes as chmod(1) takes them."""
    told = {
        "present": bool(facts.cards),
        "machine": facts.machine,
        "good": is_good(findings),
        "cards": [asdict(card) for card in facts.cards],
        "gpus": [asdict(gpu) for gpu in facts.smi.gpus],
        "findings": [asdict(finding) for finding in findings],
    }
    # What was not looked at is not said to be missing.
    return {**told, **_rest(facts)} if facts.is_covered else told


def to_brief(facts: Facts) -> dict[str, Any]:
    """Return what roles go by: how services ask for GPUs, which there are, and what they are called.

    ``names`` has the devices of each name, ``memory_mib`` that of each device. Memory is None where unknown.
    """
    gpus = [
        {"index": gpu.index, "uuid": gpu.uuid, "model": gpu.model, "memory_mib": to_mib(gpu.memory_total_bytes)}
        for gpu in facts.smi.gpus
    ]
    return {
        "present": bool(facts.cards),
        "request": choose_form(facts.docker.engine),
        "gpus": gpus,
        "names": names_of(facts.smi.gpus),
        "memory_mib": memory_of(facts.smi.gpus),
    }


def _rest(facts: Facts) -> dict[str, Any]:
    smi = facts.smi
    return {
        "driver": {
            **_driver(facts.driver),
            "cuda_version": smi.cuda_version,
            "nvidia_smi": {"state": smi.state, "exit_code": smi.exit_code, "text": smi.text},
        },
        "device_nodes": [{**asdict(node), "mode": f"{node.mode:04o}"} for node in facts.nodes],
        "toolkit": asdict(facts.toolkit),
        "cdi_specs": [_spec(facts, spec) for spec in facts.specs],
        "docker": _docker(facts.docker),
        "kernel_log_readable": facts.log.is_readable,
        "xids": [
            {**asdict(xid), "severity": explain(xid).severity, "meaning": explain(xid).text} for xid in facts.log.xids
        ],
    }


def _driver(driver: Driver) -> dict[str, Any]:
    module = driver.module
    return {
        "user_space_version": driver.user_space_version,
        "loaded_version": driver.loaded_version,
        "module_version": module.version if module else "",
        "module_kind": driver.kind or (module.kind if module else ""),
        "is_loaded": driver.is_loaded,
        "is_mismatched": driver.is_mismatched,
        "is_reboot_pending": driver.is_reboot_pending,
        "is_signed": module.is_signed if module else None,
        "is_secure_boot": driver.is_secure_boot,
        "is_nouveau_loaded": driver.is_nouveau_loaded,
    }


def _spec(facts: Facts, spec: Spec) -> dict[str, Any]:
    reasons = find_staleness(spec, facts.driver, facts.smi)
    return {
        "path": spec.path,
        "kind": spec.kind,
        "devices": list(spec.devices),
        "driver_versions": driver_versions(spec),
        "is_fresh": None if spec.problem else not reasons,
        "is_overridden": is_overridden(spec, facts.specs),
        "reasons": [spec.problem] if spec.problem else list(reasons),
    }


def _docker(docker: Docker) -> dict[str, Any]:
    engine = docker.engine
    default = docker.default_runtime or (engine.default_runtime if engine else "")
    return {
        "is_installed": docker.is_installed,
        "settings_file": docker.settings_file,
        "is_runtime_registered": RUNTIME in docker.runtimes,
        "is_runtime_default": default == RUNTIME,
        "runtime_program": docker.runtimes.get(RUNTIME, ""),
        "engine": asdict(engine) if engine else None,
    }
