# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes of the secret store: which versions stay, and how its file is replaced.

Apart from reading, because every imported line is compiled anew on each run and most runs change nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from .._errors import PlatformError
from .._files import FileState, ensure_directory, write_atomically
from .._lock import hold_lock
from .._version import STATE_FORMAT
from .store import Secret, SecretStore, Version
from .store_file import FILE_MODE, FOLDER_MODE, StoreText, check_folder

LOCK_WAIT_SECONDS = 60.0


def prune_versions(store: SecretStore, in_use: Iterable[tuple[str, int]]) -> SecretStore:
    """Return the store with only the versions that somebody needs.

    Kept are those ``in_use`` (pairs of name and version: what the kept releases refer to), of every
    secret the current version, and the one before it: an apply that is under way may still need it.
    """
    used = frozenset(in_use)
    return replace(store, secrets={name: _prune(name, secret, used) for name, secret in store.secrets.items()})


def _prune(name: str, secret: Secret, used: frozenset[tuple[str, int]]) -> Secret:
    previous = max((number for number in secret.versions if number < secret.current), default=secret.current)
    needed = {number for number in secret.versions if (name, number) in used} | {secret.current, previous}
    return replace(secret, versions={number: secret.versions[number] for number in sorted(needed)})


def write_store(store: SecretStore) -> None:
    """Replace the file of the store; its caller holds the lock of ``change_lock``.

    What was migrated from an older format is copied beside the file first (``secrets.json.format-N``).
    """
    _replace_file(store.path, render_store(store), replaced=store.text)


def render_store(store: SecretStore) -> bytes:
    """Return the content of the store's file."""
    document: dict[str, Any] = {"format": STATE_FORMAT}
    if store.host_key is not None:
        document["host_key"] = {"private": store.host_key.private, "public": store.host_key.public}
    document["secrets"] = {name: render_secret(store.secrets[name]) for name in store.names()}
    return json.dumps(document, indent=1, ensure_ascii=True).encode("ascii") + b"\n"


def render_secret(secret: Secret) -> dict[str, Any]:
    """Return the JSON form of one secret."""
    versions = {str(number): render_version(secret.versions[number]) for number in sorted(secret.versions)}
    return {"kind": secret.kind, "current": secret.current, "versions": versions}


def render_version(version: Version) -> dict[str, Any]:
    """Return the JSON form of one version."""
    return {
        "main": version.main,
        "secret": dict(version.secret),
        "public": dict(version.public),
        "origin": version.origin,
        "options": dict(version.options),
        "created": version.created,
        "expires": version.expires,
        "source_version": version.source_version,
    }


def _replace_file(path: str, content: bytes, *, replaced: StoreText | None) -> None:
    """Replace the store's file, durable when this returns; ``replaced`` is what was read before.

    :raises PlatformError: it could not be written; nothing was replaced.
    """
    owner = (os.geteuid(), os.getegid())
    try:
        if replaced is not None and replaced.is_migrated:
            write_atomically(f"{path}.format-{replaced.format}", FileState(replaced.content, FILE_MODE, *owner))
        write_atomically(path, FileState(content, FILE_MODE, *owner))
    except OSError as error:
        raise PlatformError(
            f"Cannot write the secret store {path}: {error.strerror}; it is as before, mend that and run again."
        ) from None


@contextlib.contextmanager
def change_lock(path: str, *, wait_seconds: float = LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Hold the store against other writers; makes its folder. Readers need no lock: the file is replaced whole.

    :raises PlatformError: somebody else held it for ``wait_seconds``, or the folder must not be trusted.
    """
    folder = os.path.dirname(path)
    try:
        ensure_directory(folder, mode=FOLDER_MODE)
    except OSError as error:
        raise PlatformError(
            f"Cannot make the secret store's folder {folder}: {error.strerror}; run as root, or name another path."
        ) from None
    check_folder(folder)
    with hold_lock(f"{path}.lock", purpose=f"change the secret store {path}", wait_seconds=wait_seconds):
        yield
