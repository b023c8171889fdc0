# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard as a file: all that it imports is in it, and nothing depends on where it was made."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.modelyard.platform.plugins.module_utils._host_command.pack import read_files
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.guard_file import SOURCES, make_guard
from support.tree import ROOT


def test_the_file_runs_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "guard"
    path.write_bytes(make_guard())
    # Isolated and without site packages: whatever it imports has to be in it.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(path), str(tmp_path)], capture_output=True, text=True, check=False,
        env={"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    asked = subprocess.run([sys.executable, "-I", "-S", str(path)], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stdout) == (2, "usage: gpu-guard FOLDER_OF_THE_SITE\n")


def test_nothing_is_in_it_that_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "guard"
    path.write_bytes(make_guard())
    # is_host_well imports what it needs itself.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import modelyard_platform._gpu.guard as guard\n"
        "guard.is_host_well()\n"
        "print(*(name for name in sys.modules if name.startswith('modelyard_platform.')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    found = {name.removeprefix("modelyard_platform.").replace(".", "/") for name in done.stdout.split()}
    assert {name.removesuffix("/__init__.py").removesuffix(".py") for name in SOURCES} == found


def test_it_is_the_same_from_a_folder_and_from_a_payload(tmp_path: Path) -> None:
    folder = ROOT / "plugins" / "module_utils"
    payload = tmp_path / "payload.zip"
    with zipfile.ZipFile(payload, "w") as packed:
        for name in SOURCES:
            packed.write(folder / name, f"ansible_collections/platform/module_utils/{name}")
    inside = f"{payload}/ansible_collections/platform/module_utils"
    assert read_files(inside, SOURCES) == read_files(str(folder), SOURCES)
