# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords as PostgreSQL keeps them: SCRAM-SHA-256 verifiers, made and compared here.

So the plain value never travels to the server, and whether it is still the one is known without logging in.
Form: ``SCRAM-SHA-256$ITERATIONS:SALT$STORED_KEY:SERVER_KEY``, all but the number in base64.
Source: RFC 5802 and 7677, PostgreSQL's scram-common.c.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re

#: PostgreSQL's own default.
ITERATIONS = 4096
_SALT_BYTES = 16
_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


def make_verifier(password: str, *, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """Return a verifier of a password, with a salt of its own unless one is given."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    stored_key, server_key = _derive_keys(password, salt, iterations)
    texts = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{texts[0]}${texts[1]}:{texts[2]}"


def is_password(password: str, kept: str | None) -> bool:
    """Tell whether ``kept``, as the server has it, is a verifier of the password.

    Whatever else a server may keep, such as an MD5 hash or nothing, is none.
    """
    found = _VERIFIER.fullmatch(kept or "")
    if found is None or not int(found[1]):
        return False
    try:
        salt, stored_key, server_key = (base64.b64decode(found[place], validate=True) for place in (2, 3, 4))
    except binascii.Error:
        return False
    wanted = _derive_keys(password, salt, int(found[1]))
    return hmac.compare_digest(b"".join(wanted), stored_key + server_key)


def _derive_keys(password: str, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", prepare_password(password).encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", "sha256")


def prepare_password(password: str) -> str:
    """Return the password as both sides take it: by SASLprep (RFC 4013); where that forbids it, as it is.

    A password of ASCII alone stays as it is, also with control characters, as PostgreSQL has it.
    """
    if password.isascii():
        return password
    from .saslprep import prepare

    prepared = prepare(password)
    return password if prepared is None else prepared
