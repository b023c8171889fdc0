# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The reader of CDI specs against a whole YAML: it says the same, or refuses."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.block_yaml import parse_block_yaml
from hypothesis import given
from hypothesis import strategies as st
from support.gpu_hosts import FOLDER

SPECS = [FOLDER / "outputs" / "cdi_t4.spec", FOLDER / "outputs" / "cdi_two_rtx_4090.spec"]
TEXTS = st.text(alphabet="ab01 .:/-=#'\"[]{},&*!|>%@`~?<\\\n", max_size=8)
DOCUMENTS = st.recursive(
    TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def by_pyyaml(text: str) -> Any:
    """Return a document with every scalar as text and nothing for an empty one, as our reader has it."""
    return _with_nothing(yaml.load(text, Loader=yaml.BaseLoader))


def _with_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nothing(inner) for name, inner in value.items()}
    return [_with_nothing(inner) for inner in value] if isinstance(value, list) else value or None


def same(text: str) -> bool:
    try:
        found = parse_block_yaml(text)
    except ValueError:
        return False
    assert _with_nothing(found) == by_pyyaml(text)
    return True


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_specs_are_read_as_yaml_reads_them(path: Any) -> None:
    assert same(path.read_text(encoding="utf-8"))


@given(DOCUMENTS, st.booleans())
def test_what_is_read_is_never_misread(document: Any, in_order: bool) -> None:
    same(yaml.safe_dump(document, default_flow_style=False, sort_keys=in_order, width=1000))


@given(st.text(alphabet="ab: -#'\"[]{},&*!|>\n\\~?", max_size=40))
def test_no_text_is_misread(text: str) -> None:
    try:
        expected = by_pyyaml(text)
    except yaml.YAMLError:
        return
    try:
        found = parse_block_yaml(text)
    except ValueError:
        return
    assert _with_nothing(found) == expected


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_block_yaml(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n- b\n- c\nd: e\n", {"a": ["b", "c"], "d": "e"}),
        ("a:\n    - b: 1\n      c: 2\n    - d\n", {"a": [{"b": "1", "c": "2"}, "d"]}),
        ("- - a\n  - b\n- c\n", [["a", "b"], "c"]),
        ("a: [ro, 'no suid', \"x\"]  # options\nb: []\nc: {}\n", {"a": ["ro", "no suid", "x"], "b": [], "c": {}}),
        ("---\n# first\na: --link=b::c/d # last\n", {"a": "--link=b::c/d"}),
        ('a: \'it\'\'s\'\n"b": "\\""\n', {"a": "it's", "b": '"'}),
        ("a:\nb:\n", {"a": None, "b": None}),
        ("", None),
    ],
    ids=["flush", "indented", "nested", "in brackets", "comments", "quoted", "without values", "nothing"],
)
def test_forms(text: str, expected: Any) -> None:
    assert same(text)
    assert parse_block_yaml(text) == expected


BEYOND = "its value is more than is understood here"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("a: &b c", f"line 1 ('a: &b c'): {BEYOND}"),
        ("a: |\n  b", f"line 1 ('a: |'): {BEYOND}"),
        ("a: {b: c}", f"line 1 ('a: {{b: c}}'): {BEYOND}"),
        ("a: [b, [c]]", f"line 1 ('a: [b, [c]]'): {BEYOND}"),
        ("a: [b,, c]", "line 1 ('a: [b,, c]'): only flat lists of plain texts are understood in brackets"),
        ("a: b: c", f"line 1 ('a: b: c'): {BEYOND}"),
        ("a: b\n  c", "line 2 ('c'): it is not indented as the lines before it"),
        ("a: 'b", f"line 1 (\"a: 'b\"): {BEYOND}"),
        ("a: 'b' c", f"line 1 (\"a: 'b' c\"): {BEYOND}"),
        ("a: b\nc", "line 2 ('c'): it is no key with a value"),
        ("a:\n\t- b", "line 2 ('\\t- b'): it has a tab or other characters that are not understood here"),
        ("a: b\n---\nc: d", "line 2 ('---'): only one document is understood here"),
    ],
    ids=[
        "anchor", "block text", "mapping in braces", "nested brackets", "nothing between commas", "two colons",
        "folded", "open quote", "after a quote", "no key", "tab", "two documents",
    ],
)  # fmt: skip
def test_what_is_beyond_it_is_refused(text: str, cause: str) -> None:
    with pytest.raises(ValueError, match=r"^line ") as caught:
        parse_block_yaml(text)
    assert str(caught.value) == cause
