# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets sealed from one host to another: whoever carries them sees ciphertext only.

X25519 with a sender key of one use, HKDF-SHA256, ChaCha20-Poly1305. The name and the version are bound to the
ciphertext, so that one sealed secret cannot be passed off as another. The sender is not proven: who can
write a host's tasks could give it any value anyway.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

from .._errors import PlatformError
from .backend import require_cryptography
from .references import is_name
from .store import HostKey, Secret, SecretStore, Version, parse_version
from .store_change import render_version

#: Names the construction; another one gets another prefix, and older code refuses it by name.
PREFIX = "modelyard-sealed-1:"

_AUTHORITY = "x509_ca"
_KEY_BYTES = 32
_NONCE_BYTES = 12


@dataclass(frozen=True)
class Sealed:
    """A secret's version as another host sealed it for us, opened."""

    name: str
    kind: str
    number: int
    version: Version


def make_host_key() -> HostKey:
    """Return a new X25519 pair."""
    require_cryptography("make this host's key for sealed secrets")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = X25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.Raw, form.PrivateFormat.Raw, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    return HostKey(base64.b64encode(private).decode(), base64.b64encode(public).decode())


def seal(store: SecretStore, name: str, *, recipient: str) -> str:
    """Return the current version of a secret as one line that only the host with key ``recipient`` can open.

    Of an authority its certificate alone: no other host can sign in its name.

    :raises PlatformError: there is no such secret, or ``recipient`` is no host key.
    """
    require_cryptography(f"seal secret '{name}'")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    number = store.current_version(name)
    kind, version = store.secret(name).kind, store.version(name)
    if kind == _AUTHORITY:
        version = replace(version, main="certificate", secret={})
    content = {"kind": kind, "version": render_version(version)}
    sender = X25519PrivateKey.generate()
    sender_public = sender.public_key().public_bytes(form.Encoding.Raw, form.PublicFormat.Raw)
    recipient_raw = _decode_recipient(recipient)
    shared = _exchange(sender, recipient_raw, finding="the recipient's key is not a usable one")
    cipher, nonce = _cipher(shared, sender_public, recipient_raw)
    sealed = cipher.encrypt(nonce, json.dumps(content).encode(), _bound(name, number))
    return f"{PREFIX}{name}:{number}:{base64.b64encode(sender_public + sealed).decode()}"


def open_sealed(text: str, host_key: HostKey) -> Sealed:
    """Return what another host sealed for us.

    :raises PlatformError: it is no sealed secret, not for this host, or was changed on the way.
    """
    name, number, blob = _split(text)
    require_cryptography(f"open sealed secret '{name}'")
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    own = X25519PrivateKey.from_private_bytes(base64.b64decode(host_key.private))
    sender_public, ciphertext = blob[:_KEY_BYTES], blob[_KEY_BYTES:]
    shared = _exchange(own, sender_public, finding=f"secret '{name}' was not sealed by a usable key")
    cipher, nonce = _cipher(shared, sender_public, base64.b64decode(host_key.public))
    try:
        content = json.loads(cipher.decrypt(nonce, ciphertext, _bound(name, number)))
    except InvalidTag:
        raise PlatformError(
            f"Cannot open sealed secret '{name}': it is not for this host's key {host_key.public}, or was changed "
            "on the way; seal it again for that key."
        ) from None
    return _parse_content(name, number, content)


def receive(sealed: Sealed, store: SecretStore) -> SecretStore:
    """Return the store with an opened secret as its current version; the same store if it is that already.

    :raises PlatformError: this host made a secret of that name itself.
    """
    version = replace(sealed.version, origin="sealed")
    secret = store.secrets.get(sealed.name)
    if secret is None:
        return store.with_secret(sealed.name, Secret(sealed.kind, sealed.number, {sealed.number: version}))
    if secret.versions[secret.current].origin != "sealed":
        raise PlatformError(
            f"Cannot take sealed secret '{sealed.name}': this host's store {store.path} has one of its own of that "
            "name; remove it (state: absent) or use another name."
        )
    if secret.current == sealed.number and secret.versions[secret.current] == version:
        return store
    return store.with_secret(sealed.name, secret.with_version(sealed.number, version, kind=sealed.kind))


def _cipher(shared: bytes, sender_public: bytes, recipient_public: bytes) -> tuple[Any, bytes]:
    """Return the cipher and its nonce. Both come from a key that is used once, so the nonce never repeats."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    derive = HKDF(
        algorithm=SHA256(),
        length=_KEY_BYTES + _NONCE_BYTES,
        salt=sender_public + recipient_public,
        info=PREFIX.encode(),
    )
    material = derive.derive(shared)
    return ChaCha20Poly1305(material[:_KEY_BYTES]), material[_KEY_BYTES:]


def _exchange(private: Any, public: bytes, *, finding: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    try:
        return bytes(private.exchange(X25519PublicKey.from_public_bytes(public)))
    except ValueError:
        # A point of low order: the shared key would be known to everybody.
        raise PlatformError(f"Cannot seal or open a secret: {finding}; read the host's key again.") from None


def _decode_recipient(recipient: str) -> bytes:
    try:
        raw = base64.b64decode(recipient, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise PlatformError(
            f"Cannot seal for {recipient[:64]!r}: it is no host key of 44 characters of base64; "
            "use what a task with 'host_key: true' returned on that host."
        )
    return raw


def _split(text: str) -> tuple[str, int, bytes]:
    name, _separator, rest = text.removeprefix(PREFIX).partition(":")
    number, _separator, encoded = rest.partition(":")
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        blob = b""
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    if not text.startswith(PREFIX) or not is_name(name) or not is_number or len(blob) <= _KEY_BYTES:
        raise PlatformError(
            f"Cannot open a sealed secret: the text is not of the form '{PREFIX}NAME:VERSION:BASE64'; "
            "pass what a task with 'seal_for' returned, whole."
        )
    return name, int(number), blob


def _bound(name: str, number: int) -> bytes:
    return f"{PREFIX}{name}:{number}".encode()


def _parse_content(name: str, number: int, content: Any) -> Sealed:
    try:
        kind = content["kind"]
        if not isinstance(kind, str) or number < 1:
            raise ValueError
        return Sealed(name, kind, number, parse_version(content["version"]))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise PlatformError(
            f"Cannot open sealed secret '{name}': its content is of another form; "
            "use the same version of modelyard.platform on both hosts."
        ) from None
