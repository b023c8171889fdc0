# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts of this host that a Compose model needs, read from the kernel's files."""

from __future__ import annotations

import contextlib
import os

USUAL_MTU = 1500


def read_default_mtu(root: str = "/") -> int:
    """Return the MTU in bytes of the device of the IPv4 default route; 1500 where there is none.

    Source: ``/proc/net/route`` (proc(5)): a line per route; the default has destination 00000000.
    """
    with (
        contextlib.suppress(OSError, ValueError),
        open(os.path.join(root, "proc/net/route"), encoding="ascii") as table,
    ):
        for line in table.readlines()[1:]:
            device, destination, *_rest = line.split()
            if destination == "00000000":
                with open(os.path.join(root, f"sys/class/net/{device}/mtu"), encoding="ascii") as mtu:
                    return int(mtu.read())
    return USUAL_MTU


def free_bytes(path: str) -> int:
    """Return what is free for us on the file system of ``path``, or of its nearest parent that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
