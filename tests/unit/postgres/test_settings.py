# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings as data gives them and as the server keeps them are the same value, or are not."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.settings import (
    parse_kept,
    parse_list,
    parse_settings,
    render_setting,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        ({"work_mem": "64MB"}, "work_mem=64MB"),
        ({"statement_timeout": 5000}, "statement_timeout=5000"),
        ({"jit": False}, "jit=off"),
        ({"jit": True}, "jit=on"),
        ({"timezone": "UTC"}, "TimeZone=UTC"),
        ({"DateStyle": "ISO, DMY"}, "DateStyle=ISO, DMY"),
        ({"search_path": ["$user", "public"]}, 'search_path="$user", public'),
        ({"search_path": '"$user", Public'}, 'search_path="$user", public'),
        ({"search_path": ["App"]}, 'search_path="App"'),
        ({"search_path": []}, 'search_path=""'),
        ({"search_path": ""}, 'search_path=""'),
        ({"myapp.mode": "a=b"}, "myapp.mode=a=b"),
    ],
    ids=str,
)
def test_a_declared_setting_is_known_in_what_the_server_keeps(declared: dict[str, object], kept: str) -> None:
    assert parse_settings(declared, "role 'x'") == parse_kept([kept])


def test_a_server_without_settings_keeps_nothing() -> None:
    assert parse_kept(None) == {}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_quoted_names_of_a_list_read_back(names: list[str]) -> None:
    kept = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    assert parse_list(kept) == tuple(names)


def test_each_name_of_a_list_is_a_text_of_its_own() -> None:
    assert render_setting("search_path", ("$user", "it's")) == "SET \"search_path\" TO '$user', 'it''s'"
    assert render_setting("myapp.mode", ("x",)) == 'SET "myapp"."mode" TO \'x\''


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"a b": 1},
            "Cannot set 'a b' of role 'x': it is no name of a setting; write one such as work_mem or myapp.mode.",
        ),
        (
            {"work_mem": None},
            "Cannot set 'work_mem' of role 'x' to None: it is no text, number or boolean; quote it.",
        ),
        (
            {"myapp.key": "@@secret:key@@"},
            (
                "Cannot set 'myapp.key' of role 'x': every user of the server can read it, and it refers to a secret; "
                "give the secret to the program that needs it, as a file."
            ),
        ),
    ],
    ids=["no name", "no value", "a secret"],
)
def test_what_is_no_setting_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_settings(settings, "role 'x'")
    assert str(refused.value) == said
