# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of error messages quotes what the code says, and leaves out nothing that a first deployment meets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from support.tree import ROOT, python_files, tracked_files

PAGE = ROOT / "docs" / "troubleshooting.md"
#: What stands for a found value, on the page and here.
FOUND = "…"
#: So much of a quoted message must be words of the code's own text; the rest was put together from others.
LEAST_SHARE = 0.5
#: Files all of whose errors a first deployment may meet.
WHOLE = ("_docker_host/plan", "_site/decisions", "_site/names", "_site/preflight", "_site/preflight_answer")


def texts_of_code(path: Path) -> Iterator[str]:
    """Yield the texts of a file, found values replaced; parts of a longer one are not yielded on their own."""
    parts: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts.update(id(inner) for inner in ast.walk(node) if inner is not node)
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else FOUND for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def all_texts() -> list[str]:
    found = [text for path in python_files("plugins") for text in texts_of_code(path)]
    for path in tracked_files("roles/*/meta/needs.yml"):
        found += [re.sub(r"\{\{.*?\}\}", FOUND, text) for text in path.read_text(encoding="utf-8").split("because:")]
    return sorted({in_one_form(" ".join(text.split())) for text in found})


def in_one_form(text: str) -> str:
    """Return a text without the host before it, and with found values that follow each other as one."""
    return re.sub(r"(… ?)+", FOUND, re.sub(r"^…: (?=Cannot )", "", text))


TEXTS = all_texts()


def quoted() -> list[str]:
    """Return the messages of the page: code spans of several words that are no command."""
    page = re.sub(r"^    .*$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", page)]
    return [span for span in spans if re.match(r"(Cannot|unforeseen|Release …|There is|it |its |these )", span)]


@cache
def own_words(code: str) -> tuple[int, re.Pattern[str]]:
    """Return how much of a text is the code's own, and what it can become."""
    pattern = ".*".join(map(re.escape, code.rstrip().split(FOUND)))
    return len(code.replace(FOUND, "")), re.compile(pattern)


def says(code: str, message: str) -> bool:
    """Whether the code's text can become the message, and is most of it."""
    length, pattern = own_words(code)
    if length < LEAST_SHARE * len(message.replace(FOUND, "")):
        return False
    # A sentence that the code goes on with in more than one way ends with what is found.
    return any(pattern.fullmatch(said) for said in (message, message.removesuffix(f" {FOUND}")))


@pytest.mark.parametrize("message", quoted())
def test_the_code_says_what_the_page_quotes(message: str) -> None:
    assert any(says(text, in_one_form(message)) for text in TEXTS), "no text of the code is like this; correct the page"


def test_the_page_quotes_many() -> None:
    assert len(quoted()) > 60


@pytest.mark.parametrize("name", WHOLE)
def test_the_page_has_every_error_of_a_first_deployment(name: str) -> None:
    path = ROOT / "plugins" / "module_utils" / f"{name}.py"
    errors = [text for text in texts_of_code(path) if re.match(r"(…: )?Cannot .*[:;]", text)]
    assert errors, f"{name} has no error: this test would prove nothing"
    told = [in_one_form(message) for message in quoted()]
    missing = [text for text in errors if not any(says(in_one_form(text), entry) for entry in told)]
    assert not missing, f"docs/troubleshooting.md does not tell {missing}"


@pytest.mark.parametrize(
    ("code", "message", "fits"),
    [
        ("Cannot use …: it is …; correct it.", "Cannot use …: it is …; correct it.", True),
        ("…: this host finds no address; make one.", "Cannot get …: this host finds no address; make one.", True),
        ("Cannot use …: it is …; correct it.", "Cannot use …: it was …; correct it.", False),
        ("Cannot …: …", "Cannot read the whole of …: it is too long for a page of this size; shorten it.", False),
    ],
    ids=["the same", "put together", "another word", "a text that fits everything"],
)
def test_a_message_is_known_by_its_own_words(code: str, message: str, fits: bool) -> None:
    assert says(code, message) is fits
