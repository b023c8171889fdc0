# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A folder that says whose it is, before anything else is in it."""

from __future__ import annotations

import json
from pathlib import Path

from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._image.build import Workshop
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program
from ansible_collections.modelyard.platform.plugins.module_utils._site.removal_observe import check_folder


def test_a_marked_folder_is_known_to_be_a_site(tmp_path: Path) -> None:
    directory = str(tmp_path / "deep" / "site")
    Site(directory).mark()
    assert check_folder(directory)


def test_a_mark_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    stamp = tmp_path / "site.json"
    stamp.write_text(json.dumps({"format": 1, "version": "0.0.1"}), encoding="utf-8")
    before = stamp.stat().st_mtime_ns
    Site(str(tmp_path)).mark()
    assert stamp.stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["site.json"]


def test_the_first_image_marks_the_folder_before_its_build(tmp_path: Path) -> None:
    directory = str(tmp_path / "site")
    workshop = Workshop(directory, engine=Engine(f"{tmp_path}/none.sock"), run=run_program)
    with workshop.lock("tools/one", purpose="build it", wait_seconds=1):
        assert check_folder(directory)
