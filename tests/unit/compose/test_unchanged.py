# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quick look leaves to the whole run whatever it cannot tell; state that others write is read with care."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.asleep import (
    NOTHING_ASLEEP,
    SleepRecord,
    read_sleep_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site, write_json
from ansible_collections.modelyard.platform.plugins.module_utils._compose.unchanged import find_unchanged
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._version import STATE_FORMAT, VERSION

PARAMS: dict[str, Any] = {
    "name": "shop", "state": "present", "pull": "missing", "src": None, "env_files": None, "secret_store": "/none",
    "layers": [{"services": {"web": {"image": "web:1"}}}],
}  # fmt: skip


def apply_once(site: Site, snapshot: str) -> dict[str, Any]:
    """Lay down what an applied project leaves, with the given snapshot; return the options to look with."""
    site.prepare_lock()
    site.prepare("shop", b"key")
    Path(site.lock_path("shop")).touch()
    folder = site.releases_folder("shop")
    write_json(f"{folder}/state.json", {"format": STATE_FORMAT, "current": 1, "in_progress": None})
    Path(folder, "0001").mkdir()
    Path(folder, "0001", "snapshot.json").write_text(snapshot)
    write_json(f"{site.directory}/site.json", {"format": STATE_FORMAT, "version": VERSION})
    return {**PARAMS, "directory": site.directory}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', '{"format": 1, "inputs": 3}', '{"format": 99}'])
def test_a_damaged_snapshot_is_left_to_the_whole_run(tmp_path: Path, content: str) -> None:
    assert find_unchanged(apply_once(Site(str(tmp_path)), content), check_mode=False) is None


def test_a_link_in_the_place_of_a_snapshot_is_left_to_the_whole_run(tmp_path: Path) -> None:
    site = Site(str(tmp_path))
    params = apply_once(site, "{}")
    path = Path(site.releases_folder("shop"), "0001", "snapshot.json")
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert find_unchanged(params, check_mode=False) is None


def test_a_bare_host_is_left_to_the_whole_run(tmp_path: Path) -> None:
    assert find_unchanged({**PARAMS, "directory": str(tmp_path)}, check_mode=True) is None
    assert list(tmp_path.iterdir()) == []


def test_what_the_gateway_put_to_sleep(tmp_path: Path) -> None:
    site = Site(str(tmp_path))
    assert read_sleep_record(site.asleep_path) == NOTHING_ASLEEP
    (tmp_path / "state" / "gateway").mkdir(parents=True)
    said = {"containers": {"a": 143, "b": "no", "c": True}, "woken": ["a", 3], "failed": {"d": f"a\x1bb\n{'x' * 600}"}}
    write_json(site.asleep_path, said)
    record = read_sleep_record(site.asleep_path)
    assert record == SleepRecord({"a": 143}, frozenset({"a"}), {"d": f"a b {'x' * 496}"})
    assert (record.is_proven("a"), record.is_proven("d")) == (True, False)


def test_what_the_gateway_may_put_in_the_place_of_its_word(tmp_path: Path) -> None:
    site = Site(str(tmp_path))
    path = Path(site.asleep_path)
    path.parent.mkdir(parents=True)
    for make, cause in (
        (lambda: path.symlink_to("/etc/shadow"), "Too many levels of symbolic links"),
        (lambda: os.mkfifo(path), "Not a regular file"),
        (path.mkdir, "Is a directory"),
        (lambda: path.write_bytes(b" " * (1 << 21)), "it has more than 1048576 bytes"),
    ):
        make()
        with pytest.raises(PlatformError) as caught:
            read_sleep_record(site.asleep_path)
        assert str(caught.value) == (
            f"Cannot read {path}: it is no plain file ({cause}); move it away and restart the gateway."
        )
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"containers": []}', '{"containers": 3}', '{"woken": 3}', '{"failed": []}']
)
def test_a_damaged_word_of_the_gateway(tmp_path: Path, content: str) -> None:
    site = Site(str(tmp_path))
    Path(site.asleep_path).parent.mkdir(parents=True)
    Path(site.asleep_path).write_text(content)
    with pytest.raises(PlatformError) as caught:
        read_sleep_record(site.asleep_path)
    assert str(caught.value) == (
        f"Cannot read {site.asleep_path}: it is damaged; restore it from a backup, or remove it."
    )
