# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is made: the form of every kind, checked by the programs and libraries that read it."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
import threading
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.kinds import KINDS, TEXT_KINDS
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.making import MAKE
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import SecretStore
from cryptography import x509
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import serialization

from .secret_examples import DAY, NOW, keep, make_store

CA = {"name": "ca", "kind": "x509_ca", "common_name": "Test CA"}


def test_every_kind_of_the_table_can_be_made_and_no_other() -> None:
    assert set(MAKE) == set(KINDS)
    assert set(KINDS) >= TEXT_KINDS
    assert not [kind for kind in TEXT_KINDS if KINDS[kind].is_derived]


@pytest.mark.parametrize(
    ("kind", "options", "form"),
    [
        ("password", {}, r"[A-Za-z0-9]{20}"),
        ("password", {"length": 12}, r"[A-Za-z0-9]{12}"),
        ("hex", {}, r"[0-9a-f]{40}"),
        ("hex", {"length": 80}, r"[0-9a-f]{80}"),
        ("base64", {}, r"[A-Za-z0-9+/]{43}="),
        ("token", {}, r"[A-Za-z0-9][A-Za-z0-9_-]{31}"),
        ("uuid", {}, r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("fernet", {}, r"[A-Za-z0-9_-]{43}="),
        ("django_key", {}, r"[a-z0-9][a-z0-9!@#$%^&*(\-_=+)]{49}"),
        ("api_key", {}, r"[A-Za-z0-9]{40}"),
    ],
)
def test_text_has_its_form_and_is_another_one_each_time(kind: str, options: dict[str, int], form: str) -> None:
    values = {keep(make_store(), {"name": "a", "kind": kind, **options})[0].value("a") for _number in range(5)}
    assert len(values) == 5
    assert [value for value in values if not re.fullmatch(form, value)] == []


def test_fernet_key_works() -> None:
    store, _steps = keep(make_store(), {"name": "a", "kind": "fernet"})
    key = Fernet(store.value("a"))
    assert key.decrypt(key.encrypt(b"x")) == b"x"


@pytest.mark.parametrize("value", [None, "a key that was issued"])
def test_api_key_has_its_digest_beside_it(value: str | None) -> None:
    store, _steps = keep(make_store(), {"name": "a", "kind": "api_key", "value": value})
    assert store.value("a", "sha256") == hashlib.sha256(store.value("a").encode()).hexdigest()
    assert value in (None, store.value("a"))


@pytest.mark.parametrize(("kind", "word"), [("ed25519", "ssh-ed25519"), ("rsa", "ssh-rsa")])
def test_key_pair_fits_in_both_forms(kind: str, word: str) -> None:
    store, _steps = keep(make_store(), {"name": "a", "kind": kind})
    assert store.value("a") == store.value("a", "private")
    pem = serialization.load_pem_private_key(store.value("a").encode(), None)
    openssh = serialization.load_ssh_private_key(store.value("a", "private_openssh").encode(), None)
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    for key in (pem, openssh):
        assert key.public_key().public_bytes(*form).decode() + "\n" == store.value("a", "public_openssh")
    assert store.value("a", "public_openssh").startswith(f"{word} ")
    assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", store.value("a", "fingerprint"))
    assert set(store.version("a").public) == {"public", "public_openssh", "fingerprint"}


def test_rustdesk_pair_is_seed_and_public_key_in_base64() -> None:
    store, _steps = keep(make_store(), {"name": "a", "kind": "rustdesk_key"})
    assert (len(store.value("a")), len(store.value("a", "public"))) == (88, 44)
    assert base64.b64decode(store.value("a"))[32:] == base64.b64decode(store.value("a", "public"))


def test_public_keys_of_rustdesk_fit_into_the_name_of_a_file() -> None:
    # Half of all pairs do not.
    names = [f"key{number}" for number in range(20)]
    store, _steps = keep(make_store(), *({"name": name, "kind": "rustdesk_key"} for name in names))
    assert not any("/" in store.value(name, "public") for name in names)


def _site(tmp_path: Path, *, names: list[str], now: int) -> SecretStore:
    leaf = {"name": "leaf", "kind": "x509_leaf", "of": "ca", "names": names}
    store, _steps = keep(make_store(str(tmp_path)), CA, leaf, now=now)
    (tmp_path / "leaf.pem").write_text(store.value("leaf", "certificate") + store.value("leaf"))
    return store


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours, server.wrap_socket(ours, server_side=True) as connection:
            connection.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with theirs, client.wrap_socket(theirs, server_hostname=name) as connection:
        connection.send(b"x")
    thread.join(5)


@pytest.mark.parametrize("name", ["db.modelyard.test", "10.0.0.5", "fd00::5"])
def test_strict_client_accepts_the_leaf_for_its_names(tmp_path: Path, name: str) -> None:
    import time

    store = _site(tmp_path, names=["db.modelyard.test", "10.0.0.5", "fd00::5"], now=int(time.time()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "leaf.pem")
    client = ssl.create_default_context(cadata=store.value("ca", "certificate"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    _shake_hands(server, client, name)


def test_certificates_have_the_extensions_that_strict_verification_wants(tmp_path: Path) -> None:
    store = _site(tmp_path, names=["a.test"], now=NOW)
    ca = x509.load_pem_x509_certificate(store.value("ca", "certificate").encode())
    leaf = x509.load_pem_x509_certificate(store.value("leaf", "certificate").encode())
    for certificate, is_ca in ((ca, True), (leaf, False)):
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, basic.value.ca, usage.critical, usage.value.key_cert_sign) == (True, is_ca, True, is_ca)
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    leaf.verify_directly_issued_by(ca)
    assert store.value("leaf", "ca") == store.value("ca", "certificate")
    assert store.version("leaf").expires == NOW + 365 * DAY
    assert store.version("ca").expires == NOW + 3650 * DAY


def test_leaf_ends_no_later_than_its_ca(tmp_path: Path) -> None:
    entries = ({**CA, "days": 365}, {"name": "leaf", "kind": "x509_leaf", "of": "ca", "names": ["a.test"], "days": 800})
    store, _steps = keep(make_store(str(tmp_path)), *entries)
    assert store.version("leaf").expires == store.version("ca").expires == NOW + 365 * DAY


def test_renewed_leaf_is_of_the_same_ca_and_the_old_version_stays(tmp_path: Path) -> None:
    store = _site(tmp_path, names=["a.test"], now=NOW)
    leaf = {"name": "leaf", "kind": "x509_leaf", "of": "ca", "names": ["a.test"]}
    renewed, steps = keep(store, CA, leaf, now=NOW + 336 * DAY)
    assert [step.action for step in steps] == ["keep", "renew"]
    assert renewed.version("leaf").expires == NOW + (336 + 365) * DAY
    assert renewed.value("leaf", version=1) == store.value("leaf")
