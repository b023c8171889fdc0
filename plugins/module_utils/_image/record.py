# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which image of a name is the current one, and what it was made of: one small file per name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._compose.site import parse_json_object, write_json
from .._errors import PlatformError
from .._files import ensure_directory, read_state
from .._version import STATE_FORMAT, check_format


@dataclass(frozen=True)
class Record:
    """The current image of a name, and its inputs, for the reasons of the next plan."""

    reference: str
    inputs: Mapping[str, Any]


def slug_of(name: str) -> str:
    """Return an image's name as a file name; a slash, which no name has twice in a row, becomes two underscores."""
    return name.replace("/", "__")


def record_path(directory: str, name: str) -> str:
    """Return the path of a name's record."""
    return f"{directory}/state/images/{slug_of(name)}.json"


def read_record(directory: str, name: str) -> Record | None:
    """Return the record of ``name``; None before its first build.

    :raises PlatformError: it is damaged, or newer code wrote it.
    """
    path = record_path(directory, name)
    found = read_state(path)
    return None if found is None else _parse_record(found.content, path)


def read_current(directory: str) -> frozenset[str]:
    """Return the references of all current images of the site."""
    folder = f"{directory}/state/images"
    names = [name for name in os.listdir(folder) if name.endswith(".json")] if os.path.isdir(folder) else []
    records = ((path, read_state(path)) for path in (f"{folder}/{name}" for name in names))
    return frozenset(_parse_record(found.content, path).reference for path, found in records if found is not None)


def write_record(directory: str, name: str, record: Record) -> None:
    """Make ``record`` the current one of ``name``; the caller holds the name's lock."""
    ensure_directory(f"{directory}/state/images", mode=0o700)
    content = {"format": STATE_FORMAT, "image": record.reference, "inputs": record.inputs}
    write_json(record_path(directory, name), content)


def _parse_record(content: bytes, path: str) -> Record:
    data = parse_json_object(content, path)
    check_format(data.get("format"), path)
    if not isinstance(data.get("image"), str) or not isinstance(data.get("inputs"), dict):
        raise PlatformError(
            f"Cannot read {path}: it has no image or no inputs; remove it, the next run writes it again."
        )
    return Record(data["image"], data["inputs"])
