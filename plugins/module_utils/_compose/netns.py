# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The network namespace of a container, seen from the host: who is connected, and whether new ones may come.

Both work with any image: nothing of them runs in the container.
"""

from __future__ import annotations

import contextlib
import os
import subprocess  # nosec: only its exceptions
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .._errors import PlatformError
from .._run import Run

# States of a TCP socket as /proc/net/tcp numbers them. Source: proc(5), and the kernel's include/net/tcp_states.h.
ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, LISTEN, CLOSING = 1, 3, 4, 8, 9, 10, 11

#: States in which an end of the conversation may still get data: also where one side has closed and the last bytes
#: are not acknowledged yet, for they would be lost with the namespace.
_OPEN = frozenset({ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING})

_COMMENT = "modelyard-drain"
_FIREWALL_SECONDS = 15.0


@dataclass(frozen=True)
class Socket:
    """One row of ``/proc/net/{tcp,udp}{,6}``. Addresses are packed, 4 or 16 bytes, in network order."""

    local_address: bytes
    local_port: int
    remote_address: bytes
    remote_port: int
    state: int
    inode: int


def parse_sockets(text: str) -> Iterator[Socket]:
    """Yield the rows of a socket table of the kernel; a row that is cut off is left out.

    Source: proc(5), ``/proc/net/tcp``: address and port in hexadecimal, each 32-bit word of the address in the
    machine's own byte order.
    """
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10:
            continue
        local, remote = fields[1].split(":"), fields[2].split(":")
        yield Socket(
            local_address=_unpack(local[0]),
            local_port=int(local[1], 16),
            remote_address=_unpack(remote[0]),
            remote_port=int(remote[1], 16),
            state=int(fields[3], 16),
            inode=int(fields[9]),
        )


def _unpack(text: str) -> bytes:
    words = (bytes.fromhex(text[start : start + 8]) for start in range(0, len(text), 8))
    return b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)


def plain_address(address: bytes) -> bytes:
    """Return an IPv4 address that is written as IPv6 (``::ffff:a.b.c.d``) as IPv4, any other as it is."""
    return address[12:] if address.startswith(b"\0" * 10 + b"\xff\xff") else address


def count_open(sockets: Iterable[Socket]) -> int:
    """Return how many open connections to a listening port come from outside."""
    rows = list(sockets)
    served = {row.local_port for row in rows if row.state == LISTEN}
    return sum(row.state in _OPEN and row.local_port in served and not _from_inside(row) for row in rows)


def _from_inside(row: Socket) -> bool:
    remote = plain_address(row.remote_address)
    loopback = remote[0] == 127 if len(remote) == 4 else remote == b"\0" * 15 + b"\1"
    return loopback or remote == plain_address(row.local_address)


def read_sockets(folder: str, names: Iterable[str]) -> Iterator[Socket]:
    """Yield the rows of the tables ``names`` in ``folder``; a table is missing where the protocol is off."""
    for name in names:
        with contextlib.suppress(OSError), open(f"{folder}/{name}", encoding="ascii") as stream:
            yield from parse_sockets(stream.read())


def open_connections(pid: int, root: str = "/") -> int:
    """Return how many connections from outside are open in the network namespace of ``pid``; 0 when it has ended."""
    return count_open(read_sockets(os.path.join(root, f"proc/{pid}/net"), ("tcp", "tcp6")))


def refuse_new_connections(run: Run, pid: int) -> None:
    """Answer each new connection with a reset, so that a client takes the name's next address; open ones live on.

    Safe to repeat. Whoever does this keeps it written down, for the rule lives as long as the container.

    :raises PlatformError: the firewall cannot be set; nothing is refused then.
    """
    if _has_ended(pid):
        return
    for program in _programs(pid):
        if not _firewall(run, pid, program, "-C"):
            _firewall(run, pid, program, "-I", must_work=True)


def accept_new_connections(run: Run, pid: int) -> None:
    """Undo :func:`refuse_new_connections`; nothing happens where it was never done.

    :raises PlatformError: a rule is there and cannot be taken away.
    """
    if _has_ended(pid):
        return
    for program in _programs(pid):
        while _firewall(run, pid, program, "-C"):
            _firewall(run, pid, program, "-D", must_work=True)


def _has_ended(pid: int) -> bool:
    """Whether ``pid`` is gone, and its namespace with it. A rule in the host's own namespace would cut off the host."""
    try:
        shared = os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net")
    except FileNotFoundError:
        return True
    if shared:
        raise PlatformError(
            f"Cannot keep new connections from process {pid}: it is in the host's own network; "
            "declare 'update: stop_first' for its service."
        )
    return False


def _programs(pid: int) -> list[str]:
    return ["iptables", "ip6tables"] if _has_public_ipv6(pid) else ["iptables"]


def _has_public_ipv6(pid: int) -> bool:
    """Whether an interface has an IPv6 address of global scope (00 in ``/proc/net/if_inet6``)."""
    try:
        with open(f"/proc/{pid}/net/if_inet6", encoding="ascii") as stream:
            return any(line.split()[3] == "00" for line in stream)
    except OSError:
        return False


def _firewall(run: Run, pid: int, program: str, action: str, *, must_work: bool = False) -> bool:
    # Only the network namespace is entered: the program and its lock are the host's.
    argv = [
        "nsenter", f"--net=/proc/{pid}/ns/net", program, "-w", "5", action, "INPUT", "-p", "tcp", "--syn",
        "!", "-i", "lo", "-m", "comment", "--comment", _COMMENT, "-j", "REJECT", "--reject-with", "tcp-reset",
    ]  # fmt: skip
    try:
        done = run(argv, timeout_seconds=_FIREWALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _no_firewall(pid, program, str(error)) from error
    if done.returncode and must_work:
        raise _no_firewall(pid, program, done.stderr.strip() or f"exit code {done.returncode}")
    return done.returncode == 0


def _no_firewall(pid: int, program: str, cause: str) -> PlatformError:
    return PlatformError(
        f"Cannot keep new connections from process {pid}: {program} says: {cause}; install nsenter (util-linux) and "
        "iptables, and load the kernel's module xt_REJECT."
    )
