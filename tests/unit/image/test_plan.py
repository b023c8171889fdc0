# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done for an image, and why."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.images import INPUTS_LABEL, Image
from ansible_collections.modelyard.platform.plugins.module_utils._image.plan import (
    Observed,
    describe_inputs,
    is_changing,
    make_plan,
)
from ansible_collections.modelyard.platform.plugins.module_utils._image.record import Record

from .image_examples import DOCKERFILE, make_recipe

RECIPE = make_recipe()
OLD = make_recipe(files={"Dockerfile": DOCKERFILE, "run.sh": "#!/bin/sh\nold\n"})
IMAGE = Image("sha256:1", (RECIPE.reference,), {INPUTS_LABEL: RECIPE.digest})
BASE = Image("sha256:2", (RECIPE.base.reference,), {INPUTS_LABEL: RECIPE.base.digest})
CURRENT = Record(RECIPE.reference, RECIPE.inputs)
PREVIOUS = Record(OLD.reference, OLD.inputs)
PUSHED = f"registry.test/{RECIPE.reference}"


@pytest.mark.parametrize(
    ("observed", "steps"),
    [
        (
            Observed(None, None, None, None),
            [("build", RECIPE.base.reference, "not built yet"), ("build", RECIPE.reference, "not built yet")],
        ),
        (Observed(None, BASE, None, None), [("build", RECIPE.reference, "not built yet")]),
        (
            Observed(None, BASE, PREVIOUS, None),
            [("build", RECIPE.reference, f"inputs changed since {OLD.reference}: file run.sh")],
        ),
        (Observed(None, BASE, CURRENT, None), [("build", RECIPE.reference, "the image is gone")]),
        (Observed(IMAGE, None, CURRENT, None), [("none", RECIPE.reference, "built from the same inputs")]),
        (Observed(IMAGE, None, PREVIOUS, None), [("record", RECIPE.reference, "built before, not the current one")]),
        (Observed(IMAGE, None, None, None), [("record", RECIPE.reference, "built before, not the current one")]),
        (Observed(IMAGE, None, CURRENT, True), [("none", RECIPE.reference, "built from the same inputs")]),
        (Observed(IMAGE, None, CURRENT, False), [("push", PUSHED, "not at the registry")]),
        (
            Observed(None, BASE, PREVIOUS, False),
            [
                ("build", RECIPE.reference, f"inputs changed since {OLD.reference}: file run.sh"),
                ("push", PUSHED, "not at the registry"),
            ],
        ),
    ],
    ids=[
        "nothing there", "base there", "changed", "image removed by hand", "all there", "recipe went back",
        "record lost", "pushed", "not pushed", "changed and not pushed",
    ],
)  # fmt: skip
def test_plan(observed: Observed, steps: list[tuple[str, str, str]]) -> None:
    plan = make_plan(RECIPE, observed, pushed_reference=PUSHED)
    assert [(step.action, step.image, step.reason) for step in plan] == steps
    assert is_changing(plan) == (steps[0][0] != "none")


@pytest.mark.parametrize(
    ("labels", "what"),
    [({}, "carries no label of ours"), ({INPUTS_LABEL: "abc"}, "was built from other inputs (abc)")],
    ids=["foreign", "other inputs"],
)
def test_an_image_of_others_under_our_tag_is_refused(labels: dict[str, str], what: str) -> None:
    found = Observed(Image("sha256:1", (RECIPE.reference,), labels), None, None, None)
    with pytest.raises(PlatformError) as caught:
        make_plan(RECIPE, found, pushed_reference="")
    assert str(caught.value) == (
        f"Cannot use image {RECIPE.reference}: the image under that tag {what}; remove the tag "
        f"(docker rmi {RECIPE.reference})."
    )


def test_diff_lists_the_inputs_one_per_line() -> None:
    inputs = {"base": "modelyard/base:1", "files": {"b": "0644 2", "a": "0755 1"}, "arguments": {"V": "3"}}
    assert describe_inputs("mytest/tool:1", inputs) == (
        "image mytest/tool:1\nbase modelyard/base:1\nfile a 0755 1\nfile b 0644 2\nargument V 3\n"
    )
