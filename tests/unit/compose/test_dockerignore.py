# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``.dockerignore`` by the rules of Docker: https://docs.docker.com/build/concepts/context/#dockerignore-files."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.dockerignore import parse_dockerignore

CASES: list[tuple[str, list[str], list[str]]] = [
    ("", [], ["a", "a/b"]),
    ("# a\n\n  \na", ["a", "a/b", "a/b/c"], ["b", "b/a", "# a", "ab"]),
    ("a\r\nb\r\n", ["a", "b"], ["c"]),
    ("\ufeffa", ["a"], ["b"]),
    ("  a  ", ["a"], ["  a  "]),
    ("/a", ["a"], ["b/a"]),
    ("./a/", ["a", "a/b"], ["b/a"]),
    ("../a/../b", ["b"], ["a"]),
    (".", [], ["a"]),
    ("*", ["a", "a/b", ".a"], []),
    ("*.md", ["a.md", ".md"], ["a.mdx", "b/a.md", "amd"]),
    ("*/temp*", ["a/temp", "a/tempo/b"], ["temp", "a/b/temp"]),
    ("temp?", ["tempa"], ["temp", "tempab", "temp/"]),
    ("[a-c].txt", ["a.txt", "c.txt"], ["d.txt", "ab.txt"]),
    ("[^a].txt", ["b.txt"], ["a.txt"]),
    ("a\\*b", ["a*b"], ["axb"]),
    ("**/a", ["a", "b/a", "b/c/a", "b/a/c"], ["ba"]),
    ("**/*.go", ["a.go", "b/c/a.go"], ["a.god"]),
    ("**", ["a", "a/b"], []),
    ("a/**", ["a/b", "a/b/c"], ["a", "ab"]),
    ("a/**/b", ["a/b", "a/c/b", "a/c/d/b"], ["a/cb", "b"]),
    ("a+(b).c", ["a+(b).c"], ["aab.c"]),
    ("*.md\n!README.md", ["a.md"], ["README.md"]),
    ("*.md\n!README*.md\nREADME-secret.md", ["README-secret.md", "a.md"], ["README.md"]),
    ("!README.md\n*.md", ["README.md"], []),
    ("a\n!a/b\n! c", ["a/c"], ["a/b", "a/b/d"]),
    ("!", [], ["a", "!"]),
    ("[", [], ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "ignored", "seen"), CASES)
def test_what_is_ignored(text: str, ignored: list[str], seen: list[str]) -> None:
    rules = parse_dockerignore(text)
    assert [path for path in ignored + seen if rules.is_ignored(path)] == ignored


@pytest.mark.parametrize(("text", "skipped"), [("a", True), ("b", False), ("a\n!a/b", False), ("a\n!c", False)])
def test_a_folder_that_need_not_be_read(text: str, skipped: bool) -> None:
    assert parse_dockerignore(text).ignores_folder("a") == skipped
