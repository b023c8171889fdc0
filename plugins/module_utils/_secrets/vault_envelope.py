# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible Vault's envelope, so that an exported store can be kept and read like any vaulted file.

The format is that of https://docs.ansible.com/ansible/latest/vault_guide/vault_using_encrypted_content.html
("Ansible Vault payload format 1.1 - 1.2"): PBKDF2-HMAC-SHA256 with 10,000 rounds gives a cipher key, an
HMAC key and a counter; AES-256-CTR over the text padded as PKCS #7; HMAC-SHA256 over the ciphertext.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from .backend import require_cryptography

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.modes import CTR

HEADERS = ("$ANSIBLE_VAULT;1.1;AES256", "$ANSIBLE_VAULT;1.2;AES256;")

_ROUNDS = 10_000
_BLOCK_BYTES = 16
_SALT_BYTES = 32
_LINE_CHARACTERS = 80


class WrongPasswordError(Exception):
    """The text cannot be had with this password."""


def encrypt(plaintext: bytes, password: bytes) -> bytes:
    """Return a whole file that ``ansible-vault decrypt`` reads."""
    require_cryptography("encrypt with Ansible Vault")
    salt = os.urandom(_SALT_BYTES)
    cipher, mac_key = _derive(password, salt)
    padding = _BLOCK_BYTES - len(plaintext) % _BLOCK_BYTES
    encryptor = cipher.encryptor()
    ciphertext = encryptor.update(plaintext + bytes([padding]) * padding) + encryptor.finalize()
    parts = (salt, hmac.digest(mac_key, ciphertext, "sha256"), ciphertext)
    body = binascii.hexlify(b"\n".join(binascii.hexlify(part) for part in parts)).decode()
    lines = [body[start : start + _LINE_CHARACTERS] for start in range(0, len(body), _LINE_CHARACTERS)]
    return "\n".join([HEADERS[0], *lines, ""]).encode()


def decrypt(content: bytes, password: bytes) -> bytes:
    """Return the text of a vaulted file.

    :raises ValueError: it is not one.
    :raises WrongPasswordError: the password is wrong or the file was changed; the two cannot be told apart.
    """
    require_cryptography("decrypt with Ansible Vault")
    header, _separator, body = content.decode("ascii").partition("\n")
    if header.strip() != HEADERS[0] and not header.startswith(HEADERS[1]):
        raise ValueError("no header of Ansible Vault")
    salt, found_mac, ciphertext = (
        binascii.unhexlify(part) for part in binascii.unhexlify("".join(body.split())).split(b"\n")
    )
    cipher, mac_key = _derive(password, salt)
    if not hmac.compare_digest(hmac.digest(mac_key, ciphertext, "sha256"), found_mac):
        raise WrongPasswordError
    decryptor = cipher.decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    return padded[: -padded[-1]]


def _derive(password: bytes, salt: bytes) -> tuple[Cipher[CTR], bytes]:
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR

    key = hashlib.pbkdf2_hmac("sha256", password, salt, _ROUNDS, 2 * 32 + _BLOCK_BYTES)
    return Cipher(AES(key[:32]), CTR(key[64:])), key[32:64]
