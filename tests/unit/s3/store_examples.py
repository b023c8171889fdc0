# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the store start from."""

from __future__ import annotations

from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._files import FileState
from ansible_collections.modelyard.platform.plugins.module_utils._s3.declaration import Declared, User
from ansible_collections.modelyard.platform.plugins.module_utils._s3.key_file import Places, render_links
from ansible_collections.modelyard.platform.plugins.module_utils._s3.plan import Custody, Observed, ObservedKey

SECRET = "s3cret-of-ann"
PLACES = Places()
CUSTODY = Custody(PLACES, 10002)
ANN = User("ann", "ann00000", SECRET, {"alpha": "read_write", "shared": "read_only"})
DECLARED = Declared(("alpha", "shared"), (ANN,))


def entry(**changed: Any) -> dict[str, Any]:
    """Return a user as the module's options have it."""
    own = {"name": "ann", "access_key_id": "ann00000", "secret_access_key": SECRET, "buckets": []}
    return {**own, **changed}


def key_of(user: User, **changed: Any) -> ObservedKey:
    """Return a user's key as it should be on the disk, but for what is changed."""
    return ObservedKey(
        **{"file": CUSTODY.key_file(user), "links": render_links(user, PLACES), "folder_mode": 0o755, **changed}
    )


def observed(**changed: Any) -> Observed:
    """Return a store as declared, but for what is changed."""
    whole = {"buckets": frozenset(DECLARED.buckets), "keys": {ANN.access_key_id: key_of(ANN)}, "keys_mode": 0o711}
    return Observed(**{**whole, **changed})


def file_with(**changed: Any) -> FileState:
    """Return ann's key file, but for what is changed."""
    wanted = CUSTODY.key_file(ANN)
    whole = {"content": wanted.content, "mode": wanted.mode, "uid": wanted.uid, "gid": wanted.gid}
    return FileState(**{**whole, **changed})
