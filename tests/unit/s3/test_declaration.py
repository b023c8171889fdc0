# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What buckets, users and keys may be called, and what a declaration may hold."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._s3.declaration import Declared, User, parse_declared
from ansible_collections.modelyard.platform.plugins.module_utils._s3.names import bucket_fault, is_key_id, is_secret
from hypothesis import given
from hypothesis import strategies as st

from .store_examples import SECRET, entry


def parse(buckets: list[str], *users: dict[str, Any]) -> Declared:
    return parse_declared([{"name": name} for name in buckets], users, resolve=str)


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a-b.c", "0ab", "a--b", "1.2.3", "192.168.5.4a", "my-s3", "xn-a"])
def test_good_bucket_names(name: str) -> None:
    assert bucket_fault(name) is None


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "it has 0 characters"),
        ("ab", "it has 2 characters"),
        ("a" * 64, "it has 64 characters"),
        ("Abc", "it holds something else"),
        ("a_b", "it holds something else"),
        ("a/b", "it holds something else"),
        ("-ab", "it holds something else"),
        ("ab-", "it holds something else"),
        (".ab", "it holds something else"),
        ("../etc", "it holds something else"),
        ("abc\n", "it holds something else"),
        ("abç", "it holds something else"),
        ("a..b", "it holds '..'"),
        ("192.168.5.4", "it looks like an IP address"),
        ("xn--abc", "S3 reserves names that start with 'xn--'"),
        ("sthree-abc", "S3 reserves names that start with 'sthree-'"),
        ("amzn-s3-demo-x", "S3 reserves names that start with 'amzn-s3-demo-'"),
        ("abc-s3alias", "S3 reserves names that end with '-s3alias'"),
        ("abc--ol-s3", "S3 reserves names that end with '--ol-s3'"),
        ("abc.mrap", "S3 reserves names that end with '.mrap'"),
        ("abc--x-s3", "S3 reserves names that end with '--x-s3'"),
    ],
)
def test_bad_bucket_names_with_what_is_wrong(name: str, fault: str) -> None:
    assert (bucket_fault(name) or "").startswith(fault)
    with pytest.raises(PlatformError, match=f"^{re.escape(f'Cannot declare bucket {name!r}: {fault}')}"):
        parse([name])


@given(st.text(max_size=70))
def test_no_bucket_name_leaves_its_folder(name: str) -> None:
    if bucket_fault(name) is None:
        assert re.fullmatch("[a-z0-9.-]+", name)
        assert name not in (".", "..")
        assert not name.startswith((".", "-"))


@given(st.text(max_size=140))
def test_no_key_id_leaves_its_folder_and_no_secret_its_line(text: str) -> None:
    if is_key_id(text):
        assert text.isascii()
        assert text.isalnum()
    if is_secret(text):
        assert text.isprintable()
        assert text.split() == [text]


def test_a_declaration_is_sorted_and_resolved() -> None:
    values = {"@@secret:a@@": SECRET}
    found = parse_declared(
        [{"name": "beta"}, {"name": "alpha"}],
        [
            entry(name="zoe", access_key_id="zoe00000"),
            entry(
                secret_access_key="@@secret:a@@", buckets=[{"name": "beta", "access": "read_only"}, {"name": "alpha"}]
            ),
        ],
        resolve=lambda text: values.get(text, text),
    )
    ann = User("ann", "ann00000", SECRET, {"alpha": "read_write", "beta": "read_only"})
    assert found == Declared(("alpha", "beta"), (ann, User("zoe", "zoe00000", SECRET)))


def test_a_secret_that_is_still_to_be_made_is_pending() -> None:
    [user] = parse_declared(
        [], [entry(secret_access_key="@@secret:a@@")], resolve=str, is_pending=lambda text: "secret:a" in text
    ).users
    assert user.is_pending


ID_ADVICE = "use 8 to 128 letters and digits"
SECRET_FINDING = "characters, or holds spaces, line ends or letters beyond ASCII"
SECRET_ADVICE = "use 8 to 256 printable ASCII characters"
NAME_ADVICE = "use up to 63 letters, digits, '_', '.' and '-', a letter or digit first"
TWICE = [{"name": "alpha"}, {"name": "alpha", "access": "read_only"}]
BAD_USERS: dict[str, tuple[list[dict[str, Any]], str, str, str]] = {
    "name": ([entry(name="a b")], "user 'a b'", "that is no name", NAME_ADVICE),
    "short id": (
        [entry(access_key_id="ann")],
        "user 'ann'",
        "its access key id has 3 characters, or others than letters and digits",
        ID_ADVICE,
    ),
    "id that is a path": (
        [entry(access_key_id="../../etc/x")],
        "user 'ann'",
        "its access key id has 11 characters, or others than letters and digits",
        ID_ADVICE,
    ),
    "short secret": (
        [entry(secret_access_key="1234567")], "user 'ann'", f"its secret has 7 {SECRET_FINDING}", SECRET_ADVICE,
    ),
    "secret of two lines": (
        [entry(secret_access_key="12345678\n")], "user 'ann'", f"its secret has 9 {SECRET_FINDING}", SECRET_ADVICE,
    ),
    "foreign bucket": (
        [entry(buckets=[{"name": "other"}])],
        "user 'ann'",
        "bucket 'other' is not among the declared buckets",
        "declare it under 'buckets' too",
    ),
    "bucket twice": ([entry(buckets=TWICE)], "user 'ann'", "bucket 'alpha' is named twice", "name it once"),
    "user twice": (
        [entry(), entry(access_key_id="ann00001")], "user 'ann'", "it is there twice", "declare it once",
    ),
    "key twice": (
        [entry(), entry(name="bob")],
        "access key 'ann00000'",
        "it is there twice",
        "give each user an id of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_USERS)
def test_bad_users_are_refused_without_their_secret(case: str) -> None:
    users, who, finding, advice = BAD_USERS[case]
    with pytest.raises(PlatformError) as caught:
        parse(["alpha"], *users)
    assert str(caught.value) == f"Cannot declare {who}: {finding}; {advice}."
    assert not any(user["secret_access_key"] in str(caught.value) for user in users)


def test_a_bucket_twice_is_refused() -> None:
    with pytest.raises(PlatformError, match=r"^Cannot declare bucket 'abc': it is there twice; declare it once\.$"):
        parse(["abc", "abc"])


def test_a_user_does_not_show_its_secret() -> None:
    assert SECRET not in repr(parse([], entry()))
