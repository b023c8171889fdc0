# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No value of a secret leaves the store: not in answers, diffs, -vvvv, arguments of programs, nor when a run fails.

The spellings that are looked for are made here, by code that does not import ours.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from support.modules import ROOT, run_by_ansible, run_module

GIVEN = 'g1v3n $secret/with "quotes" & ümlaut'
SECRETS: list[dict[str, Any]] = [
    {"name": "pw", "kind": "password"},
    {"name": "key", "kind": "api_key"},
    {"name": "given", "kind": "token", "value": GIVEN},
    {"name": "login", "kind": "htpasswd", "of": "pw", "user": "admin"},
    {"name": "ed", "kind": "ed25519"},
    {"name": "rd", "kind": "rustdesk_key"},
    {"name": "ca", "kind": "x509_ca"},
    {"name": "leaf", "kind": "x509_leaf", "of": "ca", "names": ["a.test"]},
]


def spellings(value: str) -> Iterator[str]:
    raw = value.encode()
    yield from (value, value.replace("$", "$$"), quote(value), quote(value, safe=""), quote_plus(value))
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1])
    yield from (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())
    if len(value.splitlines()) > 1:
        yield from (line for line in value.splitlines() if not line.startswith("-----"))


def values_in(path: Path) -> set[str]:
    """Return every secret part of a store, in every spelling."""
    document = json.loads(path.read_text())
    versions = [version for secret in document["secrets"].values() for version in secret["versions"].values()]
    values = [value for version in versions for value in version["secret"].values()]
    if "host_key" in document:
        values.append(document["host_key"]["private"])
    return {spelling for value in values for spelling in spellings(value)}


def assert_none_in(text: str, values: set[str]) -> None:
    assert len(values) > 20, "the store is nearly empty, so the test proves nothing"
    # Told by position: a failing test must not print a secret either.
    found = [text.index(value) for value in values if value in text]
    assert not found, f"secrets stand at {sorted(found)} of {len(text)} characters"


class ArgumentWatch:
    """Samples the arguments and the environment of every process of the machine while it is entered."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.samples = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ArgumentWatch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.is_set():
            self.samples += 1
            for pid in filter(str.isdigit, os.listdir("/proc")):
                self._read(pid)
            time.sleep(0.02)

    def _read(self, pid: str) -> None:
        if int(pid) == os.getpid():
            return
        for name in ("cmdline", "environ"):
            try:
                self.seen.add(Path(f"/proc/{pid}/{name}").read_text(errors="replace"))
            except OSError:
                continue


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "secrets.json"


@pytest.mark.parametrize("check", [False, True], ids=["real", "check"])
def test_run_of_ansible_at_vvvv_with_diff_shows_no_value(path: Path, check: bool) -> None:
    run_module("secrets", {"path": str(path), "secrets": SECRETS})
    with ArgumentWatch() as watch:
        result = run_by_ansible(
            "secrets",
            {"path": str(path), "secrets": SECRETS, "rotate": ["pw", "ca"]},
            check=check,
            diff=True,
            verbosity=4,
        )
    assert result.changed, result.msg
    values = values_in(path)
    assert_none_in(result.stdout + result.stderr, values)
    assert_none_in("\n".join(watch.seen), values)
    assert watch.samples > 20
    assert any("ansible-playbook" in arguments for arguments in watch.seen)


def test_sealing_and_moving_show_no_value(path: Path, tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery")
    identity = tmp_path / "identity"
    made = subprocess.run(["age-keygen", "-o", identity], capture_output=True, text=True, check=True)
    files = [
        {"path": f"{tmp_path}/vault", "encryption": "ansible_vault", "passphrase_file": str(passphrase)},
        {"path": f"{tmp_path}/age", "encryption": "age", "recipients": [made.stderr.split()[-1]]},
    ]
    task = {"path": str(path), "secrets": SECRETS, "host_key": True}
    key = run_module("secrets", task)["host_key"]
    with ArgumentWatch() as watch:
        answers = [run_module("secrets", {**task, "seal_for": key, "export_to": file}) for file in files]
        given = {"path": f"{tmp_path}/age", "encryption": "age", "identity_file": str(identity)}
        answers.append(run_module("secrets", {"path": f"{tmp_path}/new/secrets.json", "import_from": given}))
    assert [answer.changed for answer in answers] == [True] * 3, [answer.msg for answer in answers]
    values = values_in(path) | {"correct horse battery", identity.read_text().split()[-1]}
    written = "\n".join((tmp_path / name).read_text() for name in ("vault", "age"))
    shown = "\n".join(answer.stdout + answer.stderr for answer in answers)
    for text in (written, shown, "\n".join(watch.seen)):
        assert_none_in(text, values)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"name": "given", "kind": "ed25519", "value": GIVEN}, id="value where none can be given"),
        pytest.param({"name": "given", "kind": "token", "value": GIVEN + "\0"}, id="value with NUL"),
        pytest.param({"name": "given", "kind": "token", "length": 3, "value": GIVEN}, id="bad option beside a value"),
        pytest.param({"name": "given", "kind": "magic", "value": GIVEN}, id="unknown kind"),
        pytest.param({"name": "given", "kind": "token", "value": GIVEN, "vlaue": GIVEN}, id="misspelt option"),
    ],
)
def test_refused_declaration_shows_no_value(path: Path, wrong: dict[str, Any]) -> None:
    run_module("secrets", {"path": str(path), "secrets": SECRETS})
    result = run_by_ansible("secrets", {"path": str(path), "secrets": [wrong]}, diff=True, verbosity=4)
    assert result.failed
    assert_none_in(result.stdout + result.stderr, values_in(path))


def test_unforeseen_error_names_the_place_and_shows_no_value(path: Path, tmp_path: Path) -> None:
    run_module("secrets", {"path": str(path), "secrets": SECRETS})
    collections = tmp_path / "collections"
    _copy_with_bug(collections / "ansible_collections" / "modelyard" / "platform")
    result = run_by_ansible(
        "secrets",
        {"path": str(path), "secrets": SECRETS, "rotate": ["pw"]},
        environment={"ANSIBLE_COLLECTIONS_PATH": f"{collections}:{_site_packages()}"},
        diff=True,
        verbosity=4,
    )
    assert result.failed
    assert result.msg.startswith(f"Cannot keep the secrets of {path}: unforeseen RuntimeError at ")
    assert "carry_out.py:" in result.msg
    assert_none_in(result.stdout + result.stderr, values_in(path))


def _copy_with_bug(target: Path) -> None:
    """Copy the collection and let it raise an error that quotes every value."""
    target.mkdir(parents=True)
    for name in ("plugins", "meta"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", target)
    spoiled = target / "plugins" / "module_utils" / "_secrets" / "carry_out.py"
    source = spoiled.read_text()
    line = "    removed = []\n"
    assert line in source
    bug = "    raise RuntimeError([dict(v.secret) for s in store.secrets.values() for v in s.versions.values()])\n"
    spoiled.write_text(source.replace(line, line + bug))


def _site_packages() -> str:
    return next(entry for entry in sys.path if entry.endswith("site-packages"))


def test_filter_gives_the_placeholder_and_refuses_what_is_no_name(tmp_path: Path) -> None:
    script = "{{ 'tls' | modelyard.platform.secret_reference(part='certificate') }}"
    command = [
        str(Path(sys.prefix) / "bin" / "ansible"),
        "localhost",
        "-m",
        "ansible.builtin.debug",
        "-a",
        f"msg={script}",
    ]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_HOME": str(tmp_path),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert '"msg": "@@secret:tls.certificate@@"' in done.stdout, done.stdout + done.stderr
    command[-1] = "msg={{ 'a b' | modelyard.platform.secret_reference }}"
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "Cannot refer to secret 'a b': it is no name;" in done.stdout + done.stderr
