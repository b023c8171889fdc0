# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store moved to another host as one encrypted file, by Ansible Vault's envelope or by age."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from .._errors import PlatformError
from .store import SecretStore, parse_store
from .store_change import render_store
from .store_file import FILE_MODE, parse_store_text

if TYPE_CHECKING:
    from .._run import Run

Encryption = Literal["ansible_vault", "age"]


@dataclass(frozen=True)
class EncryptedFile:
    """Where an encrypted store lies and what opens or closes it. Keys come as files: arguments show in ``ps``."""

    path: str
    encryption: Encryption
    passphrase_file: str | None = None
    recipients: tuple[str, ...] = ()
    identity_file: str | None = None


def needs_export(target: EncryptedFile, store_path: str) -> bool:
    """Tell whether the export is missing or older than the store. What is in it is not looked at."""
    try:
        exported = os.stat(target.path).st_mtime_ns
    except FileNotFoundError:
        return True
    try:
        return exported < os.stat(store_path).st_mtime_ns
    except FileNotFoundError:
        return False


def export_store(store: SecretStore, target: EncryptedFile, *, run: Run) -> None:
    """Write the whole store, encrypted, to the target; readable by root alone.

    :raises PlatformError: it cannot be encrypted or written there.
    """
    from .._files import FileState, write_atomically

    purpose = f"export the secret store to {target.path}"
    content = _encrypt(render_store(store), target, purpose=purpose, run=run)
    try:
        write_atomically(target.path, FileState(content, FILE_MODE, os.geteuid(), os.getegid()))
    except OSError as error:
        raise PlatformError(f"Cannot {purpose}: {error.strerror}; make room there or name another folder.") from None


def import_store(store: SecretStore, source: EncryptedFile, *, run: Run) -> SecretStore:
    """Return the store with every secret of an exported one in it; the same store if it has them all.

    :raises PlatformError: the file cannot be opened, or a secret differs from the store's one of that name.
    """
    purpose = f"import secrets from {source.path}"
    plaintext = _decrypt(_read(source.path, purpose), source, purpose=purpose, run=run)
    found = parse_store(parse_store_text(plaintext, source.path), source.path)
    differing = [name for name in found.names() if store.secrets.get(name, found.secrets[name]) != found.secrets[name]]
    if differing:
        raise PlatformError(
            f"Cannot {purpose}: the store {store.path} has other values for {', '.join(differing)}; "
            "remove these first (state: absent), or import into another store."
        )
    return replace(store, secrets={**store.secrets, **found.secrets}, host_key=store.host_key or found.host_key)


def _encrypt(plaintext: bytes, target: EncryptedFile, *, purpose: str, run: Run) -> bytes:
    if target.encryption == "ansible_vault":
        from .vault_envelope import encrypt

        return encrypt(plaintext, _read_passphrase(target, purpose))
    if not target.recipients:
        raise PlatformError(
            f"Cannot {purpose}: age needs 'recipients'; name at least one (age1... or ssh-ed25519 ...)."
        )
    for recipient in target.recipients:
        if not recipient.startswith(("age1", "ssh-")):
            raise PlatformError(
                f"Cannot {purpose}: recipient {recipient[:12]!r}... is no public key; use age1... or ssh-ed25519 ..."
            )
    options = [option for recipient in target.recipients for option in ("--recipient", recipient)]
    return _run_age(["--encrypt", "--armor", *options], plaintext, purpose=purpose, run=run)


def _decrypt(content: bytes, source: EncryptedFile, *, purpose: str, run: Run) -> bytes:
    if source.encryption == "age":
        if source.identity_file is None:
            raise PlatformError(f"Cannot {purpose}: age needs 'identity_file'; name the file with the private key.")
        return _run_age(["--decrypt", "--identity", source.identity_file], content, purpose=purpose, run=run)
    from .vault_envelope import WrongPasswordError, decrypt

    try:
        return decrypt(content, _read_passphrase(source, purpose))
    except WrongPasswordError:
        raise PlatformError(
            f"Cannot {purpose}: {source.passphrase_file} does not open it, or it was changed; "
            "use the passphrase of the export."
        ) from None
    except ValueError:
        raise PlatformError(
            f"Cannot {purpose}: it is no whole file of Ansible Vault (1.1 or 1.2, AES256); export it again."
        ) from None


def _read_passphrase(file: EncryptedFile, purpose: str) -> bytes:
    if file.passphrase_file is None:
        raise PlatformError(f"Cannot {purpose}: Ansible Vault needs 'passphrase_file'; name the file that holds it.")
    # Like ansible-vault, which strips what an editor adds at the end.
    passphrase = _read(file.passphrase_file, purpose).strip()
    if not passphrase:
        raise PlatformError(f"Cannot {purpose}: {file.passphrase_file} is empty; put the passphrase into it.")
    return passphrase


def _read(path: str, purpose: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        raise PlatformError(f"Cannot {purpose}: {path}: {error.strerror}; correct the path.") from None


def _run_age(arguments: Sequence[str], content: bytes, *, purpose: str, run: Run) -> bytes:
    program = shutil.which("age")
    if program is None:
        raise PlatformError(f"Cannot {purpose}: this host has no program 'age'; install the Debian package age.")
    # Both forms that pass here, the store's JSON and age's armour, are ASCII.
    done = run([program, *arguments], stdin=content.decode("ascii", "replace"))
    if done.returncode != 0:
        raise PlatformError(f"Cannot {purpose}: age says {done.stderr.strip()!r}; correct the key or the file.")
    return done.stdout.encode()
