# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner's cases: ``plan_cases/*.yml``, told in their README; and what holds for every plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.plan import Plan, make_plan
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.problems import Problems

from .objects_examples import DOING, declare, observe

CASES = sorted((Path(__file__).parent / "plan_cases").glob("*.yml"))
NOTHING: dict[str, list[str]] = {
    "databases": [], "roles": [], "extensions": [], "memberships": [], "privileges": [],
}  # fmt: skip


def plan_of(case: dict[str, Any]) -> Plan:
    problems = Problems()
    declared = declare(case["declared"], problems)
    problems.refuse(DOING)
    plan = make_plan(declared, observe(case["server"], declared), user="postgres", problems=problems)
    problems.refuse(DOING)
    return plan


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    if "refused" in case:
        with pytest.raises(PlatformError) as refused:
            plan_of(case)
        assert str(refused.value).split("\n") == [line.strip() for line in case["refused"]]
        return
    plan = plan_of(case)
    assert [[step.action, step.subject, *step.reasons] for step in plan.steps] == case["plan"]
    assert [statement for step in plan.steps for statement in step.statements] == case.get("sql", _any(plan))
    assert plan.unmanaged == {**NOTHING, **case.get("unmanaged", {})}
    assert list(plan.notes) == case.get("notes", [])


def _any(plan: Plan) -> list[str]:
    return [statement for step in plan.steps for statement in step.statements]


def test_a_password_stands_in_no_part_of_a_plan_that_people_see() -> None:
    declared = {"roles": [{"name": "shop", "password": "hunter2"}]}
    for server in ({}, {"roles": {"shop": {"password": "old-one"}}}):
        plan = plan_of({"declared": declared, "server": server})
        assert [step.password for step in plan.steps] == [("shop", "hunter2")]
        shown = repr(plan) + repr([step.as_result() for step in plan.steps]) + repr(plan.as_diff())
        assert "hunter2" not in shown
        assert "SCRAM" not in shown


def test_a_diff_shows_the_object_before_and_after() -> None:
    declared = {"roles": [{"name": "shop", "createdb": True, "settings": {"work_mem": "7MB"}}]}
    plan = plan_of({"declared": declared, "server": {"roles": {"shop": {}}, "contexts": {"work_mem": "user"}}})
    before, after = plan.as_diff()["before"]["role shop"], plan.as_diff()["after"]["role shop"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    differing = {key: (before[key], after[key]) for key in after if before[key] != after[key]}
    assert differing == {
        "createdb": (False, True),
        "settings": ({"work_mem": "not set"}, {"work_mem": "'7MB'"}),
    }
