# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text as SQL and psql read it: one function per place, and what no quoting can carry is refused.

Source: PostgreSQL's manual, "Lexical Structure" and "psql", meta-commands.
"""

from __future__ import annotations

from collections.abc import Iterable

from .._errors import PlatformError

#: NAMEDATALEN - 1. The server would cut a longer name, and two names could become one.
NAME_BYTES = 63


def check_name(name: str, kind: str) -> str:
    """Return ``name`` if an object can be called so.

    :param kind: of the object, for the error.
    :raises PlatformError: it is empty, too long, or no text that the server takes.
    """
    if not name:
        raise PlatformError(f"Cannot use '' as the name of a {kind}: it is empty; give it a name.")
    size = len(_encoded(name))
    if size > NAME_BYTES:
        raise PlatformError(
            f"Cannot use {name!r} as the name of a {kind}: it has {size} bytes and PostgreSQL keeps {NAME_BYTES}; "
            "shorten it."
        )
    return name


def quote_identifier(name: str) -> str:
    """Return a name as SQL reads it, in any case and with any character.

    :raises PlatformError: PostgreSQL cannot hold it.
    """
    check_name(name, "PostgreSQL object")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    """Return a text as SQL reads it, whatever ``standard_conforming_strings`` says.

    :raises PlatformError: PostgreSQL cannot hold it.
    """
    _encoded(text)
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in text else quoted


def quote_texts(texts: Iterable[str]) -> str:
    """Return texts as one array of SQL."""
    return f"ARRAY[{', '.join(map(quote_literal, texts))}]::text[]"


def quote_connect_argument(text: str) -> str:
    """Return a text as an argument of psql's ``\\connect``, which ends with its line.

    When it has read the argument, psql takes double quotes out as from an identifier (psqlscanslash.l, OT_SQLIDHACK).

    :raises PlatformError: PostgreSQL cannot hold it.
    """
    _encoded(text)
    escaped = text.replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n").replace("\r", "\\r")
    return "'" + escaped.replace('"', '""""') + "'"


def _encoded(text: str) -> bytes:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise PlatformError("Cannot send a text to PostgreSQL: it is no valid Unicode; correct it.") from None
    if b"\0" in encoded:
        raise PlatformError("Cannot send a text to PostgreSQL: it holds a NUL character; take that out.")
    return encoded
