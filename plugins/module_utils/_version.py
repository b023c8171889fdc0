# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The collection's version and the number of the format of what it writes on hosts."""

from __future__ import annotations

from ._errors import PlatformError

#: Equal to galaxy.yml; a contract test ties them.
VERSION = "0.1.0"

#: Format of every state file (releases, site state, secret store).
STATE_FORMAT = 1


def check_format(found: object, path: str) -> None:
    """Refuse a state file that newer code has written.

    :param found: the value under ``format`` in the file.
    :raises PlatformError: it is newer than ours, or no number at all.
    """
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise PlatformError(
            f"Cannot read {path}: its format is {found!r}, not a number; it is damaged, restore it from a backup."
        )
    if found > STATE_FORMAT:
        raise PlatformError(
            f"Cannot read {path}: it has format {found}, modelyard.platform {VERSION} knows up to {STATE_FORMAT}; "
            "a newer version wrote it, install that version."
        )
