# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A role's page says of each variable what its specification says; the rest is made from that (``make docs``)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tree import ROOT

ROLES = {path.parent.name: path for path in sorted((ROOT / "roles").glob("*/README.md"))}
TABLE = re.compile(r"^\| variable \| what it is \|\n\| --- \| --- \|\n((?:\|.*\n)*)", re.MULTILINE)
each_role = pytest.mark.parametrize("name", ROLES)


def options(name: str) -> dict[str, Any]:
    specs = yaml.safe_load((ROOT / "roles" / name / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = specs["argument_specs"]["main"].get("options") or {}
    return found


def row(name: str, option: dict[str, Any]) -> str:
    """Return how an option stands in the table of a page: Ansible's markup as Markdown's."""
    said = option["description"]
    text = " ".join((" ".join(said) if isinstance(said, list) else str(said)).split())
    text = re.sub(r"\b[CEIMOPV]\(([^)]*)\)", r"`\1`", text)
    return f"| `{name}` | {text} |"


@each_role
def test_table_of_variables_says_what_the_specification_says(name: str) -> None:
    page = ROLES[name].read_text(encoding="utf-8")
    found = TABLE.search(page)
    if found is None:
        assert f"ansible-doc -t role modelyard.platform.{name}" in page, f"roles/{name}: the page names no variable"
        return
    expected = [row(key, option) for key, option in options(name).items()]
    assert found[1].splitlines() == expected, f"roles/{name}/README.md: its table is to be\n" + "\n".join(expected)


@each_role
def test_page_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", ROLES[name].read_text(encoding="utf-8"))
    missing = [link for link in links if not (Path(ROLES[name]).parent / link).exists()]
    assert not missing, f"roles/{name}/README.md links to what is not there: {missing}"


def test_some_page_has_a_table() -> None:
    assert sum(TABLE.search(path.read_text(encoding="utf-8")) is not None for path in ROLES.values()) > 5
