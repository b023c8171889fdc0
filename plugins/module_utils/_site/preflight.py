# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be true of a host before anything on it is touched; every finding at once, each with its fix."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._compose.engine import Engine, EngineError
from .._compose.host import free_bytes
from .._compose.ports import PublishedPort, refuse_taken_ports
from .._errors import PlatformError

_MIB = 2**20


@dataclass(frozen=True)
class WantedPort:
    """A port that a project of the site will publish; ``option`` is where an operator sets it."""

    number: int
    address: str
    protocol: str
    project: str
    option: str


def find_missing_rights(user_id: int) -> list[str]:
    """Return a sentence where the task is not root's: it could neither change the host nor see who holds a port."""
    if user_id == 0:
        return []
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:
        user = str(user_id)
    text = (
        f"Cannot deploy the site: the task runs as user '{user}', and root is needed; on this machine run the command "
        "with sudo, for other hosts let Ansible become root (ansible_become: true)."
    )
    return [text]


def find_taken_ports(ports: Sequence[WantedPort], listed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each port that somebody else holds.

    :param listed: the running containers, as ``GET /containers/json`` gives them; none where there is no engine.
    """
    findings = []
    for port in ports:
        wanted = PublishedPort(port.project, port.address, range(port.number, port.number + 1), port.protocol)
        try:
            refuse_taken_ports([wanted], project=port.project, listed=listed)
        except PlatformError as error:
            findings.append(str(error).removesuffix("publish another port.") + f"set another one in {port.option}.")
    return findings


def find_foreign_addresses(addresses: Sequence[str]) -> list[str]:
    """Return a sentence for each address, once, that no interface of this host has; empty ones are none."""
    findings = []
    for address in dict.fromkeys(filter(None, addresses)):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((address, 0))
        except OSError as error:
            findings.append(
                f"Cannot use address {address} of this host: {error.strerror or error}; correct site_address or "
                "site_private_address, whichever names it, to an address of this host."
            )
    return findings


def find_small_disks(wanted: Mapping[str, int]) -> list[str]:
    """Return a sentence for each folder with less room than it needs.

    :param wanted: folder, which need not be there yet, to MiB.
    """
    findings = []
    for path, needed in wanted.items():
        free = free_bytes(path) // _MIB
        if free < needed:
            findings.append(
                f"Cannot use {path}: {free} MiB are free there, {needed} MiB are needed; make room, or choose a folder "
                "on another disk."
            )
    return findings


def find_small_memory(needed_mib: int, root: str = "/") -> list[str]:
    """Return a sentence where the machine has less memory than the site needs. Source: proc(5), ``/proc/meminfo``."""
    with open(os.path.join(root, "proc/meminfo"), encoding="ascii") as stream:
        total = next(int(line.split()[1]) // 1024 for line in stream if line.startswith("MemTotal:"))
    if total >= needed_mib:
        return []
    text = f"Cannot deploy the site: the machine has {total} MiB of memory, {needed_mib} MiB are needed; "
    return [text + "add memory, or take roles off this host."]


def list_containers(engine: Engine) -> list[dict[str, Any]]:
    """Return the running containers; none where no engine answers, as before the first deployment."""
    try:
        found: list[dict[str, Any]] = engine.get("/containers/json")
    except EngineError:
        return []
    return found
