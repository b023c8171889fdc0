# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight's half on the host: everything that only the host itself can see."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._compose.engine import Engine, socket_path_of
from .._edge.certificates import find_volume, is_certified, read_certificates
from .._host_command.install import describe_file
from .._image.current import find_current
from .._run import run_program
from .host_facts import read_facts
from .preflight import (
    WantedPort,
    find_foreign_addresses,
    find_missing_rights,
    find_small_disks,
    find_small_memory,
    find_taken_ports,
    list_containers,
)

if TYPE_CHECKING:
    from .._gpu.wants import Unmet
    from .reach import Finding


@dataclass(frozen=True)
class Seen:
    """What a host says of itself. ``certificates``: file of an authority to the names that it has certified.

    ``images``: the packaged images of the site that are built and current. ``programs``: path to how the file is.
    ``gpus``: in short, where services ask for some.
    """

    findings: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    certificates: dict[str, list[str]] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    programs: dict[str, str] = field(default_factory=dict)
    gpus: dict[str, Any] = field(default_factory=dict)


def look_at_host(params: Mapping[str, Any]) -> Seen:
    """Return what is found with the options of module preflight.

    :raises PlatformError: something cannot be read.
    """
    # Without root's rights the rest would be guessed.
    if missing := find_missing_rights(os.geteuid()):
        return Seen(missing)
    engine = Engine(socket_path_of(os.environ))
    is_deployed = bool(params["directory"]) and os.path.exists(f"{params['directory']}/releases")
    listed = list_containers(engine)
    ports = [WantedPort(**port) for port in params["ports"]]
    edge = params["edge"] or {}
    certificates = read_certificates(find_volume(engine, edge["volume"])) if edge.get("volume") else {}
    names = _look_at_names(edge, certificates, is_deployed=is_deployed)
    unmet, gpus = _look_at_gpus(params["gpus"], installs_driver=params["installs_gpu_driver"])
    return Seen(
        [
            *find_foreign_addresses([*(port.address for port in ports), *params["addresses"]]),
            *find_taken_ports(ports, listed),
            *find_small_disks({} if is_deployed else {path: int(mib) for path, mib in params["disk_mib"].items()}),
            *find_small_memory(params["memory_mib"]),
            *(finding.text for finding in names if finding.is_refusal),
            *(unmet.refused if unmet else ()),
        ],
        [*(finding.text for finding in names if not finding.is_refusal), *(unmet.noticed if unmet else ())],
        read_facts(engine, run_program, listed, is_brief=is_deployed),
        certificates,
        find_current(engine, params["directory"]) if is_deployed else [],
        {path: describe_file(path) for path in params["programs"]} if is_deployed else {},
        gpus,
    )


def _look_at_gpus(given: Sequence[Mapping[str, Any]], *, installs_driver: bool) -> tuple[Unmet | None, dict[str, Any]]:
    """Hold what services ask for against what is there; where none asks, no card is looked at."""
    if not given:
        return None, {}
    # Only where there is a question: it takes many sources.
    from .._gpu.answer import to_brief
    from .._gpu.host import Host
    from .._gpu.observe import observe
    from .._gpu.wants import find_unmet, parse_wants

    wants = parse_wants(given)
    facts = observe(Host(), "/etc/docker/daemon.json")
    return find_unmet(wants, facts, installs_driver=installs_driver), to_brief(facts)


def _look_at_names(
    given: Mapping[str, Any], certificates: Mapping[str, list[str]], *, is_deployed: bool
) -> list[Finding]:
    """Ask of names where an authority will, and else once, before the first deployment."""
    if not given.get("names") or (is_deployed and not given["challenge"]):
        return []
    # Half of what a module costs that has nothing to do.
    from .reach import Edge, find_wrong_names

    given_before = certificates.get(given["file"], ())
    edge = Edge(
        names=tuple(dict.fromkeys(given["names"])),
        challenge=given["challenge"],
        http_port=given["http_port"],
        public_addresses=tuple(given["public_addresses"]),
        certified=frozenset(name for name in given["names"] if is_certified(name, given_before)),
        is_rehearsed=given["is_rehearsed"] and not given_before,
    )
    return find_wrong_names(edge)
