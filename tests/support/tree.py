# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tree as the contract tests see it: which files are whose, and what Python says of them without running them."""

from __future__ import annotations

import ast
import io
import subprocess
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: What starts a level of nesting. ``with`` and ``try`` are not counted: they name a span, not a branch of thought.
NESTING = (ast.If, ast.For, ast.While, ast.AsyncFor, ast.Match)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class NamedFunction:
    """A function of the tree, with the words that a failing test needs."""

    path: Path
    name: str
    node: Function

    @property
    def place(self) -> str:
        """Where to look: ``path:line name``."""
        return f"{self.path.relative_to(ROOT)}:{self.node.lineno} {self.name}"


def tracked_files(*patterns: str) -> list[Path]:
    """Return the files that git knows or would take and that match; deleted ones are not there."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *patterns],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return sorted(ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file())


def python_files(folder: str = "") -> list[Path]:
    """Return the Python files below ``folder``, of the whole tree without it."""
    return tracked_files(f"{folder}/*.py" if folder else "*.py")


def module_files() -> list[Path]:
    """Return the Ansible modules."""
    return [path for path in python_files("plugins/modules") if path.name != "__init__.py"]


@cache
def code_lines(source: str) -> frozenset[int]:
    """Return the numbers of the lines that hold code: no blank line, comment, docstring or documentation block.

    A string that stands alone, or is assigned to an upper-case name at the top (DOCUMENTATION and its like), is prose.
    """
    ignored = {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENCODING, tokenize.ENDMARKER,
    }  # fmt: skip
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in ignored:
            lines.update(range(token.start[0], token.end[0] + 1))
    return frozenset(lines - _prose_lines(ast.parse(source)))


def _prose_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        alone = isinstance(node, ast.Expr) and _is_string(node.value)
        block = node in tree.body and isinstance(node, ast.Assign) and _is_string(node.value)
        if alone or block:
            assert isinstance(node, ast.stmt)
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def _is_string(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def functions(path: Path) -> Iterator[NamedFunction]:
    """Yield every function and method of a file, inner ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield NamedFunction(path, node.name, node)


def function_length(function: NamedFunction) -> int:
    """Return the lines of code of a function, its signature included, its docstring and comments not."""
    lines = code_lines(function.path.read_text(encoding="utf-8"))
    return len(lines & set(range(function.node.lineno, (function.node.end_lineno or 0) + 1)))


def nesting_depth(node: ast.AST) -> int:
    """Return how many branches and loops stand inside each other; ``elif`` is on the level of its ``if``."""
    return max((_depth_of(child) for child in ast.iter_child_nodes(node)), default=0)


def _depth_of(node: ast.AST) -> int:
    if isinstance(node, (Function, ast.ClassDef, ast.Lambda)):
        return 0  # judged on its own
    if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
        body = max((_depth_of(child) for child in node.body), default=0)
        return max(1 + body, _depth_of(node.orelse[0]))
    return (1 if isinstance(node, NESTING) else 0) + nesting_depth(node)


def imported_names(path: Path) -> set[str]:
    """Return the absolute modules that a file imports anywhere; relative imports are not listed."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return names
