# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that a page tells its reader to write, as a reader would write them."""

from __future__ import annotations

import re
from pathlib import Path

from support.tree import ROOT


def page_files(page: str) -> dict[str, str]:
    """Return path to content of a page's files: a block below a paragraph that begins with the path of the file."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"^`([^`\s]+/[^`\s]+)`(?:.|\n(?!\n))*\n\n```\w+\n((?:.*\n)*?)```$", text, re.MULTILINE)
    return dict(found)


def write_page_files(page: str, folder: Path) -> None:
    """Write them below a folder."""
    for name, content in page_files(page).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
