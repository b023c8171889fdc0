# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the name of a registered model to what differs."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.model import (
    ModelUri,
    ModelVersion,
    RegisteredModel,
    parse_model_uri,
    parse_version,
)
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.task import make_plan

CHAMPION = ModelUri("roofs", alias="champion")
THREE, FOUR = ModelVersion("roofs", "3", "models:/m-a"), ModelVersion("roofs", "4", "models:/m-b")
#: What is served, what its files lack, and why something is done; empty where nothing is.
CASES = {
    "not served": ({}, set(), "models:/roofs@champion is version 4, and was not served"),
    "as it was": ({"roofs": FOUR}, set(), ""),
    "alias moved": ({"roofs": THREE}, set(), "models:/roofs@champion is version 4, and version 3 is served"),
    "files gone": ({"roofs": FOUR}, {FOUR.key}, "the files of version 4 are gone"),
    "another model": (
        {"roofs": ModelVersion("walls", "4", "models:/m-c")}, set(),
        "models:/roofs@champion is version 4, and version 4 of model 'walls' is served",
    ),
    "registry anew": (
        {"roofs": ModelVersion("roofs", "4", "models:/m-old")}, set(),
        "models:/roofs@champion is version 4, and version 4 of a registry that is gone is served",
    ),
    "of another service": ({"walls": FOUR}, set(), "models:/roofs@champion is version 4, and was not served"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_done_and_why(case: str) -> None:
    served, missing, reason = CASES[case]
    steps = make_plan([RegisteredModel("roofs", CHAMPION)], {"roofs": FOUR}, served, frozenset(missing))
    assert [(step.service, step.version.number, step.reason) for step in steps] == (
        [("roofs", "4", reason)] if reason else []
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("models:/roofs@champion", ModelUri("roofs", alias="champion")),
        ("models:/roofs of Bern@a-1", ModelUri("roofs of Bern", alias="a-1")),
        ("models:/roofs/12", ModelUri("roofs", number="12")),
    ],
)
def test_a_name_is_read_and_written_the_same(text: str, found: ModelUri) -> None:
    assert parse_model_uri(text, "roofs") == found
    assert str(found) == text


@pytest.mark.parametrize(
    "text",
    [
        "models:/roofs",
        "models:/roofs/Production",
        "models:/roofs/0",
        "models:/roofs/1\u0663",
        "models:/roofs@",
        "models:/m@a/1",
        "runs:/1/model",
    ],
)
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_model_uri(text, "seg")
    assert str(refused.value) == (
        f"Cannot serve {text!r} as 'seg': it names no model of the registry; write models:/NAME@ALIAS, or "
        "models:/NAME/NUMBER for one version for ever."
    )


def test_a_version_that_is_not_ready_is_refused_with_what_the_registry_says() -> None:
    answer = {
        "model_version": {"name": "roofs", "version": "4", "status": "FAILED_REGISTRATION", "status_message": "no disk"}
    }
    with pytest.raises(PlatformError) as refused:
        parse_version(answer, CHAMPION)
    assert str(refused.value) == (
        "Cannot serve models:/roofs@champion: version 4 is FAILED_REGISTRATION (no disk); register it anew, or move "
        "the alias back."
    )


@pytest.mark.parametrize("answer", [{}, {"model_version": None}, {"model_version": {"name": "roofs"}}])
def test_an_answer_without_a_version_is_refused(answer: dict[str, object]) -> None:
    with pytest.raises(
        PlatformError, match=r"^Cannot look up models:/roofs@champion: the registry answers without a version"
    ):
        parse_version(answer, CHAMPION)


@pytest.mark.parametrize("number", ["", "0", "../../etc", "1/2", "\u0663", "1\n", "9" * 19])
def test_a_version_that_is_no_number_names_no_folder(number: str) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_version({"model_version": {"name": "roofs", "version": number}}, CHAMPION)
    assert str(refused.value) == (
        f"Cannot look up models:/roofs@champion: the registry answers with version {number!r}, which is no number; is "
        "it MLflow 3?"
    )


def test_a_version_has_one_folder_and_every_other_one_another() -> None:
    keys = {
        THREE.key,
        FOUR.key,
        ModelVersion("roofs", "3", "models:/m-z").key,
        ModelVersion("walls", "3", "models:/m-a").key,
    }
    assert len(keys) == 4
    assert ModelVersion("roofs", "3", "models:/m-a").key == THREE.key
