# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Declarations: what is taken, and every refusal with its whole text."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.declaration import (
    Declaration,
    is_host,
    parse_declaration,
    parse_declarations,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.kinds import KINDS
from hypothesis import given
from hypothesis import strategies as st


def test_keys_that_are_none_count_as_absent() -> None:
    entry = {"name": "db", "kind": "password", "length": None, "of": None, "value": None}
    assert parse_declaration(entry) == Declaration("db", "password")


def test_same_declaration_twice_is_one_and_order_stays() -> None:
    entries = [{"name": "b", "kind": "uuid"}, {"name": "a", "kind": "uuid"}, {"name": "b", "kind": "uuid"}]
    assert list(parse_declarations(entries)) == ["b", "a"]


def test_order_of_names_is_no_difference_but_the_first_stays_first() -> None:
    entry = {"name": "tls", "kind": "x509_leaf", "of": "ca", "names": ["c.test", "b.test", "a.test", "b.test"]}
    assert parse_declaration(entry).options["names"] == ("c.test", "a.test", "b.test")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        pytest.param(
            [{"name": "a b", "kind": "uuid"}],
            "Cannot keep secret 'a b': it is no name; use up to 63 letters, digits, '_' and '-', "
            "starting with a letter.",
            id="name with a space",
        ),
        pytest.param(
            [{"name": "a", "kind": "magic"}],
            f"Cannot keep secret 'a': its kind 'magic' is unknown; use one of {', '.join(sorted(KINDS))}.",
            id="unknown kind",
        ),
        pytest.param(
            [{"name": "a", "kind": "uuid", "length": 9}],
            "Cannot keep secret 'a': kind 'uuid' has no option 'length'; remove it; the kind takes no options.",
            id="option that the kind does not have",
        ),
        pytest.param(
            [{"name": "a", "kind": "password", "length": 5}],
            "Cannot keep secret 'a': its length is 5; use a number from 12 to 1024.",
            id="too short",
        ),
        pytest.param(
            [{"name": "a", "kind": "htpasswd", "of": "b"}],
            "Cannot keep secret 'a': kind 'htpasswd' needs 'user'; add it.",
            id="option missing",
        ),
        pytest.param(
            [{"name": "a", "kind": "htpasswd", "of": "b", "user": "x:y"}],
            "Cannot keep secret 'a': its user is 'x:y'; use up to 64 letters, digits, spaces, '.', '_', '@' and '-', "
            "a letter first.",
            id="user with a colon",
        ),
        pytest.param(
            [{"name": "a", "kind": "x509_leaf", "of": "ca", "names": []}],
            "Cannot keep secret 'a': its names are an empty list; name at least one host or address.",
            id="no names",
        ),
        pytest.param(
            [{"name": "a", "kind": "x509_leaf", "of": "ca", "names": ["münchen.test"]}],
            "Cannot keep secret 'a': 'münchen.test' is neither a DNS name nor an address; correct it, "
            "write a name with umlauts in its xn-- form.",
            id="name outside ASCII",
        ),
        pytest.param(
            [{"name": "a", "kind": "ed25519", "value": "x"}],
            "Cannot keep secret 'a': a value cannot be given for kind 'ed25519'; remove 'value'.",
            id="value of a pair",
        ),
        pytest.param(
            [{"name": "a", "kind": "password", "value": ""}],
            "Cannot keep secret 'a': the value given is empty or no text; give a text, "
            "or remove 'value' to have one made.",
            id="empty value",
        ),
        pytest.param(
            [{"name": "a", "kind": "password", "value": "x\0"}],
            "Cannot keep secret 'a': the value given holds a NUL character; remove it; "
            "no file or variable can carry it.",
            id="value with NUL",
        ),
        pytest.param(
            [{"name": "a", "kind": "password", "value": "one"}, {"name": "a", "kind": "password", "value": "two"}],
            "Cannot keep secret 'a': it is declared twice and the two differ; declare it once, or both times alike.",
            id="declared twice with other values",
        ),
    ],
)
def test_wrong_declaration_is_refused(entries: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_declarations(entries)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test", True),
        ("*.a.test", True),
        ("localhost", True),
        ("_x.a.test", True),
        ("10.0.0.1", True),
        ("fd00::1", True),
        ("node-1", True),
        ("", False),
        ("a..test", False),
        ("-a.test", False),
        ("a.*.test", False),
        ("10.0.0.256", False),
        ("fe80::1%eth0", False),
        ("a b", False),
        ("a" * 64 + ".test", False),
        ("a.test\n", False),
    ],
)
def test_is_host(text: str, expected: bool) -> None:
    assert is_host(text) is expected


_KEYS = ["name", "kind", "length", "bits", "of", "user", "cost", "names", "days", "common_name", "value", "other"]
_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES), st.sampled_from(sorted(KINDS)))
def test_any_entry_is_taken_or_refused_in_words(entry: dict[str, Any], kind: str) -> None:
    try:
        declaration = parse_declaration({"name": "a", "kind": kind, **entry})
    except PlatformError:
        return
    assert declaration.kind in KINDS
