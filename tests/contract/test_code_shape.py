# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bars on the shape of the code: what does not fit in a head is split."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from support.tree import ROOT, code_lines, function_length, functions, imported_names, nesting_depth, python_files

FILE_LINES = 400
FUNCTION_LINES = 40
NESTING_LEVELS = 3

PLUGINS = python_files("plugins")
MODULE_UTILS = python_files("plugins/module_utils")
GATEWAY = python_files("gateway")
CODE = [*PLUGINS, *GATEWAY, *python_files("tests/support"), *python_files("tests/benchmark"), *python_files("tools")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_file_has_less_than_400_lines_of_code(path: Path) -> None:
    found = len(code_lines(path.read_text(encoding="utf-8")))
    assert found < FILE_LINES, f"{_name(path)} has {found} lines of code; split it by subject"


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_functions_have_at_most_40_lines_of_code(path: Path) -> None:
    found = {function.place: function_length(function) for function in functions(path)}
    too_long = {place: lines for place, lines in found.items() if lines > FUNCTION_LINES}
    assert not too_long, f"split these by what they do, not by length: {too_long}"


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_functions_nest_at_most_three_levels(path: Path) -> None:
    found = {function.place: nesting_depth(function.node) for function in functions(path)}
    too_deep = {place: depth for place, depth in found.items() if depth > NESTING_LEVELS}
    assert not too_deep, f"return early or name the inner part: {too_deep}"


@pytest.mark.parametrize("path", MODULE_UTILS, ids=_name)
def test_module_utils_know_nothing_of_ansible(path: Path) -> None:
    found = {name for name in imported_names(path) if name.partition(".")[0] in ("ansible", "ansible_collections")}
    assert not found, f"{_name(path)} imports {found}; only main() of a module knows Ansible, import ours relatively"


@pytest.mark.parametrize("path", GATEWAY, ids=_name)
def test_the_gateway_needs_nothing_but_python(path: Path) -> None:
    """Its program alone needs a server: what decides can be tested and run anywhere, and nobody else's code decides."""
    allowed = {*sys.stdlib_module_names, *({"uvicorn"} if path.name == "main.py" else ())}
    found = {name for name in imported_names(path) if name.partition(".")[0] not in allowed}
    assert not found, f"{_name(path)} imports {found}"


@pytest.mark.parametrize("path", MODULE_UTILS, ids=_name)
def test_module_utils_are_private(path: Path) -> None:
    inside = path.relative_to(ROOT / "plugins" / "module_utils").parts
    assert inside[0].startswith("_"), f"{_name(path)}: no promise is made for it, so its name starts with _"


@pytest.mark.parametrize("path", [*PLUGINS, *GATEWAY], ids=_name)
def test_plugins_use_no_assert(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lines = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not lines, f"{_name(path)}: python -O drops asserts, raise an error that says what to do; lines {lines}"
