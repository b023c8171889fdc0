# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A role leaves out the task of an image exactly where the task would have nothing to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.modelyard.platform.plugins.filter.current_image import current_image
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import EngineError
from ansible_collections.modelyard.platform.plugins.module_utils._image.current import find_current
from ansible_collections.modelyard.platform.plugins.module_utils._image.images import INPUTS_LABEL, NAME_LABEL
from ansible_collections.modelyard.platform.plugins.module_utils._image.record import Record, write_record
from ansible_collections.modelyard.platform.plugins.modules.image import OPTIONS, parse_order

DIGEST = "0123456789abcdef" * 4
TOOL = "mytest/tool:0123456789abcdef"
RECIPE = {
    "name": "mytest/tool",
    "base": {"suite": "trixie"},
    "files": {"Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY run.sh /run.sh\n", "run.sh": "#!/bin/sh\n"},
    "arguments": {"VERSION": "1.2"},
}


class FakeEngine:
    """An engine with these images."""

    def __init__(self, *images: dict[str, Any]) -> None:
        self.images = images

    def get(self, path: str, query: dict[str, Any]) -> Any:
        assert (path, query) == ("/images/json", {"filters": {"label": [NAME_LABEL, INPUTS_LABEL]}})
        return self.images


class NoEngine:
    def get(self, *_question: object) -> Any:
        raise EngineError("Cannot reach the Docker engine.", status=0)


def image(*tags: str, digest: str = DIGEST) -> dict[str, Any]:
    labels = {NAME_LABEL: "mytest/tool", INPUTS_LABEL: digest}
    return {"Id": "sha256:1", "RepoTags": list(tags), "RepoDigests": [], "Labels": labels}


@pytest.mark.parametrize(
    ("images", "recorded", "found"),
    [
        ([image(TOOL)], TOOL, [TOOL]),
        ([image("mytest/other:1", TOOL)], TOOL, [TOOL]),
        ([], TOOL, []),
        ([image(TOOL)], "mytest/tool:fedcba9876543210", []),
        # The tag was given to an image of other inputs, or taken from ours.
        ([image(TOOL, digest="f" * 64)], TOOL, []),
        ([image("mytest/tool:latest")], TOOL, []),
    ],
    ids=["there", "two tags", "gone", "another is current", "other inputs", "tag taken away"],
)
def test_only_what_is_current_and_there_is_told(
    images: list[dict[str, Any]], recorded: str, found: list[str], tmp_path: Path
) -> None:
    write_record(str(tmp_path), "mytest/tool", Record(recorded, {}))

    assert find_current(FakeEngine(*images), str(tmp_path)) == found  # type: ignore[arg-type]


def test_nothing_is_current_before_the_first_build_and_without_an_engine(tmp_path: Path) -> None:
    assert find_current(FakeEngine(image(TOOL)), str(tmp_path)) == []  # type: ignore[arg-type]
    write_record(str(tmp_path), "mytest/tool", Record(TOOL, {}))
    assert find_current(NoEngine(), str(tmp_path)) == []  # type: ignore[arg-type]


def test_reference_is_the_one_that_the_module_builds() -> None:
    params = ArgumentSpecValidator(OPTIONS).validate(RECIPE).validated_parameters
    reference = parse_order(params).recipe.reference
    host = {"architecture": os.uname().machine, "images": [reference]}

    assert current_image(RECIPE, host) == reference


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"VERSION": "1.3"}}, {"base": {"suite": "sid"}}, {"base": {"suite": "trixie", "revision": "2"}},
        {"files": {**RECIPE["files"], "run.sh": "#!/bin/sh -e\n"}}, {"name": "mytest/other"},
        {"base": {"suite": "not a suite"}},
    ],
    ids=["argument", "suite", "revision", "file", "name", "refused by the module"],
)  # fmt: skip
def test_another_recipe_is_not_there(change: dict[str, Any]) -> None:
    params = ArgumentSpecValidator(OPTIONS).validate(RECIPE).validated_parameters
    host = {"architecture": os.uname().machine, "images": [parse_order(params).recipe.reference]}

    assert current_image({**RECIPE, **change}, host) == ""
    assert current_image(RECIPE, {**host, "architecture": "riscv64"}) == ""


def test_on_a_host_that_nobody_looked_at_nothing_is_there() -> None:
    assert current_image(RECIPE, {}) == ""
