# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What keeps containers from GPUs that programs of the host can use."""

from __future__ import annotations

from collections.abc import Iterator

from .._docker_host.wanted import is_at_least
from .cdi import KIND, find_conflicts, find_staleness, is_overridden, quote_few
from .containers import RUNTIME
from .facts import Docker, Facts, Finding, Spec, Toolkit, make_finding
from .judge_driver import is_mismatched

#: Before it a container may become root of the host (CVE-2025-23266). Source: NVIDIA's bulletin of July 2025.
_SAFE_TOOLKIT = (1, 17, 8)
#: Before it the engine gives a GPU that a project asks for (driver: nvidia) through the runtime hook alone.
_CDI_ENGINE = (29, 2, 0)
#: Since it a systemd unit of the toolkit writes the spec at every start and every change of the driver.
_REFRESHING_TOOLKIT = (1, 18, 0)
_REFRESH = (
    "enable the toolkit's own service that writes it (systemctl enable --now nvidia-cdi-refresh.path "
    "nvidia-cdi-refresh.service)"
)
_GENERATE = (
    "write it (nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml), and again after every change of the driver"
)


def judge_containers(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong between GPUs and containers."""
    yield from _judge_toolkit(facts)
    yield from _judge_hook(facts)
    yield from _judge_docker(facts.docker, has_toolkit=facts.toolkit.is_installed)
    for spec in facts.specs:
        yield from _judge_spec(facts, spec)
    for first, second, names in find_conflicts(facts.specs):
        yield make_finding(
            "cdi_conflict", "error",
            f"Cannot use CDI devices {quote_few(names)}: both {first.path} and {second.path} define them, and engines "
            "take neither then",
            "remove one of the two files",
        )  # fmt: skip
    if facts.toolkit.is_installed and not any(spec.kind == KIND or spec.problem for spec in facts.specs):
        is_refreshing = is_at_least(facts.toolkit.version, _REFRESHING_TOOLKIT)
        yield make_finding(
            "cdi_missing", "warning",
            f"Cannot give GPUs to containers by CDI: there is no spec of {KIND} in /etc/cdi or /var/run/cdi, and "
            "without one running containers can lose their GPU when systemd reloads its units",
            _REFRESH if is_refreshing else _GENERATE,
        )  # fmt: skip


def is_safe(toolkit: Toolkit) -> bool:
    """Tell whether the toolkit keeps containers from becoming root of the host; one of an unknown version passes."""
    return not toolkit.version or is_at_least(toolkit.version, _SAFE_TOOLKIT)


def _judge_toolkit(facts: Facts) -> Iterator[Finding]:
    if not facts.toolkit.is_installed:
        yield make_finding(
            "toolkit_missing", "error" if facts.docker.is_installed else "warning",
            "Cannot give GPUs to containers: NVIDIA's container toolkit is not installed",
            "install nvidia-container-toolkit and restart Docker, which looks for it only when it starts",
        )  # fmt: skip
    elif not is_safe(facts.toolkit):
        yield make_finding(
            "toolkit_unsafe", "warning",
            f"Cannot keep containers from the host: NVIDIA's container toolkit is {facts.toolkit.version}, and "
            "before 1.17.8 a "
            "container with a GPU may become root of the host (CVE-2025-23266)",
            "install nvidia-container-toolkit 1.17.8 or newer",
        )  # fmt: skip


def _judge_hook(facts: Facts) -> Iterator[Finding]:
    toolkit, engine = facts.toolkit, facts.docker.engine
    if not toolkit.is_installed or engine is None or toolkit.runtime_hook:
        return
    takes_either = is_at_least(engine.version, _CDI_ENGINE)
    if not (takes_either and toolkit.cdi_hook):
        hooks = "nvidia-container-runtime-hook" + (" or nvidia-cdi-hook" if takes_either else "")
        yield make_finding(
            "hook_missing", "error",
            f"Cannot start containers that ask for a GPU by its driver: Docker {engine.version} needs {hooks} for it, "
            "which is not there",
            "install nvidia-container-toolkit, not its base package alone, and restart Docker",
        )  # fmt: skip


def _judge_docker(docker: Docker, *, has_toolkit: bool) -> Iterator[Finding]:
    path, engine = docker.settings_file, docker.engine
    known = (*docker.runtimes, *(engine.runtimes if engine is not None else ()))
    if docker.problem:
        cause, _between, fix = docker.problem.rpartition("; ")
        yield make_finding("engine_settings", "error", cause, fix.rstrip("."))
    elif docker.has_runtime_program is False:
        program = docker.runtimes[RUNTIME] or "no program"
        yield make_finding(
            "runtime_program", "error",
            f"Cannot start containers with the runtime {RUNTIME!r}: {path} gives it {program}, which is not there",
            f"install nvidia-container-toolkit, or take the runtime out of {path}",
        )  # fmt: skip
    elif RUNTIME in docker.runtimes and engine is not None and RUNTIME not in engine.runtimes:
        yield make_finding(
            "runtime_not_taken_over", "warning",
            f"Cannot start containers with the runtime {RUNTIME!r}: {path} names it, the running engine does not",
            "reload Docker (systemctl reload docker)",
        )  # fmt: skip
    elif has_toolkit and docker.is_installed and RUNTIME not in known:
        yield make_finding(
            "runtime_unregistered", "info",
            f"Cannot start containers with the runtime {RUNTIME!r}: {path} does not name it, which only "
            "services that ask for that runtime need",
            "register it if one does (nvidia-ctk runtime configure --runtime=docker), and reload Docker",
        )  # fmt: skip


def _judge_spec(facts: Facts, spec: Spec) -> Iterator[Finding]:
    if spec.problem:
        yield make_finding(
            "cdi_unreadable", "warning", f"Cannot judge the CDI spec {spec.path}: {spec.problem}",
            f"generate it anew (nvidia-ctk cdi generate --output={spec.path})",
        )  # fmt: skip
        return
    reasons = find_staleness(spec, facts.driver, facts.smi)
    if not reasons:
        return
    cause = f"Cannot rely on the CDI spec {spec.path}: {', and '.join(reasons)}"
    if is_overridden(spec, facts.specs):
        fix = "remove it, another one in /var/run/cdi counts instead"
        yield make_finding("cdi_stale", "info", cause, fix)
        return
    first = "reboot the host first, then " if is_mismatched(facts) else ""
    fix = f"{first}generate it anew (nvidia-ctk cdi generate --output={spec.path})"
    yield make_finding("cdi_stale", "error", cause, fix)
