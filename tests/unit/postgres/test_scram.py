# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verifiers: those that others have made are understood, ours are of their form, and nothing else passes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.scram import (
    is_password,
    make_verifier,
    prepare_password,
)
from hypothesis import given, settings
from hypothesis import strategies as st

#: RFC 7677, section 3: user "user", password "pencil"; the keys follow from its salt and 4096 iterations.
RFC_SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
#: Made by PostgreSQL 17: CREATE ROLE ... PASSWORD 'pencil'; SELECT rolpassword FROM pg_authid.
OF_POSTGRESQL = (
    "SCRAM-SHA-256$4096:laOdiJRCW/paAAN4wKLs3g=="
    "$5ouJCQhyEu/Kc61arI1zlhHDm218uJLWADqH6OA69Fk=:qSkidhv8raoiquYhH3MdkwNkB1gEzA9im3nNh0gmNGE="
)


def test_the_keys_are_those_of_the_rfc() -> None:
    # The RFC's exchange ends with v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=, signed by the server key.
    verifier = make_verifier("pencil", salt=RFC_SALT, iterations=4096)
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    server_key = base64.b64decode(verifier.rpartition(":")[2])
    signature = hmac.new(server_key, message, hashlib.sha256).digest()
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_verifier_of_postgresql_is_understood() -> None:
    assert is_password("pencil", OF_POSTGRESQL)
    assert not is_password("Pencil", OF_POSTGRESQL)


def test_a_verifier_has_the_form_that_the_server_takes_for_one_and_a_salt_of_its_own() -> None:
    one, other = make_verifier("x"), make_verifier("x")
    form = r"SCRAM-SHA-256\$4096:[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}="
    assert re.fullmatch(form, one)
    assert one != other


@settings(max_examples=15)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), st.integers(1, 20))
def test_a_password_is_known_by_its_verifier_and_another_is_not(password: str, iterations: int) -> None:
    verifier = make_verifier(password, iterations=iterations)
    assert is_password(password, verifier)
    assert not is_password(password + "x", verifier)


@pytest.mark.parametrize(
    "kept",
    [
        None,
        "",
        "md5" + "0" * 32,
        "x",
        "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:A$A:A",
        "SCRAM-SHA-1$4096:AAAA$AAAA:AAAA",
    ],
    ids=["none", "empty", "MD5", "plain", "no iterations", "no base64", "another hash"],
)
def test_what_is_no_verifier_of_this_kind_is_no_password(kept: str | None) -> None:
    assert not is_password("x", kept)


@pytest.mark.parametrize(
    ("given_", "prepared"),
    [
        ("I X", "I X"),
        ("I\u00adX ü", "IX ü"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u00ad", "\u00ad"),
        ("tab\tü", "tab\tü"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),
        ("u\u0308", "ü"),
        ("tab\t", "tab\t"),
        ("\ue000 \u00aa", "\ue000 \u00aa"),
    ],
    ids=[
        "ASCII",
        "soft hyphen goes",
        "ordinal a",
        "Roman nine",
        "no-break space",
        "nothing left, so as it is",
        "control character, so as it is",
        "direction broken, so as it is",
        "direction kept",
        "composed",
        "ASCII with control character",
        "private use, so as it is",
    ],
)
def test_passwords_beyond_ascii_are_prepared(given_: str, prepared: str) -> None:
    assert prepare_password(given_) == prepared
