# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Needs, owners and the order that follows from them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._site.needs import (
    DeclaredNeeds,
    Need,
    SiteRole,
    derive_order,
    find_problems,
    needs_from,
    parse_needs,
    refusals_from,
)


def role(name: str, *needs: str, owns: str = "") -> SiteRole:
    return SiteRole(name, ["h1"], frozenset(owns.split()), [Need(subject, name, "h1", {}) for subject in needs])


ORDERS: dict[str, tuple[list[SiteRole], list[str]]] = {
    "as they stand, where nobody needs anybody": ([role("b"), role("a")], ["b", "a"]),
    "owners first": (
        [role("mlflow", "database", "bucket"), role("postgres", owns="database"), role("s3", owns="bucket")],
        ["postgres", "s3", "mlflow"],
    ),
    "along a chain": (
        [role("c", "b"), role("b", "a", owns="b"), role("a", owns="a")],
        ["a", "b", "c"],
    ),
    "who needs its own subject waits for nobody": ([role("edge", "route", owns="route")], ["edge"]),
    "who tries the promises comes after everybody": (
        [
            role("verify", owns="promise"),
            role("mlflow", "promise", "database"),
            role("db", owns="database"),
            role("app"),
        ],
        ["db", "mlflow", "app", "verify"],
    ),
    "what the site provides is there": ([role("a", "secret", "port", "promise")], ["a"]),
}


@pytest.mark.parametrize(("roles", "order"), ORDERS.values(), ids=ORDERS)
def test_order(roles: list[SiteRole], order: list[str]) -> None:
    assert derive_order(roles) == order
    assert find_problems(roles) == []


def test_a_circle_is_named() -> None:
    with pytest.raises(PlatformError) as failure:
        derive_order([role("a", "b", owns="a"), role("b", "a", owns="b"), role("c")])
    assert str(failure.value) == "Cannot order the roles of the site: a, b need each other; break that."


def test_every_need_without_an_owner_is_told() -> None:
    roles = [role("mlflow", "database", "bucket"), role("s3", owns="bucket"), role("app", "queue")]
    text = (
        "Cannot deploy role '{}': it needs a {}, and no role that provides one is enabled on any host; put a host into "
        "the group of a role that owns '{}'."
    )
    assert find_problems(roles) == [
        text.format("mlflow", "database", "database"), text.format("app", "queue", "queue"),
    ]  # fmt: skip


def test_a_subject_has_one_owner() -> None:
    assert find_problems([role("minio", owns="bucket"), role("rclone", owns="bucket")]) == [
        "Cannot tell who provides 'bucket': roles 'minio' and 'rclone' both do; enable one."
    ]


REFUSED: dict[str, tuple[Any, str]] = {
    "a list": (["route"], "found list; known are 'follows', 'needs', 'owns', 'refuses'."),
    "a misspelt key": ({"own": []}, "found own; known are 'follows', 'needs', 'owns', 'refuses'."),
    "owns is a text": ({"owns": "route"}, "'owns' is a list of subjects, 'needs' maps subjects to lists."),
    "needs is a list": ({"needs": ["a"]}, "'owns' is a list of subjects, 'needs' maps subjects to lists."),
    "refuses is a mapping": (
        {"refuses": {"when": True, "because": "so"}},
        "'refuses' is a list of mappings, each with 'when' and 'because'.",
    ),
    "a refusal without a reason": (
        {"refuses": [{"when": True}]}, "'refuses' is a list of mappings, each with 'when' and 'because'.",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "said"), REFUSED.values(), ids=REFUSED)
def test_a_file_of_another_form_is_refused(found: Any, said: str) -> None:
    with pytest.raises(PlatformError) as failure:
        parse_needs(found, "shop")
    assert str(failure.value) == f"Cannot read the needs of role 'shop': {said}"


def test_an_empty_file_needs_nothing() -> None:
    assert parse_needs(None, "shop") == DeclaredNeeds()


def test_only_what_holds_is_refused_and_all_of_it() -> None:
    declared = DeclaredNeeds(
        refuses=[
            {"when": "yes", "because": "the first"},
            {"when": "", "because": "the second"},
            {"when": "yes", "because": "the third"},
        ]
    )
    filled: list[str] = []

    def template(text: str) -> str:
        filled.append(text)
        return text.upper()

    assert refusals_from(declared, template, host="h1") == ["h1: THE FIRST", "h1: THE THIRD"]
    assert "the second" not in filled


def test_needs_are_lists_of_mappings() -> None:
    assert needs_from("route", [{"name": "web"}], role="shop", host="h1") == [
        Need("route", "shop", "h1", {"name": "web"})
    ]
    assert needs_from("route", None, role="shop", host="h1") == []
    with pytest.raises(PlatformError, match="it must be a list of mappings"):
        needs_from("route", ["web"], role="shop", host="h1")
