# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages tell to type is there: targets, playbooks, commands on a host, variables, folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.arguments import make_parser
from support.tree import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "inventories").glob("*/README.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
#: Whose names begin as those of variables do.
PLUGINS = {path.stem for folder in ("modules", "filter") for path in (ROOT / "plugins" / folder).glob("*.py")}
OTHER_WORDS = {
    "postgres_password": "a secret of an example",
    "postgres_tls": "a kind of promise",
    "rustdesk_key": "a kind of secret",
    "site_destroy_confirmed": "an answer to playbooks/destroy.yml",
    "site_followed": "what the plan tells templates of needs",
    "site_leader": "what the plan tells templates of needs",
}


def typed(page: Path) -> str:
    """Return what stands in a page as code: indented lines, blocks and spans."""
    text = page.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^ {4}.*$|^```.*?^```$|`[^`\n]+`", text, re.MULTILINE | re.DOTALL))


def known_variables() -> set[str]:
    found: set[str] = set()
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]
        found |= (spec.get("options") or {}).keys()
    return found


def known_secrets() -> set[str]:
    declared = [path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/meta/needs.yml")]
    return {name for text in declared for name in re.findall(r"\bname: ([a-z]+_[a-z_]+)", text)}


@each_page
def test_targets_are_those_of_the_makefile(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):.* ## ", makefile, re.MULTILINE))
    used = set(re.findall(r"(?:^ {4}|`|\bsudo )make ([a-z][a-z0-9-]*)", typed(page), re.MULTILINE))
    assert used <= targets, f"the Makefile has no {used - targets}"


@each_page
def test_playbooks_are_those_of_the_collection(page: Path) -> None:
    used = set(re.findall(r"ansible-playbook modelyard\.platform\.(\w+)", typed(page)))
    missing = {name for name in used if not (ROOT / "playbooks" / f"{name}.yml").is_file()}
    assert not missing, f"the collection has no playbook {missing}"


@each_page
def test_commands_on_a_host_are_those_of_the_command(page: Path) -> None:
    usage = make_parser().format_help()
    used = set(re.findall(r"(?:^ {4}|`)modelyard ([a-z]+)", typed(page), re.MULTILINE))
    missing = {name for name in used if not re.search(rf"\b{name}\b", usage)}
    assert not missing, f"modelyard has no command {missing}"


@each_page
def test_variables_are_those_of_the_roles(page: Path) -> None:
    roles = {path.parent.parent.name for path in ROOT.glob("roles/*/meta/argument_specs.yml")}
    words = set(re.findall(r"(?<![\w./@-])([a-z]+_[a-z_]+)\b", typed(page)))
    meant = {word for word in words if word.partition("_")[0] in roles}
    unknown = meant - known_variables() - known_secrets() - PLUGINS - OTHER_WORDS.keys()
    assert not unknown, f"no role has {unknown}"
