# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done so that an image is there, and why; pure, so that check mode cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._errors import PlatformError
from .images import INPUTS_LABEL, Image
from .inputs import compare_inputs
from .recipe import Recipe
from .record import Record


@dataclass(frozen=True)
class Step:
    """One thing to do to one image, by its reference."""

    action: Literal["build", "record", "push", "none"]
    image: str
    reason: str

    def as_result(self) -> dict[str, str]:
        """Return the step as the module's result shows it."""
        return {"action": self.action, "image": self.image, "reason": self.reason}


@dataclass(frozen=True)
class Observed:
    """What is there of a recipe's image."""

    image: Image | None
    base: Image | None
    """Looked for only where ``image`` is not there."""
    record: Record | None
    is_pushed: bool | None
    """None where no registry was named."""


def make_plan(recipe: Recipe, observed: Observed, *, pushed_reference: str) -> tuple[Step, ...]:
    """Return the steps in their order; one ``none`` where all is as it should be.

    :raises PlatformError: the tag belongs to somebody else's image.
    """
    steps = []
    if observed.image is None:
        if observed.base is None:
            steps.append(Step("build", recipe.base.reference, "not built yet"))
        steps.append(Step("build", recipe.reference, build_reason(recipe, observed.record)))
    else:
        refuse_foreign(observed.image, reference=recipe.reference, digest=recipe.digest)
        if observed.record is None or observed.record.reference != recipe.reference:
            steps.append(Step("record", recipe.reference, "built before, not the current one"))
    if observed.is_pushed is False:
        steps.append(Step("push", pushed_reference, "not at the registry"))
    return tuple(steps) or (Step("none", recipe.reference, "built from the same inputs"),)


def build_reason(recipe: Recipe, record: Record | None) -> str:
    """Return why an image that is not there has to be built."""
    if record is None:
        return "not built yet"
    changes = compare_inputs(record.inputs, recipe.inputs)
    if not changes:
        return "the image is gone"
    return f"inputs changed since {record.reference}: {', '.join(changes)}"


def refuse_foreign(image: Image, *, reference: str, digest: str) -> None:
    """Refuse an image under our tag that was not built from the inputs of that ``digest``.

    :raises PlatformError: it is another one.
    """
    found = image.labels.get(INPUTS_LABEL)
    if found != digest:
        what = "carries no label of ours" if found is None else f"was built from other inputs ({found})"
        raise PlatformError(
            f"Cannot use image {reference}: the image under that tag {what}; remove the tag (docker rmi {reference})."
        )


def is_changing(steps: tuple[Step, ...]) -> bool:
    """Tell whether carrying out ``steps`` changes something."""
    return any(step.action != "none" for step in steps)


def describe_inputs(reference: str, inputs: object) -> str:
    """Return a recipe's inputs as lines, for a diff."""
    lines = [f"image {reference}"]
    if isinstance(inputs, dict):
        lines += [f"base {inputs.get('base')}"]
        lines += [f"file {path} {mark}" for path, mark in sorted(inputs.get("files", {}).items())]
        lines += [f"argument {name} {mark}" for name, mark in sorted(inputs.get("arguments", {}).items())]
    return "\n".join(lines) + "\n"
