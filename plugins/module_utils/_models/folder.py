# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folder of models on a host: files by their checksum, folders of links to them, and what is known of both.

``blobs/sha256-HEX`` is a file under the checksum of its content; ``trees/DIGEST/PATH`` is the same file once more (a
hard link), where an engine looks for it; ``checked.json`` says of which files the content was compared, so that a run
with nothing to do reads no model.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .._compose.site import damaged, read_json, write_json
from .._errors import PlatformError
from .._files import TEMPORARY_SUFFIX, ensure_directory, sync_directory, telling
from .._version import STATE_FORMAT
from .declaration import Model

CHUNK_BYTES = 1 << 20
#: A container's user reads them through a mount.
FOLDER_MODE = 0o755
FILE_MODE = 0o644
_PREFIX = "sha256-"


@dataclass(frozen=True)
class Checked:
    """A file whose content had its checksum when it was of this size and time; ``mirror``: which one has it too."""

    size_bytes: int
    mtime_ns: int
    mirror: str = ""


@dataclass(frozen=True)
class Folder:
    """The models of one host."""

    path: str

    def blob(self, sha256: str) -> str:
        return f"{self.path}/blobs/{_PREFIX}{sha256}"

    def part(self, sha256: str) -> str:
        """Where a file is while it comes; what a broken run left is gone on with."""
        return f"{self.path}/blobs/.{_PREFIX}{sha256}{TEMPORARY_SUFFIX}"

    def tree(self, model: Model) -> str:
        return f"{self.path}/trees/{model.tree}"

    def prepare(self) -> None:
        """Make the folder; what is there stays."""
        with telling("make the folder of models"):
            for folder in (self.path, f"{self.path}/blobs", f"{self.path}/trees"):
                ensure_directory(folder, mode=FOLDER_MODE)

    def read_checked(self) -> dict[str, Checked]:
        """Return checksum to what is known of its file."""
        found = read_json(self._record) or {}
        try:
            return {sha256: Checked(**known) for sha256, known in found.get("blobs", {}).items()}
        except (AttributeError, TypeError):
            raise damaged(self._record) from None

    def write_checked(self, checked: Mapping[str, Checked]) -> None:
        """Keep what is known of files."""
        blobs = {sha256: vars(known) for sha256, known in sorted(checked.items())}
        with telling("note which models were compared"):
            write_json(self._record, {"format": STATE_FORMAT, "blobs": blobs})

    def blobs(self) -> list[str]:
        """Return the checksums of all files that are there."""
        try:
            names = os.listdir(f"{self.path}/blobs")
        except FileNotFoundError:
            return []
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))

    def is_linked(self, model: Model) -> bool:
        """Whether each file of a model is where its engine looks for it."""
        return all(_is_same(self.blob(file.sha256), f"{self.tree(model)}/{file.path}") for file in model.files)

    def link(self, model: Model) -> None:
        """Put each file of a model, all of which are there, where its engine looks for it."""
        with telling(f"lay out model {model.name!r}"):
            for file in model.files:
                path = f"{self.tree(model)}/{file.path}"
                if not _is_same(self.blob(file.sha256), path):
                    _link(self.blob(file.sha256), path)

    @property
    def _record(self) -> str:
        return f"{self.path}/checked.json"


def stamp_of(path: str) -> Checked | None:
    """Return size and time of a file; None where there is none.

    :raises PlatformError: something else has that name.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if not os.path.isfile(path) or os.path.islink(path):
        raise PlatformError(f"Cannot use {path}: it is no plain file; move it away.")
    return Checked(found.st_size, found.st_mtime_ns)


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
            digest.update(chunk)
    return digest.hexdigest()


def keep(part: str, path: str) -> None:
    """Give a file that has come whole its name; durable when this returns."""
    descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fchmod(descriptor, FILE_MODE)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(part, path)
    sync_directory(os.path.dirname(path))


def forget(paths: Iterable[str]) -> None:
    """Remove files that may be there."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _is_same(blob: str, path: str) -> bool:
    try:
        return os.path.samestat(os.lstat(blob), os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _link(blob: str, path: str) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=FOLDER_MODE, exist_ok=True)
    temporary = f"{folder}/.{os.path.basename(path)}{TEMPORARY_SUFFIX}"
    forget([temporary])
    os.link(blob, temporary)
    # A rename onto another name of the same file does nothing, and leaves both.
    os.rename(temporary, path)
    sync_directory(folder)
