# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings of roles and databases (``ALTER ... SET``): read, compared with what the server keeps, written.

A value is a tuple of texts. Most settings have one; those that PostgreSQL keeps as a list of quoted names have several,
and are compared by these, since ``app, public`` and ``"app", public`` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .._errors import PlatformError
from .._secrets.references import PREFIX
from .quoting import quote_identifier, quote_literal

Value = tuple[str, ...]

#: Closed: no extension can add one. Source: variable_is_guc_list_quote() in PostgreSQL's dumputils.c.
LISTS = frozenset(
    {
        "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
        "temp_tablespaces", "unix_socket_directories",
    }
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")
_ELEMENT = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]*?))\s*(?:,|$)')


def parse_settings(declared: Mapping[str, object] | None, owner: str) -> dict[str, Value]:
    """Return settings as data gives them, by their name in lower case; numbers and booleans become text.

    :param owner: whose they are, for errors: ``role 'x'``.
    :raises PlatformError: a name or a value is none.
    """
    return {name.lower(): _parse_value(name, value, owner) for name, value in (declared or {}).items()}


def _parse_value(name: str, value: object, owner: str) -> Value:
    if not _NAME.fullmatch(name):
        raise PlatformError(
            f"Cannot set {name!r} of {owner}: it is no name of a setting; write one such as work_mem or myapp.mode."
        )
    texts = [_to_text(name, item, owner) for item in (value if isinstance(value, list) else [value])]
    if any(PREFIX in text for text in texts):
        raise PlatformError(
            f"Cannot set {name!r} of {owner}: every user of the server can read it, and it refers to a secret; "
            "give the secret to the program that needs it, as a file."
        )
    if name.lower() in LISTS:
        return tuple(texts) if isinstance(value, list) and texts else parse_list(texts[0] if texts else "")
    return (", ".join(texts),)


def _to_text(name: str, value: object, owner: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if not isinstance(value, str | int | float):
        raise PlatformError(f"Cannot set {name!r} of {owner} to {value!r}: it is no text, number or boolean; quote it.")
    return str(value)


def parse_list(text: str) -> Value:
    """Return the names of a list; what is not in quotes is in lower case. An empty text is one empty name."""
    if not text.strip():
        return ("",)
    found = _ELEMENT.finditer(text)
    names = [one[1].replace('""', '"') if one[1] is not None else one[2].lower() for one in found if one[0]]
    return tuple(names)


def parse_kept(kept: Iterable[str] | None) -> dict[str, Value]:
    """Return settings as the server keeps them (``pg_db_role_setting.setconfig``), by their name in lower case."""
    pairs = (entry.partition("=") for entry in kept or ())
    return {name.lower(): parse_list(value) if name.lower() in LISTS else (value,) for name, _separator, value in pairs}


def render_setting(name: str, value: Value) -> str:
    """Return the ``SET`` part of an ``ALTER``."""
    quoted_name = ".".join(map(quote_identifier, name.split(".")))
    return f"SET {quoted_name} TO {', '.join(map(quote_literal, value))}"


def show(value: Value | None) -> str:
    """Return a value for people."""
    return "not set" if value is None else repr(", ".join(value))
