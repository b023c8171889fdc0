# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store: who may read it, what is refused, that writing and reading is the identity."""

from __future__ import annotations

import contextlib
import json
import os
import string
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import (
    HostKey,
    Secret,
    SecretStore,
    Version,
    parse_store,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store_change import (
    change_lock,
    prune_versions,
    render_store,
    write_store,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store_file import parse_store_text
from hypothesis import given
from hypothesis import strategies as st

from .secret_examples import make_secret, make_store, make_version, private_folder

DAMAGED = "it is damaged, restore it from a backup."


def _written(tmp_path: Path, **secrets: Secret) -> Path:
    path = private_folder(tmp_path) / "secrets.json"
    write_store(make_store(str(path), **secrets))
    return path


def _refusal(path: Path) -> str:
    with pytest.raises(PlatformError) as refused:
        SecretStore.load(str(path))
    return str(refused.value)


def test_missing_file_and_missing_folder_are_an_empty_store(tmp_path: Path) -> None:
    assert SecretStore.load(str(tmp_path / "none" / "secrets.json")).names() == []


def test_what_is_written_is_read_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = _written(tmp_path, db=make_secret(make_version("old"), make_version("new")))
    assert path.stat().st_mode & 0o7777 == 0o600
    store = SecretStore.load(str(path))
    assert (store.names(), store.current_version("db")) == (["db"], 2)
    assert (store.value("db"), store.value("db", "value", 1)) == ("new", "old")


def test_missing_secret_version_and_part_are_named_with_what_to_do() -> None:
    store = make_store(db=make_secret())
    wrong = {
        "Cannot use secret 'x': it is not in the store /etc/modelyard/secrets.json; "
        "declare it with modelyard.platform.secrets first.": ("x", None, None),
        "Cannot use version 7 of secret 'db': the store /etc/modelyard/secrets.json keeps version 1; "
        "use one of these.": ("db", None, 7),
        "Cannot use part 'public' of secret 'db': a secret of kind 'password' has the parts value; "
        "refer to one of these.": ("db", "public", None),
    }
    for message, (name, part, version) in wrong.items():
        with pytest.raises(PlatformError) as refused:
            store.value(name, part, version)
        assert str(refused.value) == message


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700, 0o4600])
def test_looser_mode_of_the_file_is_refused(tmp_path: Path, mode: int) -> None:
    path = _written(tmp_path)
    path.chmod(mode)
    assert _refusal(path) == (
        f"Cannot trust the secret store's {path}: its mode is {mode:04o}, others may read or change it; "
        f"run: chmod 0600 {path}, and rotate what was in it."
    )


def test_looser_mode_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.parent.chmod(0o750)
    assert _refusal(path) == (
        f"Cannot trust the secret store's {path.parent}: its mode is 0750, others may read or change it; "
        f"run: chmod 0700 {path.parent}, and rotate what was in it."
    )
    with pytest.raises(PlatformError, match="its mode is 0750"), change_lock(str(path)):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_foreign_owner_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path)
    os.chown(path, 12345, 0)
    assert _refusal(path) == (
        f"Cannot trust the secret store's {path}: it belongs to uid 12345; "
        f"look at who changed it, then run: chown 0 {path}"
    )


def test_links_are_refused(tmp_path: Path) -> None:
    path = _written(tmp_path)
    link = path.with_name("link.json")
    link.symlink_to(path)
    folder = tmp_path / "link"
    folder.symlink_to(path.parent)
    assert _refusal(link) == f"Cannot read the secret store {link}: it is a symbolic link; put the file itself there."
    assert _refusal(folder / "secrets.json") == (
        f"Cannot trust the secret store's folder {folder}: it is a symbolic link; put the folder itself there."
    )


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    path = private_folder(tmp_path) / "secrets.json"
    path.mkdir(mode=0o700)
    assert _refusal(path) == f"Cannot read the secret store {path}: it is not a file; move it away."


def test_file_cut_in_half_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path, db=make_secret())
    content = path.read_bytes()
    half = content[: len(content) // 2]
    path.write_bytes(half)
    assert (
        _refusal(path)
        == f"Cannot read the secret store {path}: its {len(half)} bytes are not JSON (cut off?); {DAMAGED}"
    )


def test_newer_format_is_refused(tmp_path: Path) -> None:
    path = _written(tmp_path)
    path.write_text('{"format": 99, "secrets": {}}')
    assert _refusal(path) == (
        f"Cannot read {path}: it has format 99, modelyard.platform 0.1.0 knows up to 1; "
        "a newer version wrote it, install that version."
    )


def _document(**version: Any) -> dict[str, Any]:
    whole = json.loads(render_store(make_store(db=make_secret())))
    whole["secrets"]["db"]["versions"]["1"].update(version)
    return whole


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"format": 1}, id="no secrets"),
        pytest.param({"format": 1, "secrets": []}, id="secrets are a list"),
        pytest.param({"format": 1, "secrets": {"a b": {}}}, id="a name that is none"),
        pytest.param({"format": 1, "secrets": {"a": {"kind": "x", "current": 1, "versions": {}}}}, id="no version"),
        pytest.param({"format": 1, "secrets": {}, "host_key": {"private": 1, "public": ""}}, id="key is a number"),
        pytest.param(_document(main="other"), id="main part is missing"),
        pytest.param(_document(main=[]), id="main part is a list"),
        pytest.param(_document(secret={"value": 5}), id="value is a number"),
        pytest.param(_document(origin="magic"), id="unknown origin"),
        pytest.param(_document(expires="soon"), id="time is a text"),
        pytest.param(_document(options={"length": 1.5}), id="option is a fraction"),
    ],
)
def test_json_that_is_no_store_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_store(parse_store_text(json.dumps(document).encode(), "S"), "S")
    assert str(refused.value) == f"Cannot read the secret store S: it is JSON, but not a secret store's; {DAMAGED}"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_FIELDS = ["main", "secret", "public", "origin", "options", "created", "expires", "source_version"]


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_content_ends_in_a_traceback(content: bytes) -> None:
    with pytest.raises(PlatformError):
        parse_store(parse_store_text(content, "S"), "S")


@given(st.sampled_from(_FIELDS), _JSON)
def test_no_wrong_field_ends_in_a_traceback(key: str, value: object) -> None:
    content = json.dumps(_document(**{key: value})).encode()
    with contextlib.suppress(PlatformError):
        assert parse_store(parse_store_text(content, "S"), "S").names() == ["db"]


_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,10}", fullmatch=True)
_PARTS = st.dictionaries(st.sampled_from(["value", "private", "public", "sha256"]), st.text())
_OPTIONS = st.dictionaries(
    st.text(string.ascii_lowercase, min_size=1), st.integers() | st.text() | st.lists(st.text()).map(tuple)
)
_VERSIONS = st.builds(
    Version,
    main=st.just("main"),
    secret=_PARTS.map(lambda parts: {**parts, "main": "x"}),
    public=_PARTS,
    origin=st.sampled_from(["generated", "given", "derived", "sealed"]),
    options=_OPTIONS,
    created=st.integers(0, 2**40),
    expires=st.none() | st.integers(0, 2**40),
    source_version=st.none() | st.integers(1, 999),
)
_SECRETS = st.lists(_VERSIONS, min_size=1, max_size=3).map(lambda versions: make_secret(*versions))


@given(st.dictionaries(_NAMES, _SECRETS, max_size=3), st.none() | st.builds(HostKey, st.text(), st.text()))
def test_writing_and_reading_is_the_identity(secrets: dict[str, Secret], host_key: HostKey | None) -> None:
    store = SecretStore("S", secrets, host_key)
    content = render_store(store)
    read = parse_store(parse_store_text(content, "S"), "S")
    assert read == store
    assert render_store(read) == content


def test_older_format_is_migrated_and_copied_beside(tmp_path: Path) -> None:
    path = _written(tmp_path, db=make_secret())
    old = path.read_bytes()

    def to_second(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "second": True}

    text = parse_store_text(old, str(path), {1: to_second, 2: lambda document: {**document, "third": True}}, 3)
    assert (text.format, text.document["format"], text.is_migrated) == (1, 3, True)
    assert text.document["second"] is text.document["third"] is True
    write_store(parse_store(text, str(path)))
    copy = path.with_name("secrets.json.format-1")
    assert copy.read_bytes() == old
    assert copy.stat().st_mode & 0o7777 == 0o600


def test_migration_that_meets_another_form_is_refused() -> None:
    with pytest.raises(PlatformError) as refused:
        parse_store_text(b'{"format": 1}', "S", {1: lambda document: {"secrets": document["secrets"]}}, 2)
    assert str(refused.value) == f"Cannot read the secret store S: it says format 1, but is not of that form; {DAMAGED}"


def test_pruning_keeps_what_is_used_the_current_and_the_one_before() -> None:
    versions = [make_version(str(number)) for number in range(1, 7)]
    store = make_store(a=make_secret(*versions), b=make_secret(*versions, current=3))
    pruned = prune_versions(store, {("a", 2), ("b", 6), ("gone", 1)})
    assert sorted(pruned.secrets["a"].versions) == [2, 5, 6]
    assert sorted(pruned.secrets["b"].versions) == [2, 3, 6]


def test_values_are_not_in_the_representation_of_a_store() -> None:
    store = SecretStore("S", {"db": make_secret(make_version("hunter2"))}, HostKey("hunter2", "public"))
    assert "hunter2" not in repr(store)


def test_200_secrets_are_loaded_in_milliseconds(tmp_path: Path) -> None:
    path = _written(tmp_path, **{f"secret_{number}": make_secret() for number in range(200)})
    durations = []
    for _round in range(5):
        started = time.process_time()
        SecretStore.load(str(path))
        durations.append(time.process_time() - started)
    assert min(durations) < 0.05


def test_store_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    path = tmp_path / "none" / "secrets.json"
    with pytest.raises(PlatformError) as refused:
        write_store(make_store(str(path)))
    assert str(refused.value) == (
        f"Cannot write the secret store {path}: No such file or directory; it is as before, mend that and run again."
    )
