# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A kernel lock that ends with the last process that holds it, never by time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from ._errors import PlatformError

POLL_SECONDS = 0.1


@contextlib.contextmanager
def hold_lock(path: str, *, purpose: str, wait_seconds: float) -> Iterator[int]:
    """Hold the exclusive ``flock`` on ``path``; yield its descriptor.

    The descriptor is inheritable: a child that gets it (``pass_fds``) keeps the lock when its parent
    is killed, so nobody works beside an orphan of ours. The file itself stays; a lock file that is
    removed can be held twice. Opening it moves no time stamp.

    :param purpose: completes *Cannot ...*, for the error.
    :raises PlatformError: somebody else held it for ``wait_seconds``; names the processes.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _acquire(descriptor, path, purpose=purpose, wait_seconds=wait_seconds)
        os.set_inheritable(descriptor, True)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: str, *, purpose: str, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise PlatformError(
                    f"Cannot {purpose}: {path} is held by {_holders(descriptor)} since more than "
                    f"{wait_seconds:g} s; wait for it to end, or end it."
                ) from None
            time.sleep(POLL_SECONDS)


def _holders(descriptor: int) -> str:
    """Name the processes that have the lock's file open, as 'name (pid N), ...'."""
    wanted = os.fstat(descriptor)
    names = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid() and _has_open(pid, wanted):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
                names.append(f"{comm.read().strip()} (pid {pid})")
    return ", ".join(names) or "another process"


def _has_open(pid: str, wanted: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found = os.stat(f"/proc/{pid}/fd/{name}")
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    return False
