# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Masking: every spelling of every value, and nothing that is not one."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.masking import mask, secret_values, spellings
from hypothesis import given
from hypothesis import strategies as st

from .secret_examples import keep, make_secret, make_store, make_version

VALUE = 'pa$$ wörd/"x"\\1'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(VALUE, id="as is"),
        pytest.param(VALUE.replace("$", "$$"), id="dollars doubled"),
        pytest.param(json.dumps(VALUE), id="JSON"),
        pytest.param(json.dumps(VALUE, ensure_ascii=False), id="JSON with UTF-8"),
        pytest.param(quote(VALUE), id="URL path"),
        pytest.param(quote(VALUE, safe=""), id="URL parameter"),
        pytest.param(base64.b64encode(VALUE.encode()).decode(), id="base64"),
    ],
)
def test_spelling_is_masked(text: str) -> None:
    masked = mask(f"before {text} after", spellings(VALUE))
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "***" in masked
    assert text not in masked
    assert VALUE[:6] not in masked


@given(st.text("abcdefXYZ0189", min_size=8), st.text("pqrs:", max_size=5), st.text("pqrs", max_size=5))
def test_base64_of_longer_text_is_masked(value: str, before: str, after: str) -> None:
    header = base64.b64encode(f"{before}{value}{after}".encode()).decode()
    assert "***" in mask(header, spellings(value))


def test_each_line_of_a_private_key_is_masked_and_its_frame_stays() -> None:
    store, _steps = keep(make_store(), {"name": "key", "kind": "ed25519"})
    pem = store.value("key")
    masked = mask("\n".join(f"  | {line}" for line in pem.splitlines()), secret_values(store))
    assert masked.splitlines() == ["  | -----BEGIN PRIVATE KEY-----", "  | ***", "  | -----END PRIVATE KEY-----"]


def test_public_parts_stay_readable() -> None:
    store, _steps = keep(make_store(), {"name": "key", "kind": "ed25519"})
    public = store.value("key", "public_openssh")
    assert mask(public, secret_values(store)) == public


def test_all_kept_versions_are_masked() -> None:
    store = make_store(db=make_secret(make_version("first-value"), make_version("second-value")))
    assert mask("first-value second-value", secret_values(store)) == "*** ***"


def test_short_value_is_masked_only_as_a_whole_word() -> None:
    assert mask("a cat has a=a", {"a"}) == "*** cat has ***=***"
    assert mask("port 80 of 8080", {"80"}) == "port *** of 8080"


def test_longer_value_goes_first() -> None:
    assert mask("abcdefgh abcd", {"abcd", "abcdefgh"}) == "*** ***"


@given(st.text(), st.frozensets(st.text(max_size=6)))
def test_no_masked_value_is_left(text: str, values: frozenset[str]) -> None:
    masked = mask(text, values)
    assert [value for value in values if len(value) >= 4 and value in masked and "*" not in value] == []
