# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user declares about a secret, parsed and checked without looking at the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError
from .kinds import KINDS, TEXT_KINDS, Kind
from .references import is_name
from .store import OptionValue

#: Keys of a declaration that are options of its kind.
OPTION_KEYS = ("length", "bits", "of", "user", "cost", "names", "days", "common_name")

_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
LONGEST_DNS_NAME = 253


@dataclass(frozen=True)
class Declaration:
    """One secret as declared. ``options`` holds what was written, without defaults."""

    name: str
    kind: str
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    value: str | None = field(default=None, repr=False)

    @property
    def source(self) -> str | None:
        """The secret that this one is made from."""
        of = self.options.get("of")
        return of if isinstance(of, str) else None

    @property
    def all_options(self) -> dict[str, OptionValue]:
        """Options with the kind's defaults."""
        return {**KINDS[self.kind].defaults, **self.options}


def parse_declarations(entries: Iterable[Mapping[str, Any]]) -> dict[str, Declaration]:
    """Map name to declaration, in the order given.

    Two roles may declare the same secret in the same words.

    :raises PlatformError: an entry is wrong in itself, or two of one name differ.
    """
    found: dict[str, Declaration] = {}
    for entry in entries:
        declaration = parse_declaration(entry)
        other = found.setdefault(declaration.name, declaration)
        if other != declaration:
            raise PlatformError(
                f"Cannot keep secret '{declaration.name}': it is declared twice and the two differ; "
                "declare it once, or both times alike."
            )
    return found


def parse_declaration(entry: Mapping[str, Any]) -> Declaration:
    """Return the declaration of one entry; keys that are None count as absent.

    :raises PlatformError: the name, the kind, an option or the value is not possible.
    """
    name = check_name(entry.get("name"))
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise _wrong(name, f"its kind {kind!r} is unknown", f"use one of {', '.join(sorted(KINDS))}")
    given = {key: entry[key] for key in OPTION_KEYS if entry.get(key) is not None}
    options = {key: _parse_option(name, kind, key, value) for key, value in given.items()}
    for key in KINDS[kind].required:
        if key not in options:
            raise _wrong(name, f"kind '{kind}' needs '{key}'", "add it")
    return Declaration(name, kind, options, _parse_value(name, kind, entry.get("value")))


def check_name(name: object) -> str:
    """Return ``name``.

    :raises PlatformError: no secret can be called so.
    """
    if not isinstance(name, str) or not is_name(name):
        raise PlatformError(
            f"Cannot keep secret {str(name)[:64]!r}: it is no name; use up to 63 letters, digits, '_' and '-', "
            "starting with a letter."
        )
    return name


def _parse_option(name: str, kind: str, key: str, value: object) -> OptionValue:
    row = KINDS[kind]
    if key not in row.option_names:
        takes = ", ".join(sorted(row.option_names)) or "no options"
        raise _wrong(name, f"kind '{kind}' has no option '{key}'", f"remove it; the kind takes {takes}")
    if key in row.limits:
        return _parse_number(name, row, key, value)
    if key == "names":
        return _parse_names(name, value)
    if key == "of":
        return check_name(value)
    return _parse_line(name, key, value)


def _parse_number(name: str, row: Kind, key: str, value: object) -> int:
    least, most = row.limits[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(name, f"its {key} is {value!r}", f"use a number from {least} to {most}")
    return value


def _parse_names(name: str, value: object) -> tuple[str, ...]:
    names = tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()
    if not names:
        raise _wrong(name, "its names are an empty list", "name at least one host or address")
    for item in names:
        if not is_host(item):
            raise _wrong(
                name,
                f"{item!r} is neither a DNS name nor an address",
                "correct it, write a name with umlauts in its xn-- form",
            )
    # The same names in another order are the same certificate; the first one stays its common name.
    return (names[0], *sorted(set(names[1:]) - {names[0]}))


def is_host(text: str) -> bool:
    """Tell whether a certificate can be for ``text``: a DNS name, with ``*.`` before it or not, or an IP address."""
    if ":" not in text and not text[-1:].isdigit():
        return len(text) <= LONGEST_DNS_NAME and _DNS_NAME.fullmatch(text) is not None
    # No top-level domain ends in a digit. Imported late: most runs see no address.
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return ":" not in text and not text.rpartition(".")[2].isdigit() and _DNS_NAME.fullmatch(text) is not None
    return "%" not in text


def _parse_line(name: str, key: str, value: object) -> str:
    text = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._@-]{0,63}", text):
        raise _wrong(
            name,
            f"its {key} is {value!r}",
            "use up to 64 letters, digits, spaces, '.', '_', '@' and '-', a letter first",
        )
    return text


def _parse_value(name: str, kind: str, value: object) -> str | None:
    if value is None:
        return None
    if kind not in TEXT_KINDS:
        raise _wrong(name, f"a value cannot be given for kind '{kind}'", "remove 'value'")
    if not isinstance(value, str) or value == "":
        raise _wrong(name, "the value given is empty or no text", "give a text, or remove 'value' to have one made")
    if "\0" in value:
        raise _wrong(name, "the value given holds a NUL character", "remove it; no file or variable can carry it")
    return value


def _wrong(name: str, finding: str, advice: str) -> PlatformError:
    return PlatformError(f"Cannot keep secret '{name}': {finding}; {advice}.")
