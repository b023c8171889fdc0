# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sealing for another host: what arrives is what was sent, and nothing else is accepted."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.sealing import (
    PREFIX,
    make_host_key,
    open_sealed,
    receive,
    seal,
)
from hypothesis import given
from hypothesis import strategies as st

from .secret_examples import make_secret, make_store, make_version

OWNER = make_store(db=make_secret(make_version("old"), make_version("hunter2 $€\n")), other=make_secret())
HOST_KEY = make_host_key()


def _send(name: str = "db") -> str:
    return seal(OWNER, name, recipient=HOST_KEY.public)


def test_peer_gets_the_current_version_under_the_same_number() -> None:
    peer = receive(open_sealed(_send(), HOST_KEY), make_store())
    assert (peer.value("db"), peer.current_version("db")) == ("hunter2 $€\n", 2)
    assert peer.version("db") == replace(OWNER.version("db"), origin="sealed")


def test_second_delivery_changes_nothing_and_each_sealing_is_another_text() -> None:
    first, second = _send(), _send()
    assert first != second
    peer = receive(open_sealed(first, HOST_KEY), make_store())
    assert receive(open_sealed(second, HOST_KEY), peer) is peer


def test_value_is_not_in_the_text() -> None:
    text = _send()
    assert "hunter2" not in text
    assert b"hunter2" not in base64.b64decode(text.rpartition(":")[2])


def test_another_host_gets_an_authoritys_certificate_and_cannot_sign() -> None:
    made = replace(make_version("key"), main="private", secret={"private": "key"}, public={"certificate": "text"})
    authority = make_store(ca=replace(make_secret(made), kind="x509_ca"))
    peer = receive(open_sealed(seal(authority, "ca", recipient=HOST_KEY.public), HOST_KEY), make_store())
    assert peer.version("ca").part("certificate") == "text"
    assert (peer.version("ca").secret, peer.version("ca").part("private"), peer.value("ca")) == ({}, None, "text")


@pytest.mark.parametrize(
    "tampered",
    [
        pytest.param(lambda text: text.replace(f"{PREFIX}db:", f"{PREFIX}other:"), id="another name"),
        pytest.param(lambda text: text.replace(":2:", ":3:"), id="another version"),
        pytest.param(lambda text: text[:-8] + ("AAAAAAA=" if text.endswith("=") else "AAAAAAAA"), id="changed content"),
        pytest.param(lambda text: text[:-12], id="cut off"),
        pytest.param(lambda _text: seal(OWNER, "db", recipient=make_host_key().public), id="for another host"),
    ],
)
def test_tampering_is_refused(tampered: object) -> None:
    text = tampered(_send())  # type: ignore[operator]
    name = "other" if "other" in text else "db"
    with pytest.raises(PlatformError) as refused:
        open_sealed(text, HOST_KEY)
    assert str(refused.value) == (
        f"Cannot open sealed secret '{name}': it is not for this host's key {HOST_KEY.public}, or was changed "
        "on the way; seal it again for that key."
    )


_BLOBS = st.text() | st.binary(min_size=33).map(lambda raw: base64.b64encode(raw).decode())


@given(st.text() | _BLOBS.map(lambda blob: f"{PREFIX}db:1:{blob}"))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    with pytest.raises(PlatformError):
        open_sealed(text, HOST_KEY)


def test_key_of_low_order_is_refused() -> None:
    with pytest.raises(PlatformError) as refused:
        seal(OWNER, "db", recipient=base64.b64encode(bytes(32)).decode())
    assert str(refused.value) == (
        "Cannot seal or open a secret: the recipient's key is not a usable one; read the host's key again."
    )


def test_recipient_that_is_no_key_is_refused() -> None:
    with pytest.raises(PlatformError) as refused:
        seal(OWNER, "db", recipient="peer1")
    assert str(refused.value) == (
        "Cannot seal for 'peer1': it is no host key of 44 characters of base64; "
        "use what a task with 'host_key: true' returned on that host."
    )


def test_own_secret_is_not_replaced_by_a_sealed_one() -> None:
    with pytest.raises(PlatformError) as refused:
        receive(open_sealed(_send(), HOST_KEY), make_store(db=make_secret()))
    assert str(refused.value) == (
        "Cannot take sealed secret 'db': this host's store /etc/modelyard/secrets.json has one of its own of that "
        "name; remove it (state: absent) or use another name."
    )
