# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A secret store's file, as tests read it."""

from __future__ import annotations

import json


def current_value(store: str, name: str) -> str:
    """Return the value of a secret that counts now.

    :param store: what the store's file has in it.
    """
    found = json.loads(store)["secrets"][name]
    version = found["versions"][str(found["current"])]
    return str(version["secret"][version["main"]])
