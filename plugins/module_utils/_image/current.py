# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of a site's current images need no task any more. All of them are one question to the engine."""

from __future__ import annotations

from .._compose.engine import Engine, EngineError
from .images import INPUTS_LABEL, NAME_LABEL, list_images
from .inputs import tag_of
from .record import read_current


def find_current(engine: Engine, directory: str) -> list[str]:
    """Return the references of the site's current images that are there, each built from the inputs of its tag.

    Where no engine answers there is none.
    """
    recorded = read_current(directory)
    try:
        images = list_images(engine, NAME_LABEL, INPUTS_LABEL) if recorded else ()
    except EngineError:
        return []
    built = {(f"{image.name}:{tag_of(image.labels[INPUTS_LABEL])}", image.references) for image in images}
    return sorted(reference for reference, tags in built if reference in tags and reference in recorded)
