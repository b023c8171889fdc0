# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""References: found, refused, replaced in one pass."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import (
    Reference,
    find_references,
    make_reference,
    resolve,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", set(), id="empty text has none"),
        pytest.param("user@@host @@secrets:x@@", set(), id="what only resembles the prefix is none"),
        pytest.param("@@secret:db@@", {Reference("db")}, id="a name alone is the main value"),
        pytest.param("a@@secret:tls.certificate@@b", {Reference("tls", "certificate")}, id="a part follows a dot"),
        pytest.param("@@secret:a@@@@secret:b@@", {Reference("a"), Reference("b")}, id="two may touch"),
        pytest.param("@@secret:a@@ @@secret:a@@", {Reference("a")}, id="the same twice is one"),
        pytest.param("@@secret:A_b-9.sha256@@", {Reference("A_b-9", "sha256")}, id="all characters of a name"),
    ],
)
def test_find_references(text: str, expected: set[Reference]) -> None:
    assert find_references(text) == expected


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        pytest.param("@@secret:", "", id="prefix alone"),
        pytest.param("x @@secret:db", "db", id="without end"),
        pytest.param("@@secret:db@ hunter2", "db", id="half an end"),
        pytest.param("@@secret:@@", "", id="empty name"),
        pytest.param("@@secret:1db@@", "1db", id="name that starts with a digit"),
        pytest.param("@@secret:db.@@", "db.", id="empty part"),
        pytest.param("@@secret:a.b.c@@", "a.b.c", id="two parts"),
        pytest.param("@@secret:döner@@", "d", id="letters outside ASCII"),
        pytest.param(f"@@secret:{'n' * 64}@@", "n" * 64, id="name of 64 characters"),
    ],
)
def test_malformed_reference_is_refused_and_quotes_at_most_the_name(text: str, quoted: str) -> None:
    expected = (
        f"Cannot read the secret reference that starts with '@@secret:{quoted}': it is not of the form "
        "'@@secret:NAME@@' or '@@secret:NAME.PART@@'; write it so, with a name of letters, digits, '_' and '-' "
        "that starts with a letter."
    )
    with pytest.raises(PlatformError) as refused:
        find_references(text)
    assert str(refused.value) == expected
    with pytest.raises(PlatformError) as refused:
        resolve(text, str)
    assert str(refused.value) == expected


def test_resolve_escapes_values_and_nothing_else() -> None:
    found = resolve("$x=@@secret:a.b@@", lambda reference: f"${reference.part}", lambda value: value.replace("$", "$$"))
    assert found == "$x=$$b"


def test_value_that_holds_a_reference_is_not_resolved_again() -> None:
    assert resolve("@@secret:a@@", lambda _reference: "@@secret:b@@\\1") == "@@secret:b@@\\1"


@given(st.text())
def test_any_text_is_resolved_or_refused_in_words(text: str) -> None:
    try:
        find_references("@@secret:" + text)
    except PlatformError:
        return
    assert "@@" in text


@pytest.mark.parametrize(
    ("name", "part", "expected"),
    [
        ("db", None, "@@secret:db@@"),
        ("db", "public", "@@secret:db.public@@"),
    ],
)
def test_make_reference_is_read_back(name: str, part: str | None, expected: str) -> None:
    assert str(make_reference(name, part)) == expected
    assert find_references(expected) == {Reference(name, part)}


@pytest.mark.parametrize(
    ("name", "part", "message"),
    [
        pytest.param(
            "a.b",
            None,
            "Cannot refer to secret 'a.b': it is no name; use up to 63 letters, digits, '_' and '-', "
            "starting with a letter.",
            id="name with a dot",
        ),
        pytest.param(
            "a",
            "X",
            "Cannot refer to part 'X' of secret 'a': it is no name of a part; "
            "use one such as 'public', 'private' or 'certificate'.",
            id="part in capitals",
        ),
    ],
)
def test_make_reference_refuses(name: str, part: str | None, message: str) -> None:
    with pytest.raises(PlatformError) as refused:
        make_reference(name, part)
    assert str(refused.value) == message
