# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pages: ansible-doc renders every module, no page is lost, no link leads nowhere, and words are the code's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, get_args

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.plan import Action, Code
from ansible_collections.modelyard.platform.plugins.module_utils._compose.verdict import Kind
from support.tree import ROOT, module_files

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MODULES = sorted(path.stem for path in module_files())


def ansible_doc(*arguments: str, home: Path) -> str:
    environment = {
        **os.environ, "ANSIBLE_HOME": str(home), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_NOCOLOR": "1",
    }  # fmt: skip
    done = subprocess.run(["ansible-doc", *arguments], check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what ansible-doc says of each module, as data and as text; it is asked twice, for its start is slow."""
    home = tmp_path_factory.mktemp("home")
    names = [f"modelyard.platform.{name}" for name in MODULES]
    pages = re.split(r"^> MODULE ", ansible_doc(*names, home=home), flags=re.MULTILINE)
    texts = {page.split()[0]: page for page in pages if page.strip()}
    return json.loads(ansible_doc("--json", *names, home=home)), texts


@pytest.mark.parametrize("name", MODULES)
def test_ansible_doc_renders_the_module(name: str, documented: tuple[dict[str, Any], dict[str, str]]) -> None:
    full = f"modelyard.platform.{name}"
    shown, text = documented[0][full], documented[1][full]
    assert shown["doc"]["short_description"]
    assert shown["return"]
    missing = [option for option in shown["doc"]["options"] if not re.search(rf"^[-=] {option}\b", text, re.MULTILINE)]
    assert not missing, f"{full}: ansible-doc does not show {missing}"
    assert f"{full}:" in text, f"{full}: ansible-doc shows no example"


def test_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([^)]+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in PAGES} - {"index.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (DOCS / link).exists()]
    assert not missing, f"{page.name} links to what is not there: {missing}"


@pytest.mark.parametrize(
    ("heading", "words"),
    [("action", get_args(Action)), ("reason", get_args(Code)), ("verdict", get_args(Kind))],
    ids=["actions", "reasons", "verdicts"],
)
def test_tables_of_compose_project_tell_every_word_of_the_code(heading: str, words: tuple[str, ...]) -> None:
    page = (DOCS / "compose_project.md").read_text(encoding="utf-8")
    table = page.split(f"| {heading} |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == set(words)


def test_picture_is_well_formed_and_says_what_it_shows() -> None:
    picture = ET.parse(DOCS / "plan.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert picture.findtext(f"{space}title")
    assert picture.findtext(f"{space}desc")
