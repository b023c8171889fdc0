# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key files and links on a real disk, whatever is there already."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils import _files
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._s3.declaration import Declared
from ansible_collections.modelyard.platform.plugins.module_utils._s3.key_file import KEYS_MODE
from ansible_collections.modelyard.platform.plugins.module_utils._s3.keys import (
    prepare_directory,
    read_keys,
    read_mode,
    write_key,
)
from ansible_collections.modelyard.platform.plugins.module_utils._s3.plan import Custody, Observed, make_plan

from .store_examples import ANN, PLACES

#: Files of the one who runs the test: not everybody may give files away.
CUSTODY = Custody(PLACES, os.geteuid(), os.getegid())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    prepare_directory(str(made))
    return made


def rest(folder: Path) -> list[tuple[str, ...]]:
    """Return the reasons of what is left to do."""
    found = Observed(frozenset(ANN.grants), read_keys(str(folder)), read_mode(str(folder)))
    return [step.reasons for step in make_plan(Declared(tuple(ANN.grants), (ANN,)), found, CUSTODY).steps]


def test_a_written_key_leaves_nothing_to_do(folder: Path) -> None:
    write_key(str(folder), ANN, CUSTODY)
    assert rest(folder) == []
    links = {path.name: os.readlink(path) for path in (folder / "ann00000.buckets").iterdir()}
    assert links == {"alpha": "/data/alpha", "shared": "/data-ro/shared"}
    assert (folder / "ann00000").stat().st_mode & 0o7777 == 0o400
    assert sorted(path.name for path in folder.iterdir()) == ["ann00000", "ann00000.buckets"]


def test_writing_it_again_touches_no_file(folder: Path) -> None:
    write_key(str(folder), ANN, CUSTODY)
    before = [(path, path.lstat().st_ino) for path in sorted(folder.rglob("*"))]
    write_key(str(folder), ANN, CUSTODY)
    assert [(path, path.lstat().st_ino) for path in sorted(folder.rglob("*"))] == before


def test_whatever_stands_in_the_way_of_a_link_is_replaced(folder: Path) -> None:
    links = folder / "ann00000.buckets"
    links.mkdir()
    (links / "alpha").mkdir()
    (links / "shared").write_text("a file")
    (links / "other").symlink_to("/data/other")
    write_key(str(folder), ANN, CUSTODY)
    assert rest(folder) == []


def test_a_folder_with_content_in_the_way_is_kept_and_told(folder: Path) -> None:
    kept = folder / "ann00000.buckets" / "alpha" / "data"
    kept.parent.mkdir(parents=True)
    kept.write_text("somebody's")
    with pytest.raises(PlatformError, match=r"^Cannot write the access key of user 'ann': Directory not empty at "):
        write_key(str(folder), ANN, CUSTODY)
    assert kept.read_text() == "somebody's"


def test_a_key_file_that_is_a_link_is_told_and_not_followed(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("theirs")
    (folder / "ann00000").symlink_to(target)
    with pytest.raises(PlatformError, match=r"^Cannot read the access keys: "):
        read_keys(str(folder))
    assert target.read_text() == "theirs"


def test_a_key_gets_its_buckets_before_it_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: str, _state: object) -> None:
        raise OSError(28, "No space left on device", _path)

    monkeypatch.setattr("ansible_collections.modelyard.platform.plugins.module_utils._s3.keys.write_atomically", fail)
    with pytest.raises(PlatformError, match=r"^Cannot write the access key of user 'ann': No space left on device at "):
        write_key(str(folder), ANN, CUSTODY)
    assert rest(folder) == [("it has no key file",)]
    assert len(list((folder / "ann00000.buckets").iterdir())) == len(ANN.grants)


def test_what_a_killed_run_left_is_swept(folder: Path) -> None:
    for name in ("ann00000", "ann00000.buckets-alpha"):
        Path(_files.temporary_of(f"{folder}/{name}")).write_text("half")
    prepare_directory(str(folder))
    assert list(folder.iterdir()) == []


def test_names_that_are_no_keys_are_nobody(folder: Path) -> None:
    for name in ("short", "README.txt", ".hidden00"):
        (folder / name).write_text("")
    write_key(str(folder), replace(ANN, access_key_id="zoe00000"), CUSTODY)
    assert list(read_keys(str(folder))) == ["zoe00000"]


def test_a_folder_that_is_not_there_has_no_keys_and_no_mode(tmp_path: Path) -> None:
    assert (read_keys(f"{tmp_path}/none"), read_mode(f"{tmp_path}/none")) == ({}, None)


def test_the_mode_of_the_folder_is_mended(folder: Path) -> None:
    folder.chmod(0o777)
    prepare_directory(str(folder))
    assert read_mode(str(folder)) == KEYS_MODE


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("")
    with pytest.raises(PlatformError, match=f"^Cannot keep access keys in {path}: it is no folder of user "):
        read_mode(str(path))
