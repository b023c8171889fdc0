# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the ports that a project publishes are free, and who holds those that are not.

The engine would find out too, but only after it has stopped the old container, and without naming anybody.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError
from .desired import PROJECT_LABEL, DesiredService
from .netns import LISTEN, Socket, plain_address, read_sockets

#: Programs that hold a port for a container.
_ENGINE_PROGRAMS = frozenset({"docker-proxy", "dockerd", "rootlessport", "rootlesskit"})


@dataclass(frozen=True)
class PublishedPort:
    """A port that a service wants on the host: any one of ``ports``. No ``host_ip`` means every address."""

    service: str
    host_ip: str
    ports: range
    protocol: str


#: Packed address, port, protocol.
_Binding = tuple[bytes, int, str]


def published_ports(services: Iterable[DesiredService]) -> list[PublishedPort]:
    """Return what the canonical definitions publish; where the engine may choose any port nothing is asked for."""
    return [
        PublishedPort(
            service=service.name,
            host_ip=str(port.get("host_ip") or ""),
            ports=_parse_range(str(port["published"])),
            protocol=str(port.get("protocol") or "tcp"),
        )
        for service in services
        for port in service.definition.get("ports") or ()
        if str(port.get("published") or "0") != "0"
    ]


def _parse_range(text: str) -> range:
    """Return the ports of ``8000`` or ``8000-8010``."""
    first, _separator, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def refuse_taken_ports(
    wanted: Iterable[PublishedPort],
    *,
    project: str,
    listed: Sequence[Mapping[str, Any]],
    root: str = "/",
    is_free: Callable[[str, int, str], bool] | None = None,
) -> None:
    """Return when every wanted port is free, or held by a container of ``project`` itself.

    :param listed: the running containers, as ``GET /containers/json`` gives them.
    :param root: where ``proc`` is.
    :param is_free: asks the kernel; a test answers itself.
    :raises PlatformError: at least one is taken; all of them in one text.
    """
    own = {binding for entry in listed if _project(entry) == project for binding in _bindings(entry)}
    ask = is_free or _is_free
    taken: list[tuple[PublishedPort, Socket]] = []
    for port in wanted:
        rows = [row for row in _bound(port.protocol, root) if not own & {_binding(row, port.protocol)}]
        busy = {row.local_port: row for row in rows if row.local_port in port.ports and _overlaps(row, port.host_ip)}
        if busy.keys() >= set(port.ports) and not any(ask(port.host_ip, number, port.protocol) for number in busy):
            taken.append((port, busy[port.ports[0]]))
    if taken:
        holders = _holders({row.inode for _port, row in taken}, root)
        raise PlatformError("\n".join(_refusal(port, row, holders, listed) for port, row in taken))


def _bound(protocol: str, root: str) -> list[Socket]:
    """Return the sockets that hold a port: listening ones for TCP, all that have no peer for UDP."""
    rows = read_sockets(os.path.join(root, "proc/net"), (protocol, f"{protocol}6"))
    return [row for row in rows if (row.state == LISTEN if protocol == "tcp" else row.remote_port == 0)]


def _overlaps(row: Socket, host_ip: str) -> bool:
    """Whether a socket's address keeps ``host_ip`` from being bound; an empty address is every one."""
    held = plain_address(row.local_address)
    if not host_ip or not any(held):
        return True
    wanted = ipaddress.ip_address(host_ip.strip("[]"))
    return wanted.is_unspecified or wanted.packed == held


def _is_free(host_ip: str, port: int, protocol: str) -> bool:
    """Ask the kernel: only it knows whether ``[::]`` of another program includes IPv4."""
    address = host_ip.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            # As the engine does: connections that are being forgotten hold no port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _project(entry: Mapping[str, Any]) -> str | None:
    return (entry.get("Labels") or {}).get(PROJECT_LABEL)


def _bindings(entry: Mapping[str, Any]) -> Iterator[_Binding]:
    for port in entry.get("Ports") or ():
        if port.get("PublicPort"):
            yield ipaddress.ip_address(port.get("IP") or 0).packed, port["PublicPort"], port["Type"]


def _binding(row: Socket, protocol: str) -> _Binding:
    return row.local_address, row.local_port, protocol


def _holders(inodes: set[int], root: str) -> dict[int, tuple[str, int]]:
    """Return socket inode to name and number of the process that has it open.

    Source: proc(5), ``/proc/PID/fd``: the link of a socket reads ``socket:[INODE]``.
    """
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, tuple[str, int]] = {}
    for pid in sorted(int(name) for name in os.listdir(os.path.join(root, "proc")) if name.isdigit()):
        folder = os.path.join(root, f"proc/{pid}")
        # A process may end while it is looked at.
        with contextlib.suppress(OSError):
            for link in _open_links(f"{folder}/fd") & wanted.keys():
                found.setdefault(wanted[link], (_read_name(folder), pid))
    return found


def _open_links(folder: str) -> set[str]:
    links = set()
    for name in os.listdir(folder):
        # A file may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            links.add(os.readlink(f"{folder}/{name}"))
    return links


def _read_name(folder: str) -> str:
    with open(f"{folder}/comm", encoding="utf-8", errors="replace") as stream:
        return stream.read().strip()


def _refusal(
    port: PublishedPort, row: Socket, holders: Mapping[int, tuple[str, int]], listed: Sequence[Mapping[str, Any]]
) -> str:
    number = row.local_port
    name, pid = holders.get(row.inode, ("", 0))
    containers = [entry for entry in listed if _binding(row, port.protocol) in _bindings(entry)]
    if containers and (not name or name in _ENGINE_PROGRAMS):
        holder = f"container {containers[0]['Names'][0].removeprefix('/')!r}"
        owner = _project(containers[0])
        holder += f" of project {owner!r}" if owner else ""
    else:
        holder = f"{name!r} (pid {pid})" if name else "a process that cannot be seen from here"
    words = f"port {number}" if len(port.ports) == 1 else f"every port of {port.ports[0]}-{port.ports[-1]}"
    kind = "" if port.protocol == "tcp" else f"/{port.protocol}"
    verb = "is" if len(port.ports) == 1 else f"is taken; {number} is"
    return (
        f"Cannot start service {port.service!r}: {words}{kind} {verb} already used by {holder}; "
        "stop it, or publish another port."
    )
