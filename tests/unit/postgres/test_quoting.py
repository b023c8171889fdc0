# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quoted text reads back as itself, by readers of these grammars that are written here anew."""

from __future__ import annotations

import re

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.quoting import (
    NAME_BYTES,
    check_name,
    quote_connect_argument,
    quote_identifier,
    quote_literal,
    quote_texts,
)
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(
    st.one_of(st.sampled_from("'\"\\\n\r\t$:;-` E"), st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    max_size=60,
)
NAMES = TEXTS.filter(lambda text: 0 < len(text.encode()) <= NAME_BYTES)


def read_identifier(quoted: str) -> str:
    assert re.fullmatch(r'"(?:[^"]|"")*"', quoted)
    return quoted[1:-1].replace('""', '"')


def read_literal(quoted: str) -> str:
    """Read as the server does with standard_conforming_strings on, and off where it makes no difference."""
    if quoted.startswith("E"):
        assert re.fullmatch(r"E'(?:[^'\\]|''|\\\\)*'", quoted, re.DOTALL)
        return quoted[2:-1].replace("''", "'").replace("\\\\", "\\")
    assert re.fullmatch(r"'(?:[^'\\]|'')*'", quoted, re.DOTALL)
    return quoted[1:-1].replace("''", "'")


def read_connect_argument(quoted: str) -> str:
    """Read as psql does: the quotes first, then double quotes as in an identifier."""
    assert re.fullmatch(r"'(?:[^'\\\n\r]|''|\\.)*'", quoted)
    plain = re.sub(
        r"''|\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]) if match[1] else "'", quoted[1:-1]
    )
    return re.sub(r'"((?:[^"]|"")*)"', lambda match: match[1].replace('""', '"'), plain)


@given(NAMES)
def test_an_identifier_reads_back(name: str) -> None:
    assert read_identifier(quote_identifier(name)) == name


@given(TEXTS)
def test_a_literal_reads_back(text: str) -> None:
    assert read_literal(quote_literal(text)) == text


@given(TEXTS)
def test_an_argument_of_connect_reads_back_and_stays_on_its_line(text: str) -> None:
    quoted = quote_connect_argument(text)
    assert read_connect_argument(quoted) == text
    assert "\n" not in quoted


def test_texts_become_one_array_also_when_there_are_none() -> None:
    assert quote_texts(["a", "b'c"]) == "ARRAY['a', 'b''c']::text[]"
    assert quote_texts([]) == "ARRAY[]::text[]"


@pytest.mark.parametrize("name", ["a" * 63, "ü" * 31 + "a"], ids=["63 letters", "63 bytes of UTF-8"])
def test_a_name_of_63_bytes_fits(name: str) -> None:
    assert check_name(name, "role") == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "Cannot use '' as the name of a role: it is empty; give it a name."),
        (
            "ü" * 32,
            f"Cannot use '{'ü' * 32}' as the name of a role: it has 64 bytes and PostgreSQL keeps 63; shorten it.",
        ),
        ("a\0b", "Cannot send a text to PostgreSQL: it holds a NUL character; take that out."),
        ("a\udcffb", "Cannot send a text to PostgreSQL: it is no valid Unicode; correct it."),
    ],
    ids=["empty", "too long", "NUL", "half a surrogate pair"],
)
def test_what_no_name_can_be_is_refused(name: str, said: str) -> None:
    with pytest.raises(PlatformError) as refused:
        check_name(name, "role")
    assert str(refused.value) == said


@pytest.mark.parametrize("quote", [quote_literal, quote_identifier, quote_connect_argument])
def test_nothing_quotes_a_nul(quote: object) -> None:
    assert callable(quote)
    with pytest.raises(PlatformError, match="NUL"):
        quote("a\0")
