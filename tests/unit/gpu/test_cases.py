# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is found on hosts, case by case: each file in ``cases`` is one; their README tells the form."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Code, Facts
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.judge import is_good, judge
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe
from support.gpu_hosts import CASES, HOSTS, DescribedHost, read_description
from support.tree import ROOT

SETTINGS = "/etc/docker/daemon.json"
each_case = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))


def look(path: Path, folder: Path) -> Facts:
    return observe(DescribedHost(folder, read_description(path)), SETTINGS)


@each_case
def test_findings(path: Path, tmp_path: Path) -> None:
    findings = judge(look(path, tmp_path))
    expected = yaml.safe_load(path.read_text(encoding="utf-8"))["findings"]
    found = [{name: value for name, value in asdict(finding).items() if name != "fix"} for finding in findings]
    assert found == expected
    assert is_good(findings) == all(finding["severity"] != "error" for finding in expected)


@each_case
def test_every_sentence_says_what_is_not_possible_why_and_what_to_do(path: Path, tmp_path: Path) -> None:
    for finding in judge(look(path, tmp_path)):
        assert re.fullmatch(r"Cannot [^;]+?: [^;]+; [^;]+[^.]\.", finding.text)
        assert finding.text.endswith(f"; {finding.fix}.")


@each_case
def test_looking_changes_nothing(path: Path, tmp_path: Path) -> None:
    host = DescribedHost(tmp_path, read_description(path))
    before = {entry: entry.lstat() for entry in sorted(tmp_path.rglob("*"))}
    first = observe(host, SETTINGS)
    after = {entry: entry.lstat() for entry in sorted(tmp_path.rglob("*"))}
    assert {entry: (seen.st_mtime_ns, seen.st_ino) for entry, seen in before.items()} == {
        entry: (seen.st_mtime_ns, seen.st_ino) for entry, seen in after.items()
    }
    assert observe(host, SETTINGS) == first


def test_there_are_cases_and_hosts() -> None:
    assert len(CASES) >= 79
    assert [path.stem for path in HOSTS] == ["a100_mig", "bare", "h100", "t4", "two_rtx_4090"]


def test_every_code_has_a_case() -> None:
    told = {
        finding["code"] for path in CASES for finding in yaml.safe_load(path.read_text(encoding="utf-8"))["findings"]
    }
    assert told == set(get_args(Code))


def test_the_page_tells_every_code_with_its_severities() -> None:
    told: dict[str, set[str]] = {}
    for path in CASES:
        for finding in yaml.safe_load(path.read_text(encoding="utf-8"))["findings"]:
            told.setdefault(finding["code"], set()).add(finding["severity"])
    page = (ROOT / "docs" / "gpu_info.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z, ]+) \|", page, re.MULTILINE)
    assert {code: set(severities.split(", ")) for code, severities in rows} == told


@pytest.mark.parametrize("name", ["an_installed_module_that_is_not_loaded", "a_card_without_a_driver"])
def test_nvidia_smi_is_not_asked_where_it_would_load_the_module(name: str, tmp_path: Path) -> None:
    (path,) = [case for case in CASES if case.stem == name]
    host = DescribedHost(tmp_path, read_description(path))
    assert observe(host, SETTINGS).smi.state == "not_asked"
    assert not [asked for asked in host.asked if asked.startswith("nvidia-smi")]


def test_a_host_without_a_card_is_asked_nothing(tmp_path: Path) -> None:
    (path,) = [host for host in HOSTS if host.stem == "bare"]
    host = DescribedHost(tmp_path, read_description(path))
    observe(host, SETTINGS)
    assert host.asked == []
