# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done for a store, and why; and what the diff shows of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._s3.declaration import Declared
from ansible_collections.modelyard.platform.plugins.module_utils._s3.key_file import (
    access_of,
    render_key_file,
    secret_in,
)
from ansible_collections.modelyard.platform.plugins.module_utils._s3.plan import (
    describe_after,
    describe_before,
    make_plan,
)

from .store_examples import ANN, CUSTODY, DECLARED, PLACES, SECRET, file_with, key_of, observed

LINKS = {"alpha": "/data/alpha", "shared": "/data-ro/shared"}


def with_ann(**changed: Any) -> dict[str, Any]:
    return {"keys": {"ann00000": key_of(ANN, **changed)}}


PLANS: dict[str, tuple[dict[str, Any], list[tuple[str, str, tuple[str, ...]]]]] = {
    "all there": ({}, []),
    "nothing there": (
        {"buckets": frozenset(), "keys": {}, "keys_mode": None},
        [
            ("folder of keys", "create", ("it is not there",)),
            ("bucket alpha", "create", ("it is not there",)),
            ("bucket shared", "create", ("it is not there",)),
            ("user ann", "create", ("it has no key file",)),
        ],
    ),
    "no store to ask": (
        {"buckets": None},
        [("bucket alpha", "create", ("it is not there",)), ("bucket shared", "create", ("it is not there",))],
    ),
    "bucket gone": ({"buckets": frozenset({"shared"})}, [("bucket alpha", "create", ("it is not there",))]),
    "key file gone": (with_ann(file=None), [("user ann", "create", ("it has no key file",))]),
    "loose folder": ({"keys_mode": 0o777}, [("folder of keys", "change", ("mode: 0777 -> 0711",))]),
    "secret rotated": (
        with_ann(file=CUSTODY.key_file(replace(ANN, secret_access_key="other-secret"))),
        [("user ann", "change", ("the secret is another one",))],
    ),
    "no key file of ours": (
        with_ann(file=file_with(content=b"\xff{")),
        [("user ann", "change", ("the key file is damaged",))],
    ),
    "JSON of another kind": (
        with_ann(file=file_with(content=b"[1]")),
        [("user ann", "change", ("the key file is damaged",))],
    ),
    "same secret, more buckets than are its own": (
        with_ann(file=file_with(content=json.dumps({"_root": "/data", "_secret_access_key": SECRET}).encode())),
        [("user ann", "change", ("the key file says something else",))],
    ),
    "loose key file of somebody else": (
        with_ann(file=file_with(mode=0o644, uid=0)),
        [
            ("user ann", "change", ("mode of the key file: 0644 -> 0400", "owner of the key file: 0:0 -> 10002:0")),
        ],
    ),
    "bucket taken away": (
        with_ann(links={**LINKS, "old": "/data/old"}),
        [("user ann", "change", ("bucket old: read_write -> none",))],
    ),
    "bucket given": (
        with_ann(links={"alpha": "/data/alpha"}),
        [("user ann", "change", ("bucket shared: none -> read_only",))],
    ),
    "access widened by hand": (
        with_ann(links={**LINKS, "shared": "/data/shared"}),
        [("user ann", "change", ("bucket shared: read_write -> read_only",))],
    ),
    "link to elsewhere": (
        with_ann(links={**LINKS, "alpha": "/etc"}),
        [("user ann", "change", ("bucket alpha: something else -> read_write",))],
    ),
    "folder of links that others may write": (
        with_ann(folder_mode=0o777),
        [("user ann", "change", ("mode of the folder of its buckets: 0777 -> 0755",))],
    ),
}


@pytest.mark.parametrize("case", PLANS)
def test_plan(case: str) -> None:
    changed, steps = PLANS[case]
    plan = make_plan(DECLARED, observed(**changed), CUSTODY)
    assert [(step.title, step.action, step.reasons) for step in plan.steps] == steps
    # The diff differs exactly where the plan has steps that it can show.
    before, after = (describe(DECLARED, observed(**changed), CUSTODY) for describe in (describe_before, describe_after))
    shown = [step for step in plan.steps if step.title != "folder of keys" and "folder of its" not in step.reasons[0]]
    assert (before != after) == bool(shown)
    assert SECRET not in before + after + repr(plan) + repr(observed(**changed))


def test_a_user_without_buckets_still_needs_its_folder() -> None:
    user = replace(ANN, grants={})
    declared = Declared((), (user,))
    gone = observed(buckets=frozenset(), keys={"ann00000": key_of(user, folder_mode=None)})
    assert [step.reasons for step in make_plan(declared, gone, CUSTODY).steps] == [
        ("the folder of its buckets is gone",)
    ]


def test_a_pending_secret_is_another_one_whatever_the_file_says() -> None:
    pending = replace(ANN, is_pending=True, secret_access_key="@@secret:ann@@")
    plan = make_plan(Declared(DECLARED.buckets, (pending,)), observed(), CUSTODY)
    assert [step.reasons for step in plan.steps] == [("the secret is another one",)]


def test_what_is_not_declared_is_unmanaged_and_in_no_step() -> None:
    bob = replace(ANN, name="bob", access_key_id="bob00000")
    found = observed(
        buckets=frozenset({"alpha", "shared", "old"}),
        keys={"ann00000": key_of(ANN), "bob00000": key_of(bob), "eve00000": key_of(bob, file=None)},
    )
    plan = make_plan(DECLARED, found, CUSTODY)
    assert (plan.steps, plan.unmanaged) == ((), ("bucket old", "key bob00000"))


def test_without_users_nothing_is_said_of_keys() -> None:
    plan = make_plan(Declared(("alpha",)), observed(keys_mode=None), None)
    assert (plan.steps, plan.unmanaged) == ((), ("bucket shared", "key ann00000"))


def test_diff_shows_that_a_secret_changes_and_not_which() -> None:
    old = observed(**with_ann(file=CUSTODY.key_file(replace(ANN, secret_access_key="other-secret"))))
    head = "bucket alpha\nbucket shared\nuser ann\n  key ann00000 in a file of mode 0400, owner 10002:0\n"
    tail = "  bucket alpha read_write\n  bucket shared read_only\n"
    assert describe_before(DECLARED, old, CUSTODY) == f"{head}  secret (hidden)\n{tail}"
    assert describe_after(DECLARED, old, CUSTODY) == f"{head}  secret (hidden, changed)\n{tail}"


def test_a_key_file_names_the_folder_of_its_user_and_no_bucket() -> None:
    content = render_key_file(ANN, PLACES)
    assert json.loads(content) == {
        "type": "local", "_root": "/run/s3-keys/ann00000.buckets", "copy_links": "true", "_secret_access_key": SECRET,
    }  # fmt: skip
    assert content.endswith(b"}\n")
    assert secret_in(content) == SECRET


def test_a_secret_with_signs_of_json_survives() -> None:
    secret = 'a"\\b{}:$/+='
    assert secret_in(render_key_file(replace(ANN, secret_access_key=secret), PLACES)) == secret


@pytest.mark.parametrize(
    ("target", "access"),
    [
        ("/data/alpha", "read_write"),
        ("/data-ro/alpha", "read_only"),
        ("/data/shared", "something else"),
        ("", "something else"),
    ],
)
def test_access_of_a_link(target: str, access: str) -> None:
    assert access_of("alpha", {"alpha": target}, PLACES) == access
    assert access_of("beta", {"alpha": target}, PLACES) == "none"
