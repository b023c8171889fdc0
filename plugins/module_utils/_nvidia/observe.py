# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at a GPU host, without changing anything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from .._compose.engine import Engine
from .._docker_host.observe import observe_engine, read_distribution, read_settings
from .._files import FileState, read_state
from .._gpu.containers import read_docker, read_toolkit
from .._gpu.facts import Facts
from .._gpu.host import Host
from .._gpu.observe import observe as observe_gpus
from .._run import Run
from .guard_file import make_guard
from .plan import Observed
from .units import cdi_unit, guard_unit, timer_unit
from .wanted import System, Wanted, is_of_driver, unit_paths

#: Says by the engine's process that it was started before it could find the hook; gone with the next start of the host.
MARKER = "/run/modelyard-gpu-engine"
_ENGINE_PID_FILES = ("/run/docker.pid", "/var/run/docker.pid")
_UNITS = "/etc/systemd/system"
#: What systemd goes by to start them.
_ENABLED = {
    "cdi": f"{_UNITS}/docker.service.wants/modelyard-gpu-cdi.service",
    "timer": f"{_UNITS}/timers.target.wants/{{prefix}}-gpu-guard.timer",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def observe(wanted: Wanted, host: Host, engine: Engine, run: Run) -> Observed:
    """Return the host as it is.

    :raises PlatformError: the engine's settings cannot be read, or it answers with an error.
    """
    facts = observe_gpus(host, wanted.daemon_file)
    if not facts.cards and wanted.without_card:
        # Where no card is, nobody has looked for it.
        facts = replace(facts, toolkit=read_toolkit(host), docker=read_docker(host, wanted.daemon_file))
    found = {name: read_state(path) for name, path in unit_paths(wanted).items()}
    known = frozenset(name for name, state in found.items() if state is not None)
    if wanted.state == "absent" or not (facts.cards or wanted.without_card):
        return Observed(facts, read_machine(facts), found_files=known)
    return Observed(
        facts,
        read_machine(facts),
        packages=read_driver_packages(run),
        engine=observe_engine(engine, wanted.directory, is_brief=False),
        settings=read_settings(wanted.daemon_file),
        right_files=frozenset(name for name, state in wanted_files(wanted).items() if _is_right(wanted, name, state)),
        found_files=known,
        has_systemd=os.path.isdir("/run/systemd/system"),
        is_engine_older=is_engine_older(),
    )


def wanted_files(wanted: Wanted) -> Mapping[str, FileState]:
    """Return how the files of :func:`unit_paths` should be."""
    program = unit_paths(wanted)["program"]
    texts = {
        "cdi": cdi_unit(),
        "guard": guard_unit(wanted.prefix, program, wanted.directory),
        "timer": timer_unit(wanted.prefix, wanted.guard_seconds),
    }
    files = {name: FileState(text.encode(), 0o644, 0, 0) for name, text in texts.items()}
    return {"program": FileState(make_guard(), 0o755, 0, 0), **files}


def _is_right(wanted: Wanted, name: str, state: FileState) -> bool:
    link = _ENABLED.get(name, "").format(prefix=wanted.prefix)
    return read_state(unit_paths(wanted)[name]) == state and (not link or os.path.lexists(link))


def read_machine(facts: Facts) -> System:
    """Return what decides which packages fit."""
    distribution, codename = read_distribution()
    system = os.uname()
    architecture = _ARCHITECTURES.get(system.machine, system.machine)
    return System(distribution, codename, system.release, architecture, bool(facts.driver.is_secure_boot))


def read_driver_packages(run: Run) -> dict[str, bool]:
    """Return the installed packages of a driver, and whether each is held."""
    try:
        done = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${db:Status-Want}\n"])
    except FileNotFoundError:
        return {}
    rows = [line.split() for line in done.stdout.splitlines()]
    return {
        row[0]: row[2] == "hold" for row in rows if len(row) == 3 and row[1] == "installed" and is_of_driver(row[0])
    }


def engine_pid() -> str:
    """Return the engine's process, empty where nothing says it."""
    for path in _ENGINE_PID_FILES:
        try:
            with open(path, encoding="ascii") as stream:
                return stream.read().strip()
        except OSError:
            continue
    return ""


def is_engine_older() -> bool:
    """Tell whether the engine that runs is the one that was there before the toolkit."""
    try:
        with open(MARKER, encoding="ascii") as stream:
            return bool(marked := stream.read().strip()) and marked == engine_pid()
    except OSError:
        return False
