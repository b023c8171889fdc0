# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose keys a file holds: fingerprints of OpenPGP keys, by which a repository's key is known before apt trusts it.

A host need not have GnuPG for it. Source: RFC 4880, 4.2 (packets), 6.2 (armor), 12.2 (fingerprints); RFC 9580 for v6.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_ARMOR = re.compile(
    rb"-----BEGIN PGP PUBLIC KEY BLOCK-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)(?:\r?\n=[A-Za-z0-9+/]{4})?\s*"
    rb"-----END PGP PUBLIC KEY BLOCK-----",
    re.DOTALL,
)
_PUBLIC_KEY = 6
_V4 = 4


def fingerprints(content: bytes) -> tuple[str, ...]:
    """Return the fingerprints of the primary keys in a file, armored or not; subkeys belong to theirs.

    :raises ValueError: it holds something else, or a key of another version than 4.
    """
    # Whoever trusts the file reads it less strictly: nothing in it may be a key for them and none for us.
    if b"-----BEGIN" in _ARMOR.sub(b"", content):
        raise ValueError("it holds something beside its keys")
    data = b"".join(_decode(match[1]) for match in _ARMOR.finditer(content)) or content
    found: list[str] = []
    position = 0
    while position < len(data):
        tag, body, position = _read_packet(data, position)
        if tag == _PUBLIC_KEY:
            found.append(_fingerprint(body))
    if not found:
        raise ValueError("it holds no OpenPGP key")
    return tuple(found)


def _decode(armored: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(armored.split()), validate=True)
    except binascii.Error:
        raise ValueError("it is no armored OpenPGP key") from None


def _fingerprint(body: bytes) -> str:
    if not body or body[0] != _V4:
        raise ValueError("it holds an OpenPGP key of an unknown version")
    # What the standard says a fingerprint is; a second key with the same one cannot be made.
    digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
    return digest.hexdigest().upper()


def _read_packet(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Return tag and body of the packet at a position, and where the next one begins."""
    head = data[position]
    if not head & 0x80:
        raise ValueError("it is no OpenPGP key")
    if head & 0x40:
        tag, (length, start) = head & 0x3F, _new_length(data, position + 1)
    else:
        tag, (length, start) = (head >> 2) & 0x0F, _old_length(data, position + 1, head & 0x03)
    if start + length > len(data):
        raise ValueError("it is cut off")
    return tag, data[start : start + length], start + length


def _old_length(data: bytes, position: int, kind: int) -> tuple[int, int]:
    if kind == 3:
        return len(data) - position, position
    size = 1 << kind
    return int.from_bytes(data[position : position + size], "big"), position + size


def _new_length(data: bytes, position: int) -> tuple[int, int]:
    first = int.from_bytes(data[position : position + 1], "big")
    if first < 192:
        return first, position + 1
    if first < 224:
        return ((first - 192) << 8) + int.from_bytes(data[position + 1 : position + 2], "big") + 192, position + 2
    if first == 255:
        return int.from_bytes(data[position + 1 : position + 5], "big"), position + 5
    raise ValueError("it is written in parts, as no key is")
