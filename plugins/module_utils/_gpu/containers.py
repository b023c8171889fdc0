# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The container toolkit, and Docker as far as it concerns GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._docker_host.settings import parse_settings
from .._errors import PlatformError
from .facts import Docker, RunningEngine, Toolkit
from .host import Host

RUNTIME = "nvidia"
_VERSION = re.compile(r"version ([0-9]{1,4}(?:\.[0-9]{1,4}){2}(?:[-+~][\w.]{1,20})?)(?:\s|$)")


def read_toolkit(host: Host) -> Toolkit:
    """Return what of the toolkit is installed."""
    ctk = host.find_program("nvidia-ctk")
    done = host.ask("nvidia-ctk", "--version") if ctk else None
    # "NVIDIA Container Toolkit CLI version 1.17.8", then the commit.
    version = _VERSION.search(done.stdout) if done is not None else None
    return Toolkit(
        version=version[1] if version else "",
        ctk=ctk,
        runtime=host.find_program("nvidia-container-runtime"),
        runtime_hook=host.find_program("nvidia-container-runtime-hook"),
        cdi_hook=host.find_program("nvidia-cdi-hook"),
    )


def read_docker(host: Host, settings_file: str) -> Docker:
    """Return what Docker is told, and what it says it does."""
    text, problem, settings = host.read(settings_file), "", {}
    try:
        settings = parse_settings(text or "", settings_file)
    except PlatformError as error:
        problem = str(error)
    runtimes = parse_runtimes(settings.get("runtimes"))
    program = runtimes.get(RUNTIME)
    engine = parse_engine(host.ask_engine())
    return Docker(
        settings_file,
        is_installed=engine is not None or bool(host.find_program("dockerd")),
        problem=problem,
        runtimes=runtimes,
        default_runtime=str(settings.get("default-runtime", "")),
        has_runtime_program=None if program is None else _has_program(host, program),
        engine=engine,
    )


def parse_runtimes(value: object) -> dict[str, str]:
    """Map each runtime of the settings to its program; a runtime by type has none."""
    entries = value.items() if isinstance(value, Mapping) else ()
    return {str(name): str(entry.get("path", "")) for name, entry in entries if isinstance(entry, Mapping)}


def parse_engine(info: Mapping[str, Any] | None) -> RunningEngine | None:
    """Return the engine from its answer to ``GET /info``. Source: Docker's Engine API, versions 1.41 to 1.52."""
    if info is None:
        return None
    devices = [device for device in info.get("DiscoveredDevices") or () if isinstance(device, Mapping)]
    identifiers = (str(device.get("ID", "")) for device in devices if device.get("Source") == "cdi")
    return RunningEngine(
        version=str(info.get("ServerVersion", "")),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        default_runtime=str(info.get("DefaultRuntime", "")),
        cdi_devices=tuple(sorted(name for name in identifiers if name.startswith("nvidia.com/"))),
    )


def _has_program(host: Host, program: str) -> bool:
    return host.exists(program) if program.startswith("/") else bool(host.find_program(program))
