# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rules of known-bad pairs ask of a host. Nothing is changed, and a host that has a site is asked little."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._compose.engine import Engine, EngineError
from .._docker_host.observe import find_plugin, read_compose_version, read_distribution
from .._run import Run

_URL_AND_PORT = (".loadbalancer.server.url", ".loadbalancer.server.port")


def read_facts(engine: Engine, run: Run, listed: Sequence[Mapping[str, Any]], *, is_brief: bool) -> dict[str, Any]:
    """Return the facts of this host by the names that rules use; empty is what nobody knows.

    :param listed: the running containers, as ``GET /containers/json`` gives them.
    :param is_brief: leaves out what costs another program or import: a site is there, so it was looked at before.
    """
    facts: dict[str, Any] = {
        "distribution": " ".join(read_distribution()).strip() or "unknown",
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "engine": read_engine_version(engine),
        "url_and_port": find_url_and_port(listed),
    }
    if not is_brief:
        facts["compose"] = read_compose_version(run)
        facts["compose_path"] = find_plugin("docker-compose")
        facts |= {name: _package_version(name) for name in ("passlib", "bcrypt")}
    return facts


def read_engine_version(engine: Engine) -> str:
    """Return the version of the engine, empty where none answers."""
    try:
        return str(engine.get("/version").get("Version", ""))
    except EngineError:
        return ""


def find_url_and_port(listed: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of containers whose labels tell Traefik both the address and the port of one service."""
    names = []
    for container in listed:
        labels = [name.lower() for name in container.get("Labels") or {} if name.lower().startswith("traefik.http.")]
        services = [
            {name.removesuffix(end) for name in labels if name.endswith(end)} for end in _URL_AND_PORT
        ]  # fmt: skip
        if set.intersection(*services):
            names.append(str(container["Names"][0]).lstrip("/"))
    return sorted(names)


def _package_version(name: str) -> str:
    # Where a site is already nobody asks, and it would cost as much as all the rest.
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
