# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows as columns for a terminal of 80 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 80


def render_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as columns, each as wide as its widest cell; the last one is wrapped at 80 columns."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    indent = sum(widths) + 2 * len(widths)
    lines = []
    for row in rows:
        head = "".join(cell.ljust(width + 2) for cell, width in zip(row[:-1], widths, strict=True))
        lines.append(wrap(row[-1], head, " " * indent))
    return "\n".join(lines) + "\n"


def wrap(text: str, head: str, indent: str) -> str:
    """Return a text after ``head``, in lines of which all but the first begin with ``indent``."""
    if len(head) + len(text) <= WIDTH or WIDTH - len(indent) < 20:
        return (head + text).rstrip()
    return textwrap.fill(
        text, WIDTH, initial_indent=head, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
