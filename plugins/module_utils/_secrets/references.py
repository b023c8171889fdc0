# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placeholders for secret values: ``@@secret:NAME@@`` and ``@@secret:NAME.PART@@``.

They travel through inventories, facts and logs in place of values, and are replaced on the host alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .._errors import PlatformError

PREFIX = "@@secret:"
SUFFIX = "@@"

#: What a secret may be called, without anchors. No dot: it separates the name from the part.
NAME_PATTERN = "[A-Za-z][A-Za-z0-9_-]{0,62}"
PART_PATTERN = "[a-z][a-z0-9_]{0,31}"

# The alternative is empty, so that a prefix which starts no reference matches too, and is refused.
_REFERENCE = re.compile(f"{PREFIX}(?:({NAME_PATTERN})(?:\\.({PART_PATTERN}))?{SUFFIX}|)")
_QUOTABLE = re.compile(r"[A-Za-z0-9_.-]{0,64}")


@dataclass(frozen=True)
class Reference:
    """A secret's value, or with ``part`` one part of it (``public``, ``sha256``, ``certificate``, ...)."""

    name: str
    part: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.name}{'.' + self.part if self.part else ''}{SUFFIX}"


def is_name(text: str) -> bool:
    """Tell whether a secret may be called ``text``."""
    return re.fullmatch(NAME_PATTERN, text) is not None


def is_part(text: str) -> bool:
    """Tell whether a part of a secret may be called ``text``."""
    return re.fullmatch(PART_PATTERN, text) is not None


def make_reference(name: object, part: object = None) -> Reference:
    """Return the reference to a secret, or to a part of it.

    :raises PlatformError: no secret or part can be called so.
    """
    if not isinstance(name, str) or not is_name(name):
        raise PlatformError(
            f"Cannot refer to secret {str(name)[:64]!r}: it is no name; use up to 63 letters, digits, '_' and '-', "
            "starting with a letter."
        )
    if part is not None and (not isinstance(part, str) or not is_part(part)):
        raise PlatformError(
            f"Cannot refer to part {str(part)[:64]!r} of secret '{name}': it is no name of a part; "
            "use one such as 'public', 'private' or 'certificate'."
        )
    return Reference(name, part)


def find_references(text: str) -> frozenset[Reference]:
    """Return every reference in ``text``.

    :raises PlatformError: something starts like a reference and is none.
    """
    if PREFIX not in text:
        return frozenset()
    return frozenset(_parse(match) for match in _REFERENCE.finditer(text))


def resolve(text: str, lookup: Callable[[Reference], str], escape: Callable[[str], str] = str) -> str:
    """Return ``text`` with every reference replaced by its escaped value.

    One pass: a value that holds the text of a reference stays as it is.

    :param lookup: the value of a reference; what it raises passes through.
    :param escape: makes a value safe for the place where it lands; the rest of ``text`` is not escaped.
    :raises PlatformError: something starts like a reference and is none.
    """
    if PREFIX not in text:
        return text
    return _REFERENCE.sub(lambda match: escape(lookup(_parse(match))), text)


def _parse(match: re.Match[str]) -> Reference:
    if match[1] is None:
        # Only characters of a name: what follows a broken reference may be anything, a secret too.
        quoted = _QUOTABLE.match(match.string, match.end())
        found = quoted[0] if quoted else ""
        raise PlatformError(
            f"Cannot read the secret reference that starts with '{PREFIX}{found}': it is not of the form "
            f"'{PREFIX}NAME{SUFFIX}' or '{PREFIX}NAME.PART{SUFFIX}'; write it so, with a name of letters, "
            "digits, '_' and '-' that starts with a letter."
        )
    return Reference(match[1], match[2])
