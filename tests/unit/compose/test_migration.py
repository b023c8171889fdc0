# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of a migration without a server; the integration tests dump and restore."""

from __future__ import annotations

import json
import os

from ansible_collections.modelyard.platform.plugins.module_utils._compose.migration import (
    dump_path,
    migration_from_record,
    migration_to_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Migration
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=60)
MIGRATIONS = st.builds(
    Migration, database=NAMES, service=st.from_regex(r"[a-z]{1,9}", fullmatch=True), project=st.just("shop"), user=NAMES
)


@given(MIGRATIONS)
def test_a_record_reads_back_from_json(migration: Migration) -> None:
    record = json.loads(json.dumps(migration_to_record(migration, "/site/x.dump")))
    assert migration_from_record(record) == (migration, "/site/x.dump")


def test_a_record_may_hold_more() -> None:
    migration = Migration(database="shop", service="db", project="data", user="postgres")
    record = {**migration_to_record(migration, "/x"), "users": "web,worker"}
    assert migration_from_record(record) == (migration, "/x")


@given(MIGRATIONS)
def test_a_dump_lies_in_its_folder_whatever_the_name(migration: Migration) -> None:
    path = dump_path(migration, "/releases/0007")
    assert os.path.dirname(path) == os.path.dirname(os.path.normpath(path)) == "/releases/0007"
    assert path.endswith(".dump")


@given(MIGRATIONS, MIGRATIONS)
def test_two_databases_never_share_a_dump(one: Migration, other: Migration) -> None:
    same = (one.project, one.service, one.database) == (other.project, other.service, other.database)
    assert (dump_path(one, "/x") == dump_path(other, "/x")) is same
