# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's command is one file: whole, of the standard library alone, and equal bytes for equal sources."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.modules import HOST_PYTHON
from support.tree import ROOT, imported_names

BUILDER = ROOT / "tools" / "build_host_command.py"


def build(target: Path, **environment: str) -> Path:
    subprocess.run([sys.executable, str(BUILDER), str(target)], check=True, env={**os.environ, **environment})
    return target


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("built") / "modelyard")


def run(command: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(command), *arguments], check=False, capture_output=True, text=True, cwd=cwd)


def test_equal_sources_give_equal_bytes(command: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "modelyard", TZ="Asia/Tokyo", PYTHONHASHSEED="7")
    assert again.read_bytes() == command.read_bytes()
    assert again.stat().st_mode & 0o777 == 0o755


def test_it_starts_on_the_system_python_whatever_lies_around(command: Path, tmp_path: Path) -> None:
    assert command.read_bytes().startswith(f"#!{HOST_PYTHON} -I\n".encode())
    (tmp_path / "argparse.py").write_text("raise SystemExit('the wrong argparse')\n")
    done = run(command, "--version", cwd=tmp_path)
    version = (ROOT / "plugins/module_utils/_version.py").read_text().split('VERSION = "')[1].split('"')[0]
    assert (done.returncode, done.stdout, done.stderr) == (0, f"modelyard {version}\n", "")


def test_every_import_of_ours_is_in_it_and_every_other_one_is_standard_or_asked_for_late(command: Path) -> None:
    with zipfile.ZipFile(command) as archive:
        names = set(archive.namelist())
    packed = [
        ROOT / "plugins/module_utils" / name.partition("/")[2]
        for name in names
        if name.startswith("modelyard_platform/") and name.endswith(".py") and name.count("/") > 1
    ]
    assert len(packed) > 30
    for path in packed:
        for name in _imports_at_once(path):
            assert name.partition(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def _imports_at_once(path: Path) -> set[str]:
    """Return what a file imports when it is imported, without what its functions import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module))
    assert found <= imported_names(path)
    return found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["logs"], "the following arguments are required: PROJECT"),
        (["logs", "shop", "-n", "0"], "argument -n/--lines: 0 is below 1"),
        (["rollback", "shop", "two"], "argument NUMBER: invalid number value: 'two'"),
        (["secrets"], "the following arguments are required: ACTION"),
    ],
)
def test_wrong_use_ends_with_2_and_says_why(command: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(command, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
