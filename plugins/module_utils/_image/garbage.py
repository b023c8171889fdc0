# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images can go: a decision without I/O, each with its reason."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .._errors import PlatformError
from .._version import check_format
from .base import BASE_NAME
from .images import Image


@dataclass(frozen=True)
class Needs:
    """What keeps images. Each maps a reference or an image id to the words that name who needs it."""

    releases: Mapping[str, str]
    containers: Mapping[str, str]
    current: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """What becomes of one image, and why."""

    image: Image
    action: Literal["remove", "keep"]
    reason: str

    @property
    def title(self) -> str:
        """The reference under its own name, if it has one; an untagged image goes by its id."""
        own = own_references(self.image)
        return min(own or self.image.references, key=len, default=self.image.id)

    def as_result(self) -> dict[str, str]:
        """Return the verdict as the module's result shows it."""
        return {"action": self.action, "image": self.title, "reason": self.reason}


def decide(
    images: Sequence[Image], *, directory: str, needs: Needs, keep: int, name: str | None = None
) -> tuple[Verdict, ...]:
    """Return a verdict on each image that the site of ``directory`` made, then on each base that it made.

    :param images: every image of the engine that carries our name label; other sites' images need bases too.
    :param keep: how many images of a name stay: the current one, then those that were tagged last.
    :param name: only images of that name are looked at; bases always are.
    """
    own = [image for image in images if image.directory == directory]
    looked_at = [image for image in own if image.name != BASE_NAME and name in (None, image.name)]
    verdicts = [verdict for group in _by_name(looked_at) for verdict in _decide_name(group, needs, keep)]
    removed = {verdict.image.id for verdict in verdicts if verdict.action == "remove"}
    remaining = [image for image in images if image.id not in removed]
    bases = [image for image in own if image.name == BASE_NAME]
    verdicts += [_decide_base(base, remaining, needs) for base in sorted(bases, key=lambda image: image.references)]
    return tuple(verdicts)


def own_references(image: Image) -> tuple[str, ...]:
    """Return the tags that we gave: under the image's own name, here or at a registry that it was pushed to."""
    return tuple(reference for reference in image.references if _is_own(reference, image.name))


def _is_own(reference: str, name: str) -> bool:
    repository = reference.rpartition(":")[0]
    return repository == name or repository.endswith(f"/{name}")


def _by_name(images: Sequence[Image]) -> Iterator[list[Image]]:
    for name in sorted({image.name for image in images}):
        yield [image for image in images if image.name == name]


def _decide_name(group: Sequence[Image], needs: Needs, keep: int) -> Iterator[Verdict]:
    tagged = [image for image in group if image.references]
    current_first = sorted(
        tagged, key=lambda image: (_is_current(image, needs), image.tagged_ns, image.id), reverse=True
    )
    for place, image in enumerate(current_first):
        reason = _reason_to_keep(image, needs)
        if reason is None and place < keep:
            reason = f"one of the {keep} newest of its name"
        yield Verdict(image, "keep", reason) if reason else Verdict(image, "remove", "no kept release needs it")
    for image in group:
        if not image.references:
            user = needs.containers.get(image.id)
            yield (
                Verdict(image, "keep", f"used by {user}")
                if user
                else Verdict(image, "remove", "left by an interrupted build")
            )


def _is_current(image: Image, needs: Needs) -> bool:
    return any(reference in needs.current for reference in image.references)


def _reason_to_keep(image: Image, needs: Needs) -> str | None:
    if _is_current(image, needs):
        return "the current one of its name"
    if image.id in needs.containers:
        return f"used by {needs.containers[image.id]}"
    for key in (image.id, *image.references):
        if key in needs.releases:
            return f"needed by {needs.releases[key]}"
    foreign = [reference for reference in image.references if not _is_own(reference, image.name)]
    return f"also tagged {foreign[0]}" if foreign else None


def _decide_base(base: Image, remaining: Sequence[Image], needs: Needs) -> Verdict:
    if base.id in needs.containers:
        return Verdict(base, "keep", f"used by {needs.containers[base.id]}")
    users = sorted(image.name for image in remaining if image.base in base.references)
    if users:
        return Verdict(base, "keep", f"base of {users[0]}")
    return Verdict(base, "remove", "no image that is left starts from it")


def read_release_needs(directory: str) -> dict[str, str]:
    """Map every image reference and id in the site's kept releases to 'release PROJECT NUMBER'.

    :raises PlatformError: a release cannot be read; then nothing is removed, as it might be needed.
    """
    needs: dict[str, str] = {}
    folder = f"{directory}/releases"
    for project in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        for number in sorted(os.listdir(f"{folder}/{project}")):
            path = f"{folder}/{project}/{number}/release.json"
            # A folder without the file is an apply that never ended well; it names no images.
            if os.path.isfile(path):
                needs.update((image, f"release {project} {number}") for image in _read_release(path))
    return needs


def _read_release(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as stream:
            release = json.load(stream)
        if "format" in release:
            check_format(release["format"], path)
        for service in release["services"].values():
            yield from filter(None, (service.get("image"), service.get("image_id")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise PlatformError(
            f"Cannot prune images: the release {path} cannot be read, and an image that it needs might go; "
            "restore it from a backup, or remove its folder if that release is not wanted."
        ) from None
