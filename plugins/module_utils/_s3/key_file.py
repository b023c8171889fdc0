# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a user of the rclone store looks on the disk: a key file, and a folder with a link per bucket.

rclone asks its auth program who an access key id is, and gets the key file. It keeps that answer for up to five
minutes, so nothing stands in it that changes with a policy: that is in the links, which rclone looks at again after
``--dir-cache-time``. A link leads to the bucket in the data folder, or in a read-only mount of the same volume, so
that the kernel refuses what a user may not write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from .declaration import Access, User

FOLDER_SUFFIX = ".buckets"
#: The key files hold secrets: for the store alone.
KEY_MODE = 0o400
#: The store looks up a key file by its name and lists the buckets of one key. Nobody needs the names of all keys.
KEYS_MODE = 0o711
LINKS_MODE = 0o755


@dataclass(frozen=True)
class Places:
    """Where things are inside the store's container."""

    data: str = "/data"
    read_only: str = "/data-ro"
    keys: str = "/run/s3-keys"


def render_key_file(user: User, places: Places) -> bytes:
    """Return what rclone is told of a user."""
    answer = {
        "type": "local",
        "_root": f"{places.keys}/{user.access_key_id}{FOLDER_SUFFIX}",
        "copy_links": "true",
        "_secret_access_key": user.secret_access_key,
    }
    return json.dumps(answer).encode() + b"\n"


def secret_in(content: bytes) -> object:
    """Return the secret in a key file; None where it is none of ours."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found.get("_secret_access_key") if isinstance(found, dict) else None


def render_links(user: User, places: Places) -> dict[str, str]:
    """Map each bucket of a user to what its link says."""
    roots = {"read_write": places.data, "read_only": places.read_only}
    return {bucket: f"{roots[access]}/{bucket}" for bucket, access in user.grants.items()}


def access_of(bucket: str, links: Mapping[str, str], places: Places) -> Access | str:
    """Return the access that links give to a bucket, in words where it is none of ours."""
    if bucket not in links:
        return "none"
    accesses: dict[str, Access] = {f"{places.data}/{bucket}": "read_write", f"{places.read_only}/{bucket}": "read_only"}
    return accesses.get(links[bucket], "something else")
