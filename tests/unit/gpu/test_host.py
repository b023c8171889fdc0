# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at a real folder, and running real programs that hang."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.host import LATE, Host, run_bounded


def test_a_program_is_run_in_one_language() -> None:
    done = run_bounded(["sh", "-c", "echo $LC_ALL; echo told >&2; exit 3"], 30)
    assert (done.returncode, done.stdout, done.stderr) == (3, "C\n", "told\n")


def test_a_program_that_hangs_is_ended_with_all_that_it_has_started(tmp_path: Path) -> None:
    # The second one would hold the pipes for a minute, were only the first one ended.
    script = f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/parent; sleep 60"
    start = time.monotonic()
    done = run_bounded(["sh", "-c", script], 0.5)
    assert (done.returncode, done.stdout) == (LATE, "")
    assert time.monotonic() - start < 20
    for name in ("parent", "child"):
        pid = int((tmp_path / name).read_text(encoding="ascii"))
        assert is_gone(pid), f"process {pid} still runs"


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_program_that_is_not_there_is_nothing() -> None:
    assert Host(ask_engine=lambda: None).ask("no-such-program-of-nvidia") is None


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    host = Host(root=str(tmp_path), ask_engine=lambda: None)
    assert host.read("/etc/none") is None
    assert host.list_names("/etc") == []
    assert host.read_node("/dev/none") is None
    assert host.find_program("nvidia-smi") == ""
    assert not host.exists("/etc/none")
    assert not host.may_read("/etc/none")


def test_links_stay_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/real").write_text("x", encoding="ascii")
    (tmp_path / "etc/absolute").symlink_to("/etc/relative")
    (tmp_path / "etc/relative").symlink_to("real")
    (tmp_path / "etc/dangling").symlink_to("gone")
    (tmp_path / "etc/loop").symlink_to("loop")
    host = Host(root=str(tmp_path), ask_engine=lambda: None)
    assert host.resolve("/etc/absolute") == "/etc/real"
    assert host.exists("/etc/absolute")
    assert not host.exists("/etc/dangling")
    assert host.resolve("/etc/loop") == "/etc/loop"
    assert (host.read_link_name("/etc/absolute"), host.read_link_name("/etc/real")) == ("relative", "")


def test_only_a_character_device_is_a_node(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    assert Host(root=str(tmp_path), ask_engine=lambda: None).read_node("/file") is None
    node = Host(ask_engine=lambda: None).read_node("/dev/null")
    assert node is not None
    assert (node.major, node.minor) == (1, 3)


def test_without_an_engine_nothing_is_known_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    assert Host().ask_engine() is None
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2376")
    assert Host().ask_engine() is None


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "version").write_bytes(b"5\xff0\n")
    assert Host(root=str(tmp_path), ask_engine=lambda: None).read("/version") == "5\ufffd0\n"
    assert os.access(tmp_path, os.R_OK)
