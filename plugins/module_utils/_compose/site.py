# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a site keeps its things on a host, and who may write there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError
from .._files import FileState, ensure_directory, read_state, telling, write_atomically
from .._lock import hold_lock
from .._version import STATE_FORMAT, VERSION, check_format
from .asleep import asleep_path

DEFAULT_DIRECTORY = "/opt/modelyard"
_SITE_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Site:
    """The folder of one site: ``projects``, ``releases``, ``locks``, ``state`` and two small files."""

    directory: str

    def project_folder(self, name: str) -> str:
        return f"{self.directory}/projects/{name}"

    def releases_folder(self, name: str) -> str:
        return f"{self.directory}/releases/{name}"

    def lock_path(self, name: str) -> str:
        """No project's name begins with a dot: those of other locks do."""
        return f"{self.directory}/locks/{name}.lock"

    @property
    def asleep_path(self) -> str:
        """Written by the gateway: which containers it stopped, and how they exited."""
        return asleep_path(self.directory)

    @property
    def _key_path(self) -> str:
        return f"{self.directory}/state/identity.key"

    @property
    def _stamp_path(self) -> str:
        return f"{self.directory}/site.json"

    def prepare_lock(self) -> None:
        """Make the folder of locks: all that a run makes before it knows that there is something to do."""
        ensure_directory(f"{self.directory}/locks", mode=0o700)

    @contextmanager
    def hold(self, name: str, *, purpose: str, wait_seconds: float) -> Iterator[int]:
        """Hold the lock of that name, which is made where it is missing; yield its descriptor.

        :param purpose: completes *Cannot ...*, for the error.
        :raises PlatformError: it cannot be made, or somebody else held it for ``wait_seconds``.
        """
        with ExitStack() as held:
            with telling(purpose):
                self.prepare_lock()
                lock = hold_lock(self.lock_path(name), purpose=purpose, wait_seconds=wait_seconds)
                descriptor = held.enter_context(lock)
            yield descriptor

    def mark(self) -> None:
        """Say that the folder is a site's, so that what a first apply leaves when it fails is known by that."""
        with telling(f"mark {self.directory} as a site's"):
            if self._read_stamp() is None:
                self.prepare_lock()
                self._stamp()

    def prepare(self, name: str, key: bytes) -> None:
        """Make what an apply of project ``name`` needs, and stamp the site with our version.

        :param key: the site's key, kept if there is none yet. It keeps digests of secrets in labels from being guessed.
        """
        purpose = f"apply project {name!r}"
        # Projects have locks of their own, so two first applies may come here at once.
        with telling(purpose), self.hold(".site", purpose=purpose, wait_seconds=_SITE_LOCK_SECONDS):
            for folder in ("releases", "state"):
                ensure_directory(f"{self.directory}/{folder}", mode=0o700)
            ensure_directory(self.releases_folder(name), mode=0o700)
            if self.read_key() is None:
                write_atomically(self._key_path, FileState(key, 0o600, os.geteuid(), os.getegid()))
            self._stamp()

    def read_key(self) -> bytes | None:
        """Return the key of this site's content digests; None where nothing was ever applied."""
        return read_content(self._key_path)

    def check_version(self, *, program: str, exactly: bool) -> None:
        """Refuse a site that another version wrote.

        :param exactly: the host's command needs the very version; a module may be newer, and stamps.
        """
        stamp = self._read_stamp()
        if stamp is None:
            return
        written = str(stamp.get("version"))
        if _numbers(written) > _numbers(VERSION) or (exactly and written != VERSION):
            raise PlatformError(
                f"Cannot use {program} {VERSION} on {self.directory}: the site was last written by "
                f"modelyard.platform {written}; install version {written} of {program}."
            )

    def _read_stamp(self) -> dict[str, Any] | None:
        return read_json(self._stamp_path)

    def _stamp(self) -> None:
        wanted = {"format": STATE_FORMAT, "version": VERSION}
        if self._read_stamp() != wanted:
            write_json(self._stamp_path, wanted)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def read_content(path: str) -> bytes | None:
    """Return what a state file of ours holds; None where there is none.

    :raises PlatformError: what is there is a link, a folder or anything else but a plain file.
    """
    try:
        found = read_state(path)
    except OSError as error:
        raise PlatformError(
            f"Cannot read {path}: it is no plain file ({error.strerror}); move it away, or restore it from a backup."
        ) from None
    return None if found is None else found.content


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object in a state file of ours; None where there is none.

    :raises PlatformError: it is damaged, or newer code has written it.
    """
    content = read_content(path)
    if content is None:
        return None
    found = parse_json_object(content, path)
    check_format(found.get("format"), path)
    return found


def damaged(path: str) -> PlatformError:
    """Return the error for a state file that does not hold what we write."""
    return PlatformError(f"Cannot read {path}: it is damaged; restore it from a backup, or remove it.")


def parse_json_object(content: bytes, path: str) -> dict[str, Any]:
    """Return the object in a state file of ours.

    :raises PlatformError: it is damaged.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise damaged(path)
    return found


def write_json(path: str, value: object, *, mode: int = 0o600) -> None:
    """Write a state file: sorted, indented, root's."""
    content = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    write_atomically(path, FileState(content, mode, os.geteuid(), os.getegid()))
