# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting programs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._run import (
    Completed,
    clean_environment,
    memory_files,
    run_program,
)

SHELL = ["/bin/sh", "-c"]


def test_how_a_program_ended() -> None:
    done = run_program([*SHELL, 'cat; printf "\\377" >&2; exit 3'], stdin="ü")
    assert done == Completed(3, "ü", "\ufffd")


def test_a_program_gets_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPOSE_FILE", "/elsewhere")
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    monkeypatch.delenv("HOME", raising=False)
    assert run_program([*SHELL, "echo $COMPOSE_FILE,$http_proxy,$HOME"]).stdout == ",http://proxy.test:3128,/root\n"
    assert clean_environment({"A": "1"})["A"] == "1"
    assert run_program(["/usr/bin/env"], env={"A": "1"}).stdout == "A=1\n"


def test_a_program_starts_where_it_is_told_to(tmp_path: Path) -> None:
    assert run_program([*SHELL, "pwd -P"], cwd=str(tmp_path)).stdout.strip() == os.path.realpath(tmp_path)


def test_a_program_that_takes_too_long() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_program(["/bin/sleep", "60"], timeout_seconds=0.1)


def test_memory_files_are_read_by_number_and_are_gone_afterwards() -> None:
    with memory_files(["first ü", "", "third"]) as descriptors:
        paths = [f"/proc/self/fd/{descriptor}" for descriptor in descriptors]
        assert run_program(["/bin/cat", *paths], pass_fds=descriptors).stdout == "first üthird"
        assert run_program(["/bin/cat", *paths], pass_fds=descriptors).stdout == "first üthird"
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
