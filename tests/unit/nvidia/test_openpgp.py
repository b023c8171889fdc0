# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fingerprints of keys, compared with what GnuPG says of keys that it has made."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.openpgp import fingerprints


def old_packet(tag: int, body: bytes) -> bytes:
    return bytes([0x80 | tag << 2 | 1]) + len(body).to_bytes(2, "big") + body


def new_packet(tag: int, body: bytes) -> bytes:
    size = len(body)
    length = bytes([size]) if size < 192 else bytes([192 + (size - 192 >> 8), size - 192 & 0xFF])
    return bytes([0xC0 | tag]) + length + body


def armor(data: bytes, *, checksum: str = "\n=AbCd") -> bytes:
    text = base64.encodebytes(data).decode().strip()
    head, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return f"{head}\nVersion: any\n\n{text}{checksum}\n{end}\n".encode()


#: Version 4, made in 2017, RSA; numbers of any length do.
KEY = b"\x04" + (1_500_000_000).to_bytes(4, "big") + b"\x01" + b"\x08\x00" + b"\xab" * 256 + b"\x00\x11\x01\x00\x01"
OTHER = KEY.replace(b"\xab", b"\xcd")
FINGERPRINT = hashlib.sha1(b"\x99" + len(KEY).to_bytes(2, "big") + KEY).hexdigest().upper()
REST = old_packet(13, b"somebody <a@example.org>") + old_packet(2, b"\x04signature")

#: Of GnuPG 2.2.40: an Ed25519 key made for this test, whose fingerprint GnuPG gives as below.
MADE = """\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawJHXhYJKwYBBAHaRw8BAQdA1jB+/v7Rw699pIRF+lE6foX4QPFpYwY7IyE0
TVgecky0F1Rlc3QgPHRlc3RAZXhhbXBsZS5vcmc+iJAEExYIADgWIQSXGNzKkvQ6
aZakOUuwdUafk40nsgUCawJHXgIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK
CRCwdUafk40nskrrAP0Z2aqUvj0kE4+vkPGkteWtHk+5OOHJj3dhU9Y7WtN++gEA
jSyUL93NEPJoreiDodzGNe+FFIp7gW/hpmYwB4vvJgo=
=T9Dr
-----END PGP PUBLIC KEY BLOCK-----
"""
MADE_FINGERPRINT = "9718DCCA92F43A6996A4394BB075469F938D27B2"


def test_a_key_of_gnupg_has_the_fingerprint_that_gnupg_says() -> None:
    assert fingerprints(MADE.encode()) == (MADE_FINGERPRINT,)


@pytest.mark.parametrize("packet", [old_packet, new_packet])
def test_armored_or_not_and_of_either_form_a_key_has_one_fingerprint(packet: Callable[[int, bytes], bytes]) -> None:
    data = packet(6, KEY) + REST + old_packet(14, OTHER)
    assert fingerprints(data) == fingerprints(armor(data)) == fingerprints(armor(data, checksum="")) == (FINGERPRINT,)


def test_every_primary_key_of_a_file_counts() -> None:
    other = hashlib.sha1(b"\x99" + len(OTHER).to_bytes(2, "big") + OTHER).hexdigest().upper()
    both = old_packet(6, KEY) + REST + old_packet(6, OTHER) + REST
    assert fingerprints(both) == (FINGERPRINT, other)
    assert fingerprints(armor(old_packet(6, KEY)) + armor(old_packet(6, OTHER))) == (FINGERPRINT, other)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it holds no OpenPGP key"),
        (b"<html>not found</html>", "it is no OpenPGP key"),
        (old_packet(13, b"somebody"), "it holds no OpenPGP key"),
        (old_packet(6, b"\x06" + KEY[1:]), "it holds an OpenPGP key of an unknown version"),
        (old_packet(6, KEY)[:-1], "it is cut off"),
        (armor(b"<html>"), "it is no OpenPGP key"),
        (
            armor(old_packet(6, KEY))
            + armor(old_packet(6, OTHER)).replace(b"BLOCK-----\nVersion", b"BLOCK----- \nVersion"),
            "it holds something beside its keys",
        ),
        (
            armor(old_packet(6, KEY), checksum="\n-----BEGIN PGP PUBLIC KEY BLOCK----- \n\nAAAA"),
            "it is no armored OpenPGP key",
        ),
    ],
    ids=[
        "nothing",
        "a page",
        "no key",
        "another version",
        "cut off",
        "armored nonsense",
        "another key behind",
        "another key within",
    ],
)
def test_what_is_no_key_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fingerprints(content)
