# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Access keys on the host: files and folders of links that the store sees through a read-only mount."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .._errors import PlatformError
from .._files import (
    ensure_directory,
    read_state,
    sweep_temporary,
    sync_directory,
    telling,
    temporary_of,
    write_atomically,
)
from .declaration import User
from .key_file import FOLDER_SUFFIX, KEYS_MODE, LINKS_MODE, render_links
from .names import is_key_id
from .plan import Custody, ObservedKey


def read_keys(directory: str) -> dict[str, ObservedKey]:
    """Return every access key in the folder by its id; empty where there is no folder."""
    with telling("read the access keys"):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return {}
        ids = {name.removesuffix(FOLDER_SUFFIX) for name in names}
        return {key_id: _read_key(directory, key_id) for key_id in sorted(filter(is_key_id, ids))}


def read_mode(directory: str) -> int | None:
    """Return the mode of the folder of keys; None where there is none.

    :raises PlatformError: it is no folder, or somebody else's: its owner could put keys there.
    """
    with telling("read the folder of keys"):
        try:
            found = os.stat(directory)
        except FileNotFoundError:
            return None
    if not os.path.isdir(directory) or found.st_uid != os.geteuid():
        raise PlatformError(
            f"Cannot keep access keys in {directory}: it is no folder of user {os.geteuid()} (owner {found.st_uid}); "
            "move it away, or correct its owner."
        )
    return found.st_mode & 0o7777


def _read_key(directory: str, key_id: str) -> ObservedKey:
    file, folder = read_state(f"{directory}/{key_id}"), f"{directory}/{key_id}{FOLDER_SUFFIX}"
    try:
        with os.scandir(folder) as entries:
            links = {entry.name: os.readlink(entry.path) if entry.is_symlink() else "" for entry in entries}
        return ObservedKey(file, links, os.stat(folder).st_mode & 0o7777)
    except FileNotFoundError:
        return ObservedKey(file)


def prepare_directory(directory: str) -> None:
    """Make the folder of keys, or correct its mode; sweep what a killed run left. The caller holds the lock."""
    with telling("make the folder of keys"):
        ensure_directory(directory, mode=KEYS_MODE)
        os.chmod(directory, KEYS_MODE)
        sweep_temporary(directory)


def write_key(directory: str, user: User, custody: Custody) -> None:
    """Make a user's key as declared: first what it may use, so that a key that works has its buckets.

    :raises PlatformError: the disk refused.
    """
    folder = f"{directory}/{user.access_key_id}{FOLDER_SUFFIX}"
    with telling(f"write the access key of user '{user.name}'"):
        ensure_directory(folder, mode=LINKS_MODE)
        os.chmod(folder, LINKS_MODE)
        _write_links(directory, folder, render_links(user, custody.places))
        path, wanted = f"{directory}/{user.access_key_id}", custody.key_file(user)
        if read_state(path) != wanted:
            write_atomically(path, wanted)


def _write_links(directory: str, folder: str, wanted: Mapping[str, str]) -> None:
    for name in os.listdir(folder):
        path = f"{folder}/{name}"
        if name not in wanted or not os.path.islink(path):
            # Only an empty folder goes: one with content is nothing that we made.
            os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    for name, target in wanted.items():
        path = f"{folder}/{name}"
        if not os.path.islink(path) or os.readlink(path) != target:
            # Made beside the folder: whatever stands in it is a bucket.
            temporary = temporary_of(f"{directory}/{os.path.basename(folder)}-{name}")
            os.symlink(target, temporary)
            os.rename(temporary, path)
    sync_directory(folder)
