# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lock that ends with the last process that holds it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._lock import hold_lock


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    for _number in range(2):
        with hold_lock(path, purpose="apply", wait_seconds=0):
            pass
    assert os.stat(path).st_mode & 0o7777 == 0o600


def test_somebody_else_holds_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with (
        hold_lock(path, purpose="apply", wait_seconds=0),
        pytest.raises(PlatformError) as caught,
        hold_lock(path, purpose="apply project 'shop'", wait_seconds=0),
    ):
        raise AssertionError("the lock was held twice")
    assert str(caught.value) == (
        f"Cannot apply project 'shop': {path} is held by another process since more than 0 s; wait for it to end, "
        "or end it."
    )


def test_a_child_that_got_it_keeps_it_and_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with hold_lock(path, purpose="apply", wait_seconds=0) as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[descriptor])
    try:
        with pytest.raises(PlatformError) as caught, hold_lock(path, purpose="apply", wait_seconds=0):
            raise AssertionError("the lock was held twice")
        assert f"is held by sleep (pid {child.pid}) since" in str(caught.value)
    finally:
        child.kill()
        child.wait()
    with hold_lock(path, purpose="apply", wait_seconds=0):
        pass


def test_it_waits_for_the_one_who_holds_it(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    with hold_lock(path, purpose="apply", wait_seconds=0) as descriptor:
        child = subprocess.Popen(["sleep", "0.3"], pass_fds=[descriptor])
    with hold_lock(path, purpose="apply", wait_seconds=20):
        assert child.wait(timeout=20) == 0


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(OSError, match="symbolic links"),
        hold_lock(str(tmp_path / "lock"), purpose="apply", wait_seconds=0),
    ):
        raise AssertionError("a link was followed")
    assert not (tmp_path / "elsewhere").exists()
