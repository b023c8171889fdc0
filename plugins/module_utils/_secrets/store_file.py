# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of the secret store: who may read it, and how it is brought to our format."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .._errors import PlatformError
from .._version import STATE_FORMAT, check_format

FILE_MODE = 0o600
FOLDER_MODE = 0o700

#: Brings a document from the format of the key to the next one.
Migrations = Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]

#: Format 1 is the first one.
MIGRATIONS: Migrations = MappingProxyType({})


@dataclass(frozen=True)
class StoreText:
    """The content of a store's file and the document in it, already in our format."""

    content: bytes
    document: dict[str, Any]
    format: int

    @property
    def is_migrated(self) -> bool:
        """Whether the document is newer than the content."""
        return bool(self.format != self.document["format"])


def read_store_text(path: str) -> StoreText | None:
    """Return the file at ``path``; None where there is none.

    :raises PlatformError: it must not be trusted, is no JSON object, or is of a newer format.
    """
    content = _read_private(path)
    return None if content is None else parse_store_text(content, path)


def parse_store_text(
    content: bytes, path: str, migrations: Migrations = MIGRATIONS, target: int = STATE_FORMAT
) -> StoreText:
    """Return ``content`` with its document in format ``target``.

    :raises PlatformError: it is no JSON object, or is of a newer format.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        # What json says quotes the position, what follows in a chain quotes the content: neither is shown.
        raise damaged(path, f"its {len(content)} bytes are not JSON (cut off?)") from None
    if not isinstance(document, dict):
        raise damaged(path, "it holds no JSON object")
    check_format(document.get("format"), path)
    try:
        return StoreText(content, migrate(document, migrations, target), document["format"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise damaged(path, f"it says format {document['format']}, but is not of that form") from None


def migrate(document: dict[str, Any], migrations: Migrations, target: int) -> dict[str, Any]:
    """Return the document in format ``target``; the one given stays as it is."""
    current = dict(document)
    while current["format"] < target:
        number = current["format"]
        current = {**migrations[number](current), "format": number + 1}
    return current


def _read_private(path: str) -> bytes | None:
    try:
        check_folder(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PlatformError(
                f"Cannot read the secret store {path}: it is a symbolic link; put the file itself there."
            ) from None
        raise PlatformError(
            f"Cannot read the secret store {path}: {error.strerror}; make it a file that root can read."
        ) from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise PlatformError(f"Cannot read the secret store {path}: it is not a file; move it away.")
        _check_access(path, found, allowed=FILE_MODE)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def check_folder(folder: str) -> None:
    """Make sure that nobody else can put another store into its folder.

    :raises PlatformError: somebody could.
    :raises OSError: there is no such folder, or it cannot be looked at.
    """
    found = os.lstat(folder)
    if stat.S_ISLNK(found.st_mode):
        raise PlatformError(
            f"Cannot trust the secret store's folder {folder}: it is a symbolic link; put the folder itself there."
        )
    _check_access(folder, found, allowed=FOLDER_MODE)


def _check_access(path: str, found: os.stat_result, *, allowed: int) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (os.geteuid(), 0):
        raise PlatformError(
            f"Cannot trust the secret store's {path}: it belongs to uid {found.st_uid}; "
            f"look at who changed it, then run: chown {os.geteuid()} {path}"
        )
    if mode & ~allowed:
        raise PlatformError(
            f"Cannot trust the secret store's {path}: its mode is {mode:04o}, others may read or change it; "
            f"run: chmod {allowed:04o} {path}, and rotate what was in it."
        )


def damaged(path: str, finding: str) -> PlatformError:
    """Return the error for a store that cannot be read; ``finding`` quotes nothing of it."""
    return PlatformError(f"Cannot read the secret store {path}: {finding}; it is damaged, restore it from a backup.")
