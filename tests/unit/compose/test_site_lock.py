# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks of a site: made where they are missing, and told in words where they cannot be had."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError


def test_a_bare_host_gets_the_folder_and_the_lock(tmp_path: Path) -> None:
    site = Site(str(tmp_path / "site"))
    with site.hold(".models", purpose="fetch models", wait_seconds=0) as descriptor:
        assert os.get_inheritable(descriptor), "a child keeps it when its parent is killed"
        assert [path.name for path in (tmp_path / "site").iterdir()] == ["locks"]
        assert [path.name for path in (tmp_path / "site/locks").iterdir()] == [".models.lock"]
        with pytest.raises(PlatformError, match=r"^Cannot fetch more: .*\.models\.lock is held by "):
            site.hold(".models", purpose="fetch more", wait_seconds=0).__enter__()
    with site.hold(".models", purpose="fetch models", wait_seconds=0):
        pass


def test_what_stands_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "locks/.models.lock").mkdir(parents=True)
    with pytest.raises(PlatformError) as refused:
        Site(str(tmp_path)).hold(".models", purpose="fetch models", wait_seconds=0).__enter__()
    assert str(refused.value) == (
        f"Cannot fetch models: Is a directory at {tmp_path}/locks/.models.lock; make room there, or correct its rights."
    )


def test_what_fails_under_the_lock_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Site(str(tmp_path)).hold(".keys", purpose="change keys", wait_seconds=0):
        os.stat(tmp_path / "gone")
