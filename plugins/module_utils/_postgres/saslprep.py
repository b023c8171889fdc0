# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SASLprep (RFC 4013) of texts that are more than ASCII: how such a password looks to both sides of a login."""

from __future__ import annotations

import stringprep
import unicodedata


def prepare(text: str) -> str | None:
    """Return the prepared text; None where a character, or the direction of the script, is not allowed."""
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    if not mapped or any(map(_is_prohibited, mapped)) or not _is_bidirectional(mapped):
        return None
    return unicodedata.normalize("NFKC", mapped)


def _is_prohibited(character: str) -> bool:
    tables = (
        stringprep.in_table_a1,
        stringprep.in_table_c21_c22,
        stringprep.in_table_c3,
        stringprep.in_table_c4,
        stringprep.in_table_c5,
        stringprep.in_table_c6,
        stringprep.in_table_c7,
        stringprep.in_table_c8,
        stringprep.in_table_c9,
    )
    return any(is_in(character) for is_in in tables)


def _is_bidirectional(text: str) -> bool:
    """Tell whether a text keeps the rule for scripts that run from right to left (RFC 3454, section 6)."""
    if not any(map(stringprep.in_table_d1, text)):
        return True
    return (
        not any(map(stringprep.in_table_d2, text))
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )
