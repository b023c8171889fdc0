# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes an image what it is, as one digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from .._errors import PlatformError
from .._secrets.references import PREFIX

#: Number of the recipe scheme. Raised when the same recipe would be built differently, so that all tags move.
RECIPE_FORMAT = 1

#: 64 bits: enough to tell recipes apart, short enough to read. The label holds the whole digest.
TAG_LENGTH = 16


def digest_of(inputs: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hex, of ``inputs`` written in one canonical way."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def tag_of(digest: str) -> str:
    """Return the image tag for an inputs' digest."""
    return digest[:TAG_LENGTH]


def refuse_secrets(text: str, *, where: str) -> None:
    """Refuse a secret reference: what a build reads stays in the image's layers.

    :raises PlatformError: ``text`` holds one; names it by place, not by content.
    """
    if PREFIX in text:
        raise PlatformError(
            f"Cannot build an image: {where} holds a secret reference, and whatever a build reads can be read from the "
            "image; give the secret to the running service as a file instead."
        )


def compare_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs between two recipes' inputs, as 'file run.sh', 'new file x', 'argument VERSION', 'base'."""
    changes = [*_compare(old.get("files", {}), new["files"], "file")]
    changes += _compare(old.get("arguments", {}), new["arguments"], "argument")
    if old.get("base") != new["base"]:
        changes.append("base")
    if old.get("format") != new["format"]:
        changes.append("format of the recipe scheme")
    return tuple(changes)


def _compare(old: Mapping[str, Any], new: Mapping[str, Any], noun: str) -> list[str]:
    changes = []
    for name in sorted({*old, *new}):
        if name not in old:
            changes.append(f"new {noun} {name}")
        elif name not in new:
            changes.append(f"removed {noun} {name}")
        elif old[name] != new[name]:
            changes.append(f"{noun} {name}")
    return changes
