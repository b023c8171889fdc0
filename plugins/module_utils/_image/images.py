# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images of the engine that this collection made, as values."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .._compose.engine import Engine, EngineError

#: On every image: repository part of its tag, and the whole digest of its inputs.
NAME_LABEL = "modelyard.image.name"
INPUTS_LABEL = "modelyard.image.inputs"
#: The folder of the site that built it; only that site removes it.
DIRECTORY_LABEL = "modelyard.directory"
#: On an image that is no base: its base's reference.
BASE_LABEL = "modelyard.image.base"
#: On the containers that try a new image.
SMOKE_LABEL = "modelyard.image.smoke"

_TIME = re.compile(
    r"(?P<seconds>[0-9T:-]{19})(?:\.(?P<fraction>\d{1,9}))?(?:Z|(?P<sign>[+-])(?P<hours>\d\d):(?P<minutes>\d\d))"
)

# Removing the layers of a large image takes a slow disk minutes.
REMOVAL_SECONDS = 900.0


@dataclass(frozen=True)
class Image:
    """One image with our labels."""

    id: str
    references: tuple[str, ...]
    labels: Mapping[str, str]
    tagged_ns: int = 0
    """When it got its last tag, in Unix nanoseconds; 0 where that was not asked for."""

    @property
    def name(self) -> str:
        return self.labels.get(NAME_LABEL, "")

    @property
    def base(self) -> str | None:
        return self.labels.get(BASE_LABEL)

    @property
    def directory(self) -> str | None:
        return self.labels.get(DIRECTORY_LABEL)


def find_image(engine: Engine, reference: str) -> Image | None:
    """Return the image under ``reference`` (one GET); None where there is none."""
    try:
        found = engine.get(f"/images/{quote(reference)}/json")
    except EngineError as error:
        if error.status == 404:
            return None
        raise
    labels = (found.get("Config") or {}).get("Labels") or {}
    return Image(found["Id"], _references(found), labels, parse_time((found.get("Metadata") or {}).get("LastTagTime")))


def list_images(engine: Engine, *labels: str, dangling: bool | None = None) -> tuple[Image, ...]:
    """Return the images that carry all ``labels`` (``name`` or ``name=value``)."""
    filters: dict[str, Sequence[str]] = {"label": list(labels)}
    if dangling is not None:
        filters["dangling"] = [str(dangling).lower()]
    return tuple(
        Image(found["Id"], _references(found), found.get("Labels") or {})
        for found in engine.get("/images/json", {"filters": filters})
    )


def remove_image(engine: Engine, reference: str) -> bool:
    """Remove a tag, and the image with its last tag; False where a container still uses it. Gone is fine."""
    try:
        engine.request("DELETE", f"/images/{quote(reference)}", timeout_seconds=REMOVAL_SECONDS)
    except EngineError as error:
        if error.status == 409:
            return False
        if error.status != 404:
            raise
    return True


def remove_untagged(engine: Engine, image_id: str) -> None:
    """Remove an image by its id, but only while it has no tag: removing by id takes the only tag with it."""
    found = find_image(engine, image_id)
    if found is not None and not found.references:
        remove_image(engine, image_id)


def parse_time(text: str | None) -> int:
    """Return the engine's time stamp (RFC 3339, up to nine digits of a second) as Unix nanoseconds; 0 for none.

    Not ``datetime``: before Python 3.11 it reads neither the ``Z`` nor nine digits.
    """
    found = _TIME.fullmatch(text or "")
    if found is None:
        return 0
    seconds = calendar.timegm(time.strptime(found["seconds"], "%Y-%m-%dT%H:%M:%S"))
    if found["sign"]:
        offset = int(found["hours"]) * 3600 + int(found["minutes"]) * 60
        seconds -= offset if found["sign"] == "+" else -offset
    return seconds * 10**9 + int((found["fraction"] or "").ljust(9, "0"))


def _references(found: Mapping[str, Any]) -> tuple[str, ...]:
    # Engines before 25 write an untagged image's tag as <none>:<none>.
    return tuple(tag for tag in found.get("RepoTags") or () if tag != "<none>:<none>")
