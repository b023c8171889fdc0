# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are the old one or the new one."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._files import (
    TEMPORARY_SUFFIX,
    FileState,
    ensure_directory,
    read_state,
    sweep_temporaries_of,
    sweep_temporary,
    telling,
    write_atomically,
)


def state(content: bytes = b"new", mode: int = 0o640) -> FileState:
    return FileState(content, mode, os.geteuid(), os.getegid())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    for wanted in (state(), state(b"", 0o400), state(b"\0\xff", 0o4755)):
        write_atomically(path, wanted)
        assert read_state(path) == wanted
    assert os.listdir(tmp_path) == ["a"]


def test_a_restrictive_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomically(str(tmp_path / "a"), state(mode=0o644))
        ensure_directory(str(tmp_path / "folder"), mode=0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o7777 == 0o755


def test_nothing_is_there(tmp_path: Path) -> None:
    assert read_state(str(tmp_path / "none")) is None
    (tmp_path / "file").touch()
    assert read_state(str(tmp_path / "file" / "below")) is None


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(OSError, match=r"symbolic links|Is a directory|Not a regular file"):
        read_state(str(path))


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("stays")
    (tmp_path / "a").symlink_to(target)
    write_atomically(str(tmp_path / "a"), state())
    assert target.read_text() == "stays"
    assert read_state(str(tmp_path / "a")) == state()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(OverflowError):
        write_atomically(str(path), FileState(b"new", 0o600, 2**70, 0))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("plant", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_temporary_link_of_somebody_else_is_replaced(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("stays")
    plant(victim, tmp_path / f".a{TEMPORARY_SUFFIX}")
    write_atomically(str(tmp_path / "a"), state(mode=0o604))
    assert victim.read_text() == "stays"
    assert victim.stat().st_mode & 0o7777 != 0o604
    assert read_state(str(tmp_path / "a")) == state(mode=0o604)


def test_a_temporary_file_that_somebody_holds_open_shows_nothing(tmp_path: Path) -> None:
    with open(tmp_path / f".a{TEMPORARY_SUFFIX}", "w+b") as held:
        write_atomically(str(tmp_path / "a"), state())
        assert held.read() == b""


def test_a_folder_with_the_temporary_name_is_told(tmp_path: Path) -> None:
    (tmp_path / f".a{TEMPORARY_SUFFIX}").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(str(tmp_path / "a"), state())
    assert caught.value.filename == str(tmp_path / "a")


def test_sweep_takes_what_killed_runs_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (f".a{TEMPORARY_SUFFIX}", ".hidden", f"b{TEMPORARY_SUFFIX}", "c"):
        (tmp_path / name).touch()
    sweep_temporary(str(tmp_path))
    sweep_temporary(str(tmp_path / "none"))
    assert sorted(os.listdir(tmp_path)) == [".hidden", f"b{TEMPORARY_SUFFIX}", "c"]


def test_sweep_of_some_files_leaves_the_temporary_files_of_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f".{name}{TEMPORARY_SUFFIX}").touch()
    (tmp_path / f".c{TEMPORARY_SUFFIX}").mkdir()
    sweep_temporaries_of([str(tmp_path / name) for name in ("a", "c", "none", "a/below")])
    assert sorted(os.listdir(tmp_path)) == [f".b{TEMPORARY_SUFFIX}", f".c{TEMPORARY_SUFFIX}"]
    sweep_temporary(str(tmp_path))
    assert os.listdir(tmp_path) == [f".c{TEMPORARY_SUFFIX}"]


def test_a_folder_is_made_with_its_parents_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    ensure_directory(str(folder), mode=0o700)
    assert folder.stat().st_mode & 0o7777 == 0o700
    ensure_directory(str(folder), mode=0o755)
    assert folder.stat().st_mode & 0o7777 == 0o700


def test_a_file_has_the_name_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    with pytest.raises(PlatformError) as caught:
        ensure_directory(str(path), mode=0o700)
    assert str(caught.value) == f"Cannot make the folder {path}: something else has that name; move it away."
    with pytest.raises(PlatformError) as caught:
        ensure_directory(str(path / "b" / "c"), mode=0o700)
    assert str(caught.value) == (
        f"Cannot make the folder {path}/b/c: something that is no folder has the name of one above it; move it away."
    )


def test_what_the_disk_refuses_is_told_with_its_place() -> None:
    text = (
        "Cannot apply project 'shop': No space left on device at /srv/state.json; make room there, or correct its "
        "rights."
    )
    with pytest.raises(PlatformError, match=f"^{re.escape(text)}$"), telling("apply project 'shop'"):
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/state.json")
