# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of issued keys: who has which, and their SHA-256. No key is in it; those are in the secret store.

The gateway reads the same file (``keys.py`` of ``modelyard_gateway`` says its form), and more is written of each key
than it needs, for people: when it was issued, by whom, and which one has taken its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .._compose.site import Site, damaged, read_json
from .._errors import PlatformError
from .._files import FileState, ensure_directory, sweep_temporaries_of, telling, write_atomically
from .._version import STATE_FORMAT
from .times import parse_time, render_time

_FILE_MODE = 0o640
_FOLDER_MODE = 0o750
_LOCK_SECONDS = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class IssuedKey:
    """A key of a client. ``not_after``: Unix seconds from which on it is none; None where it does not end."""

    id: str
    sha256: str
    scopes: tuple[str, ...]
    issued_at: int
    issued_by: str
    not_after: int | None = None
    replaced_by: str | None = None

    def is_over(self, now: int) -> bool:
        """Whether its time has passed."""
        return self.not_after is not None and now >= self.not_after


@dataclass(frozen=True)
class Rate:
    """How often a client may call."""

    per_minute: float
    burst: float


@dataclass(frozen=True)
class IssuedClient:
    """A client's keys, the oldest first."""

    keys: tuple[IssuedKey, ...]
    rate: Rate | None = None

    def key(self, name: str) -> IssuedKey | None:
        """Return the key of an id."""
        return next((key for key in self.keys if key.id == name), None)


Issued = Mapping[str, IssuedClient]


def with_keys(issued: Issued, client: str, keys: tuple[IssuedKey, ...], rate: Rate | None = None) -> dict[str, Any]:
    """Return what is issued with other keys of one client, which is forgotten with its last one."""
    before = issued.get(client, IssuedClient(()))
    others = {name: one for name, one in issued.items() if name != client}
    return {**others, client: replace(before, keys=keys, rate=rate or before.rate)} if keys else others


@dataclass(frozen=True)
class IssuedFile:
    """Where a site keeps what it has issued. The folder is mounted in the gateway's container."""

    site: Site

    @property
    def path(self) -> str:
        return f"{self.site.directory}/state/keys/issued.json"

    def read(self) -> Issued:
        """Return what is issued; nothing where there is no file.

        :raises PlatformError: it is damaged, or newer code has written it.
        """
        found = read_json(self.path)
        if found is None:
            return {}
        try:
            return {client: _parse_client(entry) for client, entry in found["clients"].items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise damaged(self.path) from None

    def write(self, issued: Issued) -> None:
        """Replace the file, for root and the gateway's group; its caller holds :meth:`change_lock`."""
        clients = {name: _render_client(issued[name]) for name in sorted(issued)}
        content = _render_json({"format": STATE_FORMAT, "clients": clients})
        with telling(f"write the issued keys {self.path}"):
            state = FileState(content, _FILE_MODE, os.geteuid(), self._group())
            write_atomically(self.path, state)

    @contextlib.contextmanager
    def change_lock(self) -> Iterator[None]:
        """Hold the file against other writers. Readers need no lock: it is replaced whole."""
        purpose = "change the issued keys"
        with telling(purpose), self.site.hold(".keys", purpose=purpose, wait_seconds=_LOCK_SECONDS):
            ensure_directory(os.path.dirname(os.path.dirname(self.path)), mode=0o700)
            self._prepare_folder()
            sweep_temporaries_of([self.path])
            yield

    def _prepare_folder(self) -> None:
        folder, owner = os.path.dirname(self.path), (os.geteuid(), self._group())
        if os.path.islink(folder):
            raise PlatformError(
                f"Cannot change the issued keys: {folder} is a symbolic link; put the folder itself there."
            )
        ensure_directory(folder, mode=_FOLDER_MODE)
        found = os.lstat(folder)
        # Docker makes it too, where a container that mounts it comes first.
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) != (*owner, _FOLDER_MODE):
            os.chown(folder, *owner)
            os.chmod(folder, _FOLDER_MODE)

    def _group(self) -> int:
        """Return the group of the gateway: that of its own folder, or of this one where it has none."""
        for folder in (f"{self.site.directory}/state/gateway", os.path.dirname(self.path)):
            with contextlib.suppress(FileNotFoundError):
                return os.stat(folder, follow_symlinks=False).st_gid
        return os.getegid()


def _render_json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _render_client(client: IssuedClient) -> dict[str, Any]:
    found: dict[str, Any] = {"keys": [_render_key(key) for key in client.keys]}
    if client.rate is not None:
        found["rate"] = {"per_minute": client.rate.per_minute, "burst": client.rate.burst}
    return found


def _render_key(key: IssuedKey) -> dict[str, Any]:
    found = {
        "id": key.id, "sha256": key.sha256, "scopes": list(key.scopes), "issued_by": key.issued_by,
        "issued_at": render_time(key.issued_at), "replaced_by": key.replaced_by,
        "not_after": None if key.not_after is None else render_time(key.not_after),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def _parse_client(entry: Any) -> IssuedClient:
    rate = entry.get("rate")
    return IssuedClient(
        keys=tuple(_parse_key(one) for one in entry["keys"]),
        rate=None if rate is None else Rate(float(rate["per_minute"]), float(rate["burst"])),
    )


def _parse_key(entry: Any) -> IssuedKey:
    if not _SHA256.fullmatch(entry["sha256"]) or not all(isinstance(scope, str) for scope in entry["scopes"]):
        raise ValueError
    return IssuedKey(
        id=str(entry["id"]),
        sha256=entry["sha256"],
        scopes=tuple(entry["scopes"]),
        issued_at=parse_time(entry["issued_at"]),
        issued_by=str(entry["issued_by"]),
        not_after=None if entry.get("not_after") is None else parse_time(entry["not_after"]),
        replaced_by=entry.get("replaced_by"),
    )
