# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers of a server: whole, or an error; what it does not say is never taken for "nothing there"."""

from __future__ import annotations

import json

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.observe import (
    parse_observation,
    render_observation,
)

from .objects_examples import DOING, answer, declare

DECLARED = declare({"roles": [{"name": "shop"}], "databases": [{"name": "shop"}, {"name": "later"}]})
WHOLE = answer({"databases": {"shop": None, "old": None}}, DECLARED)


def test_a_whole_answer_tells_of_the_server_and_of_each_declared_database() -> None:
    observed = parse_observation(WHOLE, DECLARED, DOING)
    assert observed.databases.keys() == {"postgres", "shop", "old"}
    looked_into = {name for name, database in observed.databases.items() if database.content is not None}
    assert looked_into == {"shop"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "0 answers for 1 questions"),
        ("\n\n", "0 answers for 1 questions"),
        (WHOLE.splitlines()[0], "1 answers for 2 questions"),
        (WHOLE + WHOLE.splitlines()[1], "3 answers for 2 questions"),
        (WHOLE[:-20], "0 answers for 1 questions"),
        ("no JSON", "0 answers for 1 questions"),
    ],
    ids=["nothing", "empty lines", "a database is missing", "too much", "cut off", "something else"],
)
def test_an_answer_that_is_not_whole_is_an_error(text: str, found: str) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_observation(text, DECLARED, DOING)
    assert str(refused.value) == f"Cannot apply: psql ended well but gave {found}; run again."


def test_a_standby_is_refused() -> None:
    standby = {**json.loads(WHOLE.splitlines()[0]), "standby": True}
    with pytest.raises(PlatformError, match="the server is a standby and takes no change; run it on its primary"):
        parse_observation(json.dumps(standby), DECLARED, DOING)


def test_what_a_server_keeps_of_passwords_is_asked_of_declared_roles_alone() -> None:
    script = render_observation(DECLARED)
    assert "CASE WHEN a.rolname = ANY (ARRAY['shop']::text[]) THEN a.rolpassword END" in script
    assert script.count("rolpassword") == 1


def test_slow_questions_are_not_asked_where_nobody_declares_what_they_are_about() -> None:
    slow = ("pg_available_extension_versions", "pg_settings", "pg_extension_update_paths")
    assert not any(name in render_observation(DECLARED) for name in slow)
    extensions = [{"name": "hstore", "version": "1.8"}]
    more = declare({"databases": [{"name": "shop", "extensions": extensions, "settings": {"jit": False}}]})
    assert all(name in render_observation(more) for name in slow)
