# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every role has a Molecule scenario that tries what it does, and that is proven to notice when nothing is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml
from support.tree import ROOT

FOLDER = ROOT / "extensions/molecule"
SCENARIOS = {path.parent.name: path.parent for path in sorted(FOLDER.glob("*/molecule.yml"))}
each_scenario = pytest.mark.parametrize("name", SCENARIOS)
#: The whole site, on a host and on several.
WHOLE = {"default", "two-hosts"}
#: Each takes an assertion on behaviour or more.
FEWEST_TESTS = 5


def names_of_tests(scenario: Path) -> list[str]:
    tree = ast.parse((scenario / f"test_{scenario.name.replace('-', '_')}.py").read_text(encoding="utf-8"))
    return [item.name for item in tree.body if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")]


def main_tasks() -> dict[str, tuple[str, str]]:
    tree = ast.parse((ROOT / "tools/prove_molecule.py").read_text(encoding="utf-8"))
    found = (item.value for item in tree.body if isinstance(item, ast.Assign) and "MAIN_TASKS" in ast.dump(item))
    answer: dict[str, tuple[str, str]] = ast.literal_eval(next(found))
    return answer


def test_each_role_has_a_scenario_and_the_whole_site_another() -> None:
    assert SCENARIOS.keys() - WHOLE == {path.parent.name for path in ROOT.glob("roles/*/tasks")}


@each_scenario
def test_a_scenario_tries_enough_with_a_changed_option_and_ends_with_a_restart(name: str) -> None:
    tests = names_of_tests(SCENARIOS[name])
    assert len(tests) >= FEWEST_TESTS, f"{name} has {len(tests)} tests"
    assert any(re.search(r"(?<!un)changed", test) for test in tests), f"{name} tries no changed option"
    assert "after_a_restart_of_the_host" in tests[-1], f"{name} does not end with a restart"


@each_scenario
def test_a_scenario_changes_an_option(name: str) -> None:
    values = yaml.safe_load((SCENARIOS[name] / "site.yml").read_text(encoding="utf-8"))["all"]["vars"]
    assert values.keys() - {"site_roles"}, f"{name} deploys the defaults alone"


@each_scenario
def test_a_scenario_can_be_proven_to_notice(name: str) -> None:
    path, action = main_tasks()[name]
    tasks = yaml.safe_load((ROOT / "roles" / path).read_text(encoding="utf-8"))
    assert [task for task in tasks if action in task], f"roles/{path} has no task with {action}"


@each_scenario
def test_the_page_says_when_it_was_proven(name: str) -> None:
    page = (ROOT / "docs/molecule.md").read_text(encoding="utf-8")
    row = re.search(
        rf"^\| `{name}` \| `[\w.]+` \| (goes through|fails) \| (\d+) of \d+ fail \| \d{{4}}-", page, re.MULTILINE
    )
    assert row, f"docs/molecule.md has no result of {name}; run make molecule-proof SCENARIO={name}"
    assert int(row[2]) > 0
