# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which versions of secrets the kept releases of a site refer to."""

from __future__ import annotations

import glob
import json
import os

from .._errors import PlatformError


def versions_in_releases(site_directory: str) -> frozenset[tuple[str, int]]:
    """Return pairs of secret and version from ``releases/PROJECT/NUMBER/release.json`` below the folder.

    :raises PlatformError: a release cannot be read; what it needs is then unknown, so nothing may be thrown away.
    """
    pattern = os.path.join(glob.escape(site_directory), "releases", "*", "*", "release.json")
    return frozenset(pair for path in glob.iglob(pattern) for pair in _read_release(path))


def _read_release(path: str) -> list[tuple[str, int]]:
    try:
        with open(path, "rb") as stream:
            versions = json.load(stream).get("secrets", {})
        return [(str(name), _version(version)) for name, version in versions.items()]
    except FileNotFoundError:
        # Pruned by its project since we listed it: it needs nothing any more.
        return []
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        raise PlatformError(
            f"Cannot tell which secrets release {path} needs: it cannot be read or is damaged; "
            "remove its folder if it is not needed."
        ) from None


def _version(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value
