# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ``.env`` file, written so that Compose reads back the very values."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "$": "\\$", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPECIAL = re.compile(r'[\\"$\n\r\t]')


def render_dotenv(env: Mapping[str, str]) -> str:
    """Return ``KEY=value`` lines in the order of ``env``.

    A value is bare where nothing can be misread, in single quotes (all literal, but no quote and no backslash
    can stand inside) where these do, in double quotes with escapes otherwise. Compose's parser is not a shell:
    checked value by value against 2.26 and 2.40 in the tests.
    """
    return "".join(f"{key}={quote_value(value)}\n" for key, value in env.items())


def quote_value(value: str) -> str:
    """Return ``value`` as it stands right of the ``=``."""
    if _PLAIN.fullmatch(value):
        return value
    if not any(sign in value for sign in "'\\\n\r"):
        return f"'{value}'"
    return '"' + _SPECIAL.sub(lambda found: _ESCAPES[found[0]], value) + '"'
