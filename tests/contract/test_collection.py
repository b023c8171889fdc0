# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must be true of the collection as a whole, so that no two places tell different truths."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tree import ROOT, module_files, python_files, tracked_files

LICENCE_HEADER = (
    "# Copyright: modelyard.platform contributors\n"
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
    "# SPDX-License-Identifier: GPL-3.0-or-later\n"
)
MODULES = {path.stem: path for path in module_files()}
each_module = pytest.mark.parametrize("name", MODULES)


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def documentation_blocks(path: Path) -> dict[str, str]:
    """Return DOCUMENTATION, EXAMPLES and RETURN of a module, unparsed."""
    blocks = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            assert isinstance(node.targets[0], ast.Name)
            blocks[node.targets[0].id] = str(node.value.value)
    return blocks


def test_action_group_all_names_exactly_the_modules_on_disk() -> None:
    declared = read_yaml("meta/runtime.yml")["action_groups"]["all"]
    assert declared == sorted(declared), "meta/runtime.yml: sort the names of the action group 'all'"
    assert set(declared) == set(MODULES), (
        "meta/runtime.yml's action group 'all' and plugins/modules/ differ; a module that is not in the group gets no "
        "module_defaults, a name without a module breaks every play that uses the group"
    )


def test_version_is_the_same_in_python_and_galaxy_yml() -> None:
    source = (ROOT / "plugins/module_utils/_version.py").read_text(encoding="utf-8")
    found = re.search(r'^VERSION = "(.+)"$', source, re.MULTILINE)
    assert found, 'plugins/module_utils/_version.py has no line VERSION = "..."'
    assert found[1] == read_yaml("galaxy.yml")["version"], "galaxy.yml and _version.py name different versions"


# ansible-test wants the __init__.py of plugins to be empty.
@pytest.mark.parametrize(
    "path",
    [path for path in python_files() if path.stat().st_size > 0],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_python_file_starts_with_the_licence_header(path: Path) -> None:
    source = path.read_text(encoding="utf-8").removeprefix("#!/usr/bin/python\n")
    assert source.startswith(LICENCE_HEADER), f"{path.relative_to(ROOT)} does not start with:\n{LICENCE_HEADER}"


@each_module
def test_module_documents_what_it_does_shows_it_and_says_what_it_returns(name: str) -> None:
    blocks = documentation_blocks(MODULES[name])
    for block in ("DOCUMENTATION", "EXAMPLES", "RETURN"):
        assert yaml.safe_load(blocks.get(block, "")), f"{name}: {block} is missing or empty"
    documentation = yaml.safe_load(blocks["DOCUMENTATION"])
    assert documentation["module"] == name, f"{name}: DOCUMENTATION names module {documentation['module']!r}"
    assert documentation.get("attributes"), f"{name}: DOCUMENTATION has no attributes (check_mode, diff_mode, ...)"


@each_module
def test_module_examples_are_named_tasks_with_fully_qualified_actions(name: str) -> None:
    tasks = yaml.safe_load(documentation_blocks(MODULES[name])["EXAMPLES"])
    assert isinstance(tasks, list), f"{name}: EXAMPLES is not a list of tasks"
    for task in tasks:
        assert task.get("name"), f"{name}: an example has no name: {task}"
        actions = [key for key in task if key.count(".") >= 2]
        assert len(actions) == 1, (
            f"{name}: example {task['name']!r} has no fully qualified action, or several: {actions}"
        )
    assert any(f"modelyard.platform.{name}" in task for task in tasks), f"{name}: no example uses the module itself"


@each_module
def test_module_takes_no_option_alias(name: str) -> None:
    options = yaml.safe_load(documentation_blocks(MODULES[name])["DOCUMENTATION"])["options"]
    aliased = [option for option, entry in options.items() if "aliases" in entry]
    assert not aliased, f"{name}: one word per idea, but these options have aliases: {aliased}"


@each_module
def test_module_has_a_page_of_docs_that_the_readme_lists(name: str) -> None:
    page = f"docs/{name}.md"
    assert (ROOT / page).is_file(), f"{page} is missing"
    assert page in (ROOT / "README.md").read_text(encoding="utf-8"), f"README.md does not link {page}"


def test_readme_links_only_to_files_that_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links, "README.md links to nothing: this test would prove nothing"
    missing = [link for link in links if not (ROOT / link).exists()]
    assert not missing, f"README.md links to what is not there: {missing}"


def test_a_changelog_fragment_or_entry_tells_of_this_version() -> None:
    fragments = tracked_files("changelogs/fragments/*.yml")
    released = ROOT / "changelogs" / "changelog.yaml"
    versions = read_yaml("changelogs/changelog.yaml")["releases"] if released.exists() else {}
    assert fragments or read_yaml("galaxy.yml")["version"] in versions, (
        "changelogs/fragments/ is empty and changelogs/changelog.yaml does not know the version of galaxy.yml"
    )


def test_there_is_no_sanity_ignore_file() -> None:
    assert not tracked_files("tests/sanity/ignore*"), "mend what ansible-test finds instead of ignoring it"
