# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Export and import: read by ansible-vault itself, written by it, and refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store_change import render_store
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.transfer import (
    EncryptedFile,
    export_store,
    import_store,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.vault_envelope import decrypt, encrypt
from hypothesis import given, settings
from hypothesis import strategies as st

from .secret_examples import make_secret, make_store, make_version

STORE = make_store(db=make_secret(make_version("hunter2")), other=make_secret())


def _refuse_to_run(*_arguments: object, **_options: object) -> Completed:
    raise AssertionError("no program is needed for this")


def _vault_file(tmp_path: Path, content: bytes | None = None) -> EncryptedFile:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    file = EncryptedFile(str(tmp_path / "export"), "ansible_vault", passphrase_file=str(passphrase))
    if content is None:
        export_store(STORE, file, run=_refuse_to_run)
    else:
        (tmp_path / "export").write_bytes(content)
    return file


@settings(max_examples=8)
@given(st.binary(max_size=200), st.binary(min_size=1))
def test_envelope_is_the_identity_and_ansible_vault_reads_and_writes_it(plaintext: bytes, password: bytes) -> None:
    theirs = VaultLib([("default", VaultSecret(password))])
    assert decrypt(encrypt(plaintext, password), password) == plaintext
    assert theirs.decrypt(encrypt(plaintext, password)) == plaintext
    assert decrypt(theirs.encrypt(plaintext), password) == plaintext
    assert decrypt(theirs.encrypt(plaintext, vault_id="site"), password) == plaintext


def test_exported_store_arrives_whole_and_a_second_import_changes_nothing(tmp_path: Path) -> None:
    file = _vault_file(tmp_path)
    assert (tmp_path / "export").stat().st_mode & 0o7777 == 0o600
    assert b"hunter2" not in (tmp_path / "export").read_bytes()
    arrived = import_store(make_store(), file, run=_refuse_to_run)
    assert arrived.secrets == STORE.secrets
    assert import_store(arrived, file, run=_refuse_to_run) == arrived


def test_import_refuses_to_replace_another_value(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as refused:
        import_store(make_store(db=make_secret(make_version("own"))), _vault_file(tmp_path), run=_refuse_to_run)
    assert str(refused.value) == (
        f"Cannot import secrets from {tmp_path}/export: the store /etc/modelyard/secrets.json has other values for db; "
        "remove these first (state: absent), or import into another store."
    )


def _change_one(content: bytes) -> bytes:
    return content[:-40] + (b"0" if content[-40:-39] != b"0" else b"1") + content[-39:]


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        pytest.param(
            lambda _content: encrypt(render_store(STORE), b"another"),
            "{folder}/passphrase does not open it, or it was changed; use the passphrase of the export.",
            id="another passphrase",
        ),
        pytest.param(
            lambda content: content[: len(content) // 2],
            "it is no whole file of Ansible Vault (1.1 or 1.2, AES256); export it again.",
            id="cut in half",
        ),
        pytest.param(
            lambda _content: b"\xff\x00", "it is no whole file of Ansible Vault (1.1 or 1.2, AES256); export it again.",
            id="random bytes",
        ),
    ],
)  # fmt: skip
def test_file_that_cannot_be_opened_is_refused(tmp_path: Path, spoil: object, finding: str) -> None:
    file = _vault_file(tmp_path)
    content = spoil((tmp_path / "export").read_bytes())  # type: ignore[operator]
    with pytest.raises(PlatformError) as refused:
        import_store(make_store(), _vault_file(tmp_path, content), run=_refuse_to_run)
    expected = finding.format(folder=tmp_path)
    assert str(refused.value) == f"Cannot import secrets from {file.path}: {expected}"


@given(st.binary())
def test_no_content_of_an_export_ends_in_a_traceback(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - what the caller turns into words
        decrypt(content, b"x")


@pytest.mark.parametrize(
    ("file", "finding"),
    [
        pytest.param(
            EncryptedFile("/x", "ansible_vault"),
            "Ansible Vault needs 'passphrase_file'; name the file that holds it.",
            id="vault without passphrase",
        ),
        pytest.param(
            EncryptedFile("/x", "age"),
            "age needs 'recipients'; name at least one (age1... or ssh-ed25519 ...).",
            id="age without recipients",
        ),
        pytest.param(
            EncryptedFile("/x", "age", recipients=("AGE-SECRET-KEY-1ABCDEF",)),
            "recipient 'AGE-SECRET-K'... is no public key; use age1... or ssh-ed25519 ...",
            id="age with a private key",
        ),
        pytest.param(
            EncryptedFile("/x", "age", recipients=("age1abc",)),
            "this host has no program 'age'; install the Debian package age.",
            id="no age",
        ),
    ],
)
def test_export_without_what_it_needs_is_refused(
    monkeypatch: pytest.MonkeyPatch, file: EncryptedFile, finding: str
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PlatformError) as refused:
        export_store(STORE, file, run=_refuse_to_run)
    assert str(refused.value) == f"Cannot export the secret store to /x: {finding}"
