# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removing the images that no kept release needs: what is looked at, and the removal."""

from __future__ import annotations

from dataclasses import replace

from .._compose.engine import Engine
from .build import Workshop
from .garbage import Needs, Verdict, decide, own_references, read_release_needs
from .images import NAME_LABEL, Image, find_image, list_images
from .record import read_current


def read_needs(engine: Engine, directory: str) -> Needs:
    """Return all that keeps images: kept releases, containers in any state, current images."""
    containers = {}
    for found in engine.get("/containers/json", {"all": "1"}):
        name = (found.get("Names") or [found["Id"]])[0].lstrip("/")
        containers[found["ImageID"]] = f"container {name}"
    return Needs(read_release_needs(directory), containers, read_current(directory))


def observe(engine: Engine, directory: str, *, keep: int, name: str | None) -> tuple[Verdict, ...]:
    """Return what would become of each of the site's images and bases; only GETs, nothing is written."""
    listed = list_images(engine, NAME_LABEL)
    # The list tells when an image was made, and not when it was tagged: a build from the cache is as old as the cache.
    images = [_look_closer(engine, image) if image.directory == directory else image for image in listed]
    return decide(images, directory=directory, needs=read_needs(engine, directory), keep=keep, name=name)


def _look_closer(engine: Engine, image: Image) -> Image:
    return find_image(engine, image.id) or image


def prune(workshop: Workshop, *, keep: int, name: str | None, wait_seconds: int) -> tuple[Verdict, ...]:
    """Remove what :func:`observe` says; return the verdicts, as it went.

    A container that was started meanwhile keeps its image.
    """
    done = []
    for verdict in observe(workshop.engine, workshop.directory, keep=keep, name=name):
        if verdict.action == "remove" and not _remove(workshop, verdict, wait_seconds):
            verdict = replace(verdict, action="keep", reason="used by a container that was made just now")  # noqa: PLW2901
        done.append(verdict)
    return tuple(done)


def _remove(workshop: Workshop, verdict: Verdict, wait_seconds: int) -> bool:
    image = verdict.image
    references = own_references(image) or (image.id,)
    return workshop.remove(references, name=image.name, wait_seconds=wait_seconds)
