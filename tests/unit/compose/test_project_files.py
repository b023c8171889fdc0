# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project's files on a disk that others write to as well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.contents import RenderedFile
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import ProjectFile
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project_files import (
    compare_files,
    write_files,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._files import FileState, temporary_of


def rendered(path: Path, content: bytes = b"new") -> RenderedFile:
    state = FileState(content, 0o644, os.geteuid(), os.getegid())
    return RenderedFile(str(path), state, ProjectFile(path=str(path), content=""))


def test_what_a_killed_run_left_goes_and_what_another_project_writes_just_now_stays(tmp_path: Path) -> None:
    ours, former, others = (temporary_of(str(tmp_path / name)) for name in ("shop.json", "old.json", "blog.json"))
    for path in (ours, former, others):
        Path(path).touch()
    Path(tmp_path / "shop.json").write_bytes(b"new")
    (tmp_path / "shop.json").chmod(0o644)
    changes = compare_files([rendered(tmp_path / "shop.json")], [str(tmp_path / "old.json")], roots=[str(tmp_path)])
    assert changes.describe() == []
    write_files(changes)
    assert sorted(os.listdir(tmp_path)) == [os.path.basename(others), "shop.json"]


def linked(path: Path, folder: Path) -> str:
    return (
        f"Cannot write file '{path}': its folder {folder} is a link; look who put it there and remove it, or declare "
        "the file where the link leads."
    )


@pytest.mark.parametrize("below", ["sub/a", "sub/deep/a"])
@pytest.mark.parametrize("is_former", [False, True], ids=["written", "removed"])
def test_a_folder_that_is_a_link_is_refused_and_nothing_behind_it_is_touched(
    tmp_path: Path, below: str, *, is_former: bool
) -> None:
    site, victim = tmp_path / "site", tmp_path / "etc"
    (victim / "deep").mkdir(parents=True)
    for name in ("a", "deep/a"):
        (victim / name).write_text("stays")
    path = site / "projects" / "shop" / "conf" / below
    (site / "projects" / "shop" / "conf").mkdir(parents=True)
    (site / "projects" / "shop" / "conf" / "sub").symlink_to(victim)
    files, former = ([], [str(path)]) if is_former else ([rendered(path)], [])
    with pytest.raises(PlatformError) as caught:
        compare_files(files, former, roots=[str(site), str(site / "projects" / "shop")])
    assert str(caught.value) == linked(path, site / "projects" / "shop" / "conf" / "sub")


@pytest.mark.parametrize("is_former", [False, True], ids=["written", "removed"])
def test_a_link_that_came_after_the_plan_is_refused_as_well(tmp_path: Path, *, is_former: bool) -> None:
    site, victim = tmp_path / "site", tmp_path / "etc"
    victim.mkdir()
    (victim / "a").write_text("stays")
    folder = site / "conf"
    folder.mkdir(parents=True)
    (folder / "a").write_text("old")
    files, former = ([], [str(folder / "a")]) if is_former else ([rendered(folder / "a")], [])
    changes = compare_files(files, former, roots=[str(site)])
    assert len(changes.describe()) == 1
    folder.rename(tmp_path / "away")
    folder.symlink_to(victim)
    with pytest.raises(PlatformError) as caught:
        write_files(changes)
    assert str(caught.value) == linked(folder / "a", folder)
    assert (victim / "a").read_text() == "stays"
    assert os.listdir(victim) == ["a"]


def test_links_above_the_project_are_the_administrators_own(tmp_path: Path) -> None:
    disk, site = tmp_path / "disk", tmp_path / "site"
    (disk / "shop").mkdir(parents=True)
    site.mkdir()
    (site / "projects").symlink_to(disk)
    path = site / "projects" / "shop" / "conf" / "a"
    write_files(compare_files([rendered(path)], [], roots=[str(site), str(site / "projects" / "shop")]))
    assert (disk / "shop" / "conf" / "a").read_bytes() == b"new"
