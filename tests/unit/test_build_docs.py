# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the build of the pages changes on the way; that Sphinx takes the result is shown by ``make docs``."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_DOCS = runpy.run_path(str(ROOT / "tools" / "build_docs.py"))
PAGES = {"docs/image.md", "docs/index.md", "docs/plan.svg", "roles/docker/README.md"}
REPOSITORY = "https://github.com/modelyard/platform/blob/main"


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("docs/index.md", "image.md", "image.md"),
        ("docs/index.md", "image.md#the-tag", "image.md#the-tag"),
        ("docs/index.md", "plan.svg", "plan.svg"),
        ("roles/docker/README.md", "../../docs/image.md", "../../docs/image.md"),
        ("README.md", "LICENSE", f"{REPOSITORY}/LICENSE"),
        ("docs/index.md", "../roles/docker/meta", f"{REPOSITORY}/roles/docker/meta"),
        ("docs/index.md", "gone.md", "gone.md"),
        ("docs/index.md", "https://example.org/LICENSE", "https://example.org/LICENSE"),
    ],
    ids=[
        "a page", "a heading of a page", "a picture", "a page from a role", "a file that is no page",
        "a folder", "nothing: Sphinx is to refuse it", "another site",
    ],
)  # fmt: skip
def test_links_lead_to_pages_or_to_the_repository(page: str, link: str, expected: str) -> None:
    led = BUILD_DOCS["lead_outside"](f"See [this]({link}), or not.", page, pages=PAGES)
    assert led == f"See [this]({expected}), or not."


def specification(**option: Any) -> dict[str, Any]:
    return {"argument_specs": {"main": {"options": {"edge_gid": {"description": "A group.", **option}}}}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"type": "int", "default": "{{ found.gid\n  | default(0) }}"},
            {"type": "int", "description": ["A group.", "Its default is computed, C({{ found.gid | default(0) }})."]},
        ),
        ({"type": "int", "default": 5}, {"type": "int", "default": 5, "description": "A group."}),
        ({"type": "str", "default": "{{ a }}"}, {"type": "str", "default": "{{ a }}", "description": "A group."}),
        ({"default": "{{ a }}"}, {"default": "{{ a }}", "description": "A group."}),
    ],
    ids=["an expression for a number", "a number", "an expression for a text", "no type is a text"],
)
def test_a_computed_default_is_told_in_the_prose(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert BUILD_DOCS["tell_computed_defaults"](specification(**given)) == {
        "argument_specs": {"main": {"options": {"edge_gid": expected}}}
    }


def test_an_option_of_role_site_is_named_in_full_elsewhere() -> None:
    text = "where O(site_images=registry) and O(edge_gid)"
    named = "where O(modelyard.platform.site#role:main:site_images=registry) and O(edge_gid)"
    assert BUILD_DOCS["name_role_site"](text, "roles/edge/meta/argument_specs.yml") == named
    assert BUILD_DOCS["name_role_site"](text, "roles/site/meta/argument_specs.yml") == text


def test_the_list_of_headings_is_left_to_the_theme() -> None:
    text = "Title\n+++++\n\n.. contents::\n   :local:\n   :depth: 1\n\nSynopsis\n--------\n"
    assert BUILD_DOCS["without_contents"](text) == "Title\n+++++\n\n\nSynopsis\n--------\n"
