# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ``host_command``: the same bytes as the tool's, written once, for one site or another."""

from __future__ import annotations

import resource
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.modules import ModuleResult, host_environment, run_by_ansible, run_module
from support.tree import ROOT

#: Processor time of a run without changes, about 0.09 s of it Ansible's own: what else the machine does counts little.
MOST_SECONDS = 0.25
PLACE = "ansible_collections/modelyard/platform/plugins"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sbin" / "modelyard"


def install(path: Path, **more: Any) -> ModuleResult:
    result = run_module("host_command", {"path": str(path)} | more)
    assert not result.failed, result.msg
    return result


def test_a_playbook_writes_the_very_bytes_of_the_tool_and_then_nothing(path: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "tools/build_host_command.py", tmp_path / "built"], check=True)
    checked = run_by_ansible("host_command", {"path": str(path)}, check=True, diff=True)
    assert (checked["changed"], checked["changes"]) == (True, [f"write {path}: missing"])
    assert not path.parent.exists(), "check mode wrote"
    written = run_by_ansible("host_command", {"path": str(path)}, diff=True)
    assert written["diff"] == checked["diff"]
    assert path.read_bytes() == (tmp_path / "built").read_bytes()
    assert (path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid) == (0o755, 0, 0)
    before = path.stat().st_mtime_ns
    assert not run_by_ansible("host_command", {"path": str(path)}).changed
    assert path.stat().st_mtime_ns == before
    assert not install(path).changed, "run from its sources the module packs something else"


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """Return what Ansible brings to a host, and some sources more."""
    plugins = ROOT / "plugins"
    wanted = [path for package in ("", "_compose", "_secrets", "_host_command") for path in sources_in(package)]
    parts = PLACE.split("/")
    packages = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    with zipfile.ZipFile(tmp_path / "payload.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for package in [*packages, f"{PLACE}/modules", f"{PLACE}/module_utils"]:
            packed.writestr(f"{package}/__init__.py", "")
        for path in [*wanted, plugins / "modules" / "host_command.py"]:
            packed.write(path, f"{PLACE}/{path.relative_to(plugins)}")
    return tmp_path / "payload.zip"


def sources_in(package: str) -> list[Path]:
    return list((ROOT / "plugins" / "module_utils" / package).glob("*.py"))


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_run_without_changes_is_quick(path: Path, payload: Path) -> None:
    environment = host_environment({"PYTHONPATH": f"{payload}:{ROOT / 'build' / 'host-python'}"})
    spent = []
    for number in range(4):
        before = processor_seconds()
        result = run_module("host_command", {"path": str(path)}, environment=environment)
        assert result.changed == (number == 0), result.values
        spent.append(processor_seconds() - before)
    assert min(spent[1:]) < MOST_SECONDS, spent


def test_the_command_of_a_site_looks_at_that_site(path: Path, tmp_path: Path) -> None:
    places = {"directory": str(tmp_path / "site"), "secret_store": str(tmp_path / "store" / "secrets.json")}
    secrets = {"path": places["secret_store"], "site_directory": places["directory"]}
    assert run_module("secrets", {**secrets, "secrets": [{"name": "key", "kind": "hex"}]}).changed
    assert install(path, **places)["changes"] == [f"write {path}: missing"]
    shown = subprocess.run(
        [path, "secrets", "list"], check=True, capture_output=True, text=True, env=host_environment(), cwd="/"
    )
    assert shown.stdout.splitlines()[1].split()[:2] == ["key", "hex"]
    assert install(path)["changes"] == [f"write {path}: another content"]


def test_absent_removes_the_command_and_nothing_else(path: Path) -> None:
    install(path)
    assert run_module("host_command", {"path": str(path), "state": "absent"}, check=True)["changes"] == [
        f"remove {path}: not wanted"
    ]
    assert path.exists()
    assert install(path, state="absent").changed
    assert not path.exists()
    assert not install(path, state="absent").changed
    path.write_text("mine")
    assert not install(path, state="absent").changed
    assert run_module("host_command", {"path": str(path)}).msg.startswith(f"Cannot write {path}: a file that is not ")
    assert path.read_text() == "mine"


def test_a_path_that_names_no_file_is_refused(tmp_path: Path) -> None:
    for wrong in ("modelyard", f"{tmp_path}/"):
        assert run_module("host_command", {"path": wrong}).msg == (
            f"Cannot use path {wrong!r}: it names no file by its absolute path; give one that does."
        )
