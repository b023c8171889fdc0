# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are either the old one or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ._errors import PlatformError

#: Marks our temporary files, so that the next run can sweep what a killed one left.
TEMPORARY_SUFFIX = ".modelyard-tmp"


@dataclass(frozen=True)
class FileState:
    """What decides whether a file is as wanted."""

    content: bytes
    mode: int
    uid: int
    gid: int


def read_state(path: str) -> FileState | None:
    """Return the regular file at ``path``; None where there is none.

    :raises OSError: something else has that name: a link, which is not followed, a folder, a pipe, ...
    """
    try:
        # Not blocking: opening a pipe waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "Not a regular file", path)
        return FileState(stream.read(), found.st_mode & 0o7777, found.st_uid, found.st_gid)


def ensure_directory(path: str, *, mode: int) -> None:
    """Make ``path`` and its parents; only the last one made gets ``mode``. What is there stays."""
    if os.path.isdir(path):
        return
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
            os.chmod(path, mode)
    except (FileExistsError, NotADirectoryError):
        raise PlatformError(
            f"Cannot make the folder {path}: something that is no folder has the name of one above it; move it away."
        ) from None
    if not os.path.isdir(path):
        raise PlatformError(f"Cannot make the folder {path}: something else has that name; move it away.")


def write_atomically(path: str, state: FileState) -> None:
    """Replace ``path`` by temporary file, fsync and rename; durable when this returns.

    The temporary name depends on ``path`` alone: callers hold a lock, and a second try replaces
    what a killed first one left, or what somebody who may write to the folder has put there.

    :raises OSError: nothing was replaced, and the temporary file is gone; it names ``path``.
    """
    folder, temporary = os.path.dirname(path), temporary_of(path)
    try:
        _write_temporary(temporary, state)
        os.rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # it must not hide the cause
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename, error.filename2 = path, None
        raise
    sync_directory(folder)


@contextlib.contextmanager
def telling(doing: str) -> Iterator[None]:
    """Turn what the disk refuses into words.

    :param doing: completes *Cannot ...*.
    :raises PlatformError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        where = f" at {error.filename}" if error.filename else ""
        raise PlatformError(
            f"Cannot {doing}: {error.strerror}{where}; make room there, or correct its rights."
        ) from error


def _write_temporary(temporary: str, state: FileState) -> None:
    # A file that is there may be anybody's: kept open it would show the content, as a hard link take the new owner.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    # 0600 from the first byte: the content may be a secret.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, 0o600)
        stream.write(state.content)
        stream.flush()
        os.fchown(descriptor, state.uid, state.gid)
        os.fchmod(descriptor, state.mode)
        os.fsync(descriptor)


def sync_directory(folder: str) -> None:
    """Make a rename or a removal in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_of(path: str) -> str:
    """Return the name under which ``path`` is written before it takes its place."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}{TEMPORARY_SUFFIX}")


def sweep_temporary(folder: str) -> None:
    """Remove what killed runs left in ``folder``, of which the caller's lock covers every file."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for entry in os.scandir(folder):
            if entry.name.startswith(".") and entry.name.endswith(TEMPORARY_SUFFIX):
                _unlink_temporary(entry.path)


def sweep_temporaries_of(paths: Iterable[str]) -> None:
    """Remove what killed runs left of these files. Their folders are others' too, who may be writing just now."""
    for path in paths:
        _unlink_temporary(temporary_of(path))


def _unlink_temporary(path: str) -> None:
    # A folder of that name is nothing that we made.
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        os.unlink(path)
