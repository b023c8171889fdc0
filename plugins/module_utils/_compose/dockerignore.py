# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which files of a build context ``.dockerignore`` keeps from the builder, by the documented rules of Docker."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<deep>\*\*/?)|(?P<star>\*)|(?P<one>\?)|(?P<set>\[\^?\]?[^\]]*\])|\\(?P<escaped>.)|(?P<plain>.)"
)


@dataclass(frozen=True)
class _Rule:
    pattern: re.Pattern[str]
    ignores: bool


@dataclass(frozen=True)
class IgnoreRules:
    """The rules of one file; the last one that fits decides."""

    rules: tuple[_Rule, ...]

    def is_ignored(self, path: str) -> bool:
        """Tell whether the builder never sees ``path``, which is relative to the context.

        A rule that fits a folder fits all that is below.
        """
        parts = posixpath.normpath(path).split("/")
        candidates = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        for rule in reversed(self.rules):
            if any(rule.pattern.fullmatch(candidate) for candidate in candidates):
                return rule.ignores
        return False

    def ignores_folder(self, path: str) -> bool:
        """Tell whether nothing below the folder ``path`` can be seen: an exception may lead back into it."""
        return all(rule.ignores for rule in self.rules) and self.is_ignored(path)


def parse_dockerignore(text: str) -> IgnoreRules:
    """Return the rules in ``text``; a pattern that is none fits nothing, as the builder will say itself."""
    rules = (_parse_line(line) for line in text.removeprefix("\ufeff").splitlines())
    return IgnoreRules(tuple(rule for rule in rules if rule is not None))


def _parse_line(line: str) -> _Rule | None:
    pattern = "" if line.startswith("#") else line.strip()
    ignores = not pattern.startswith("!")
    pattern = pattern.removeprefix("!").strip()
    if not pattern:
        return None
    # The context is the root of every pattern, and nothing is above it.
    pattern = posixpath.normpath(f"/{pattern}").lstrip("/")
    try:
        return _Rule(re.compile(_to_regex(pattern), re.DOTALL), ignores) if pattern else None
    except re.error:
        return None


def _to_regex(pattern: str) -> str:
    return "".join(_translate(token, is_last=token.end() == len(pattern)) for token in _TOKEN.finditer(pattern))


def _translate(token: re.Match[str], *, is_last: bool) -> str:
    kind = token.lastgroup
    if kind == "deep":
        return ".*" if is_last else "(?:.*/)?"
    if kind == "star":
        return "[^/]*"
    if kind == "one":
        return "[^/]"
    if kind == "set":
        return token[0]
    return re.escape(token[kind or 0])
