# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""YAML as generators of CDI specs write it, read with the standard library: hosts have no other.

Blocks of mappings and sequences, plain and quoted scalars, flat lists in brackets, all of it ASCII. Every scalar is
text. What is beyond that is refused, so that nothing is ever misread.
"""

from __future__ import annotations

import re
from typing import TypeAlias

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
#: Number, indentation and text of a line.
_Line = tuple[int, int, str]

_DOUBLE = r'"(?:[^"\\]|\\["\\])*"'
_SINGLE = r"'(?:[^']|'')*'"
_REST = r"\s*(?:\s#.*)?"
_KEY = re.compile(rf"({_DOUBLE}|{_SINGLE}|[A-Za-z_][\w./-]*):(?:\s+(.*))?")
_ITEM = re.compile(r"-(?:\s+|$)")
_QUOTED = re.compile(rf"({_DOUBLE}|{_SINGLE}){_REST}")
# No more than what means itself wherever it stands.
_PLAIN = re.compile(rf"((?!-\s|-$)[\w./(+-](?:[\w./()+=%@~,;-]|:(?=[^\s])|\s(?=[^\s#]))*){_REST}")
_LIST = re.compile(rf"\[([^\[\]{{}}#]*)\]{_REST}")
_LISTED = re.compile(r"[\w./][\w./-]*|'[^',]*'|\"[^\",\\]*\"")
_EMPTY_MAPPING = re.compile(rf"\{{\s*\}}{_REST}")
_UNREADABLE = re.compile(r"[^\x20-\x7e]")


def parse_block_yaml(text: str) -> Value:
    """Return the one document that ``text`` is.

    :raises ValueError: it is no YAML, or more than this reader understands; the message names the line.
    """
    lines = _read_lines(text)
    if not lines:
        return None
    value, rest = _parse(lines, 0)
    if rest < len(lines):
        raise _refusal(lines[rest], "it is not indented as the lines before it")
    return value


def _read_lines(text: str) -> list[_Line]:
    lines: list[_Line] = []
    is_started = False
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip(" ")
        if not stripped or stripped.startswith("#"):
            continue
        found = (number, len(line) - len(line.lstrip(" ")), stripped)
        if _UNREADABLE.search(line):
            raise _refusal(found, "it has a tab or other characters that are not understood here")
        # One document alone, whose beginning may be marked.
        if line.startswith(("---", "...", "%")):
            if line.rstrip() != "---" or lines or is_started:
                raise _refusal(found, "only one document is understood here")
            is_started = True
            continue
        lines.append(found)
    return lines


def _parse(lines: list[_Line], at: int) -> tuple[Value, int]:
    _number, indent, text = lines[at]
    if _ITEM.match(text):
        return _parse_sequence(lines, at, indent)
    if _KEY.fullmatch(text):
        return _parse_mapping(lines, at, indent)
    return _parse_scalar(lines[at], text), at + 1


def _parse_sequence(lines: list[_Line], at: int, indent: int) -> tuple[Value, int]:
    items: list[Value] = []
    while at < len(lines) and lines[at][1] == indent and (dash := _ITEM.match(lines[at][2])):
        number, _between, text = lines[at]
        if dash.end() == len(text) or text[dash.end()] == "#":
            item, at = _parse_nested(lines, at + 1, indent)
        else:
            # What follows the dash is a block of its own, indented to where it starts.
            lines[at] = (number, indent + dash.end(), text[dash.end() :])
            item, at = _parse(lines, at)
        items.append(item)
    return items, at


def _parse_mapping(lines: list[_Line], at: int, indent: int) -> tuple[Value, int]:
    found: dict[str, Value] = {}
    while at < len(lines) and lines[at][1] == indent and not _ITEM.match(lines[at][2]):
        line = lines[at]
        key = _KEY.fullmatch(line[2])
        if key is None:
            raise _refusal(line, "it is no key with a value")
        name = _unquote(key[1])
        if key[2] and not key[2].startswith("#"):
            found[name], at = _parse_scalar(line, key[2]), at + 1
        else:
            found[name], at = _parse_nested(lines, at + 1, indent, is_of_key=True)
    return found, at


def _parse_nested(lines: list[_Line], at: int, indent: int, *, is_of_key: bool = False) -> tuple[Value, int]:
    """Return the block below a key or a dash. The sequence of a key may stand as far left as the key itself."""
    if at == len(lines):
        return None, at
    is_flush = is_of_key and lines[at][1] == indent and _ITEM.match(lines[at][2])
    if lines[at][1] > indent or is_flush:
        return _parse(lines, at)
    return None, at


def _parse_scalar(line: _Line, text: str) -> Value:
    if _EMPTY_MAPPING.fullmatch(text):
        return {}
    if found := _LIST.fullmatch(text):
        return _parse_list(line, found[1].strip())
    if found := _QUOTED.fullmatch(text) or _PLAIN.fullmatch(text):
        return _unquote(found[1].strip())
    raise _refusal(line, "its value is more than is understood here")


def _parse_list(line: _Line, inner: str) -> Value:
    parts = [part.strip() for part in inner.split(",")] if inner else []
    if not all(_LISTED.fullmatch(part) for part in parts):
        raise _refusal(line, "only flat lists of plain texts are understood in brackets")
    return [_unquote(part) for part in parts]


def _unquote(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _refusal(line: _Line, cause: str) -> ValueError:
    return ValueError(f"line {line[0]} ({line[2][:60]!r}): {cause}")
