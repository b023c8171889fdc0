# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key pairs: Ed25519 and RSA in the forms that programs read, RustDesk's own form."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from .backend import require_cryptography
from .making import Material

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


def make_ed25519() -> Material:
    """Return a new Ed25519 pair, with the parts of ``describe_pair``."""
    require_cryptography("make an Ed25519 key pair")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return describe_pair(Ed25519PrivateKey.generate())


def make_rsa(*, bits: int) -> Material:
    """Return a new RSA pair, with the parts of ``describe_pair``."""
    require_cryptography("make an RSA key pair")
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

    return describe_pair(generate_private_key(public_exponent=65537, key_size=bits))


def describe_pair(key: Ed25519PrivateKey | RSAPrivateKey) -> Material:
    """Return ``private`` and ``public`` in PEM, both in OpenSSH's form, and the fingerprint of ssh-keygen."""
    from cryptography.hazmat.primitives import serialization as form

    public = key.public_key()
    public_openssh = public.public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    digest = hashlib.sha256(base64.b64decode(public_openssh.split()[1])).digest()
    pem, plain = form.Encoding.PEM, form.NoEncryption()
    return Material(
        main="private",
        secret={
            "private": key.private_bytes(pem, form.PrivateFormat.PKCS8, plain).decode(),
            "private_openssh": key.private_bytes(pem, form.PrivateFormat.OpenSSH, plain).decode(),
        },
        public={
            "public": public.public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo).decode(),
            "public_openssh": f"{public_openssh}\n",
            "fingerprint": "SHA256:" + base64.b64encode(digest).decode().rstrip("="),
        },
    )


def make_rustdesk_key() -> Material:
    """Return an Ed25519 pair as hbbs reads it: base64 of seed and public key (``private``), and of the latter alone.

    Like hbbs itself it makes none whose public key has a ``/``: that key goes into names of files and into addresses by
    which clients are configured. Source: rustdesk-server 1.1.16, ``gen_sk``.
    """
    require_cryptography("make a RustDesk key pair")
    while "/" in (material := _make_rustdesk_pair()).public["public"]:
        pass
    return material


def _make_rustdesk_pair() -> Material:
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    raw = form.Encoding.Raw
    seed = key.private_bytes(raw, form.PrivateFormat.Raw, form.NoEncryption())
    public = key.public_key().public_bytes(raw, form.PublicFormat.Raw)
    return Material(
        main="private",
        secret={"private": base64.b64encode(seed + public).decode()},
        public={"public": base64.b64encode(public).decode()},
    )
