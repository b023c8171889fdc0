# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store's container: which one it is, whether its folders are mounted as they must be, and its buckets.

Buckets are folders of the data folder. They are listed and made by programs in the container, as the container's own
user: so they belong to the one who has to write to them, and nothing that somebody may have put there is followed on
the host.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._compose.desired import SERVICE_LABEL
from .._compose.engine import Engine
from .._compose.exec_stream import run_in_container
from .._compose.observe import list_containers
from .._errors import PlatformError
from .key_file import Places

_POLL_SECONDS = 0.2
#: Nothing but what a shell brings along, so that listing costs no further program; then the keys folder's inode.
_LIST = r"""
cd -- "$1" || exit 1
for name in *; do
    if [ -d "$name" ] && [ ! -h "$name" ]; then printf '%s\0' "$name"; fi
done
[ -z "$2" ] || exec stat -c %i -- "$2"
"""
_MAKE = 'cd -- "$1" && shift && exec mkdir -- "$@"'


@dataclass(frozen=True)
class Container:
    """A running container of the store. ``mounts`` are the engine's words, ``addresses`` those the host reaches."""

    id: str
    mounts: Sequence[Mapping[str, Any]]
    addresses: tuple[str, ...] = ()


def find_container(engine: Engine, project: str, service: str, *, wait_seconds: float) -> Container | None:
    """Return the running container of a service; None where it does not run after ``wait_seconds``."""
    deadline = time.monotonic() + wait_seconds
    while True:
        for entry in list_containers(engine, project, status=["running"]):
            if (entry["Labels"] or {}).get(SERVICE_LABEL) == service:
                return Container(entry["Id"], entry.get("Mounts") or (), _addresses(entry))
        if time.monotonic() >= deadline:
            return None
        time.sleep(_POLL_SECONDS)


def _addresses(entry: Mapping[str, Any]) -> tuple[str, ...]:
    networks = (entry.get("NetworkSettings") or {}).get("Networks") or {}
    if "host" in networks:
        return ("127.0.0.1",)
    return tuple(network["IPAddress"] for _name, network in sorted(networks.items()) if network.get("IPAddress"))


def check_mounts(container: Container, places: Places, *, keys_directory: str | None, needs_read_only: bool) -> None:
    """Refuse a store whose folders are not mounted as the buckets and users that are declared need them.

    :param keys_directory: the folder on the host that the store must see at ``places.keys``; None without users.
    :raises PlatformError: the text says which mount to add.
    """
    data = _mount_at(container.mounts, places.data)
    if data is None or not data.get("RW"):
        raise _wrong_mount(
            f"its data folder {places.data} is no volume that it may write to", f"mount one at {places.data}"
        )
    if keys_directory is not None:
        keys = _mount_at(container.mounts, places.keys)
        if keys is None or keys.get("RW") or os.path.realpath(keys["Source"]) != os.path.realpath(keys_directory):
            raise _wrong_mount(
                f"{places.keys} is not a read-only mount of {keys_directory}",
                f"mount {keys_directory} there, read-only",
            )
    if needs_read_only:
        again = _mount_at(container.mounts, places.read_only)
        if again is None or again.get("RW") or again["Source"] != data["Source"]:
            raise _wrong_mount(
                f"{places.read_only} is not a read-only mount of the volume at {places.data}, which access read_only "
                "needs",
                f"mount that volume once more at {places.read_only}, read-only",
            )


def list_buckets(engine: Engine, container: Container, places: Places, *, keys_directory: str | None) -> frozenset[str]:
    """Return the folders in the store's data folder.

    :raises PlatformError: the folder cannot be read, or the store looks at another folder of keys than this host's.
    """
    output = io.BytesIO()
    arguments = [places.data, places.keys if keys_directory else ""]
    ended = run_in_container(engine, container.id, ["sh", "-c", _LIST, "sh", *arguments], stdout=output)
    if ended.returncode:
        raise PlatformError(
            f"Cannot list the buckets of the store: the shell in its container ended with {ended.returncode} "
            f"({ended.stderr or 'no message'}); the image needs sh and stat, and its user must be able to read "
            f"{' and '.join(filter(None, arguments))}."
        )
    *names, inode = output.getvalue().decode(errors="replace").split("\0")
    if keys_directory and inode.strip() != str(os.stat(keys_directory).st_ino):
        raise PlatformError(
            f"Cannot manage the users of the store: its container still sees an older {keys_directory}, which was "
            "removed and made again; restart the container (docker restart)."
        )
    # What a file system keeps for itself in the root of a volume is nobody's bucket.
    return frozenset(names) - {"lost+found"}


def make_buckets(engine: Engine, container: Container, places: Places, names: Iterable[str]) -> None:
    """Make folders for new buckets.

    :raises PlatformError: the store's user may not, or there is no room.
    """
    ended = run_in_container(engine, container.id, ["sh", "-c", _MAKE, "sh", places.data, *names])
    if ended.returncode:
        raise PlatformError(
            f"Cannot make a bucket in {places.data} of the store: {ended.stderr or 'mkdir failed'}; correct that and "
            "run again."
        )


def _mount_at(mounts: Iterable[Mapping[str, Any]], place: str) -> Mapping[str, Any] | None:
    return next((mount for mount in mounts if mount.get("Destination") == place), None)


def _wrong_mount(finding: str, advice: str) -> PlatformError:
    return PlatformError(f"Cannot use the store's container: {finding}; {advice}, and apply its project again.")
