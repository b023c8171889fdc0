# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The planner, case by case: each file in ``plan_cases`` is one; its README tells the form."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import Observed, ObservedContainer
from ansible_collections.modelyard.platform.plugins.module_utils._compose.plan import (
    Plan,
    Reason,
    Recorded,
    Step,
    make_plan,
    plan_removal,
    plan_stop,
    with_methods,
)
from support.compose_cases import make_desired, plan_of, read_observed

CASES = sorted((Path(__file__).parent / "plan_cases").glob("*.yml"))


def as_written(step: Step) -> Any:
    """Return a step as the case files write it."""
    if step.action == "none":
        return "none"
    return {step.action: [{reason.code: reason.text} for reason in step.reasons]}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_plan(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    plan = plan_of(case)
    assert {name: as_written(step) for name, step in plan.steps.items()} == case["plan"]
    assert plan.changes == any(step != "none" for step in case["plan"].values())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem.replace("_", " "))
def test_every_action_but_none_has_a_reason(path: Path) -> None:
    for step in plan_of(yaml.safe_load(path.read_text(encoding="utf-8"))).steps.values():
        assert bool(step.reasons) == (step.action != "none"), step


def test_there_are_cases() -> None:
    assert len(CASES) >= 35


CONTAINERS = Observed(
    tuple(
        ObservedContainer(id=state, name=state, service=f"the {state} one", state=state, image_id="")
        for state in ("running", "exited", "paused", "restarting", "created")
    )
)


def test_stop_stops_what_runs_and_leaves_the_rest() -> None:
    plan = plan_stop(CONTAINERS)
    reason = (Reason("asked", "the project is to be stopped"),)
    assert plan.services("stop") == ["the paused one", "the restarting one", "the running one"]
    assert {plan.steps[name].reasons for name in plan.services("stop")} == {reason}
    assert plan.services("none") == ["the created one", "the exited one"]


def test_removal_removes_every_container() -> None:
    plan = plan_removal(CONTAINERS)
    assert plan.services("remove") == sorted(f"the {container.state} one" for container in CONTAINERS.containers)
    assert plan.steps["the exited one"].reasons == (Reason("asked", "the project is to be removed"),)


def test_nothing_is_there_so_stop_and_removal_change_nothing() -> None:
    assert not plan_stop(Observed()).changes
    assert not plan_removal(Observed()).changes


def test_a_change_beside_containers_is_a_change() -> None:
    assert Plan({}, other=("write /site/a",)).changes


def test_methods_are_added_to_the_steps_that_they_name() -> None:
    plan = Plan({"web": Step("web", "recreate"), "db": Step("db", "none")})
    changed = with_methods(plan, {"web": ("stop_first", "it binds host port 80")})
    assert changed.steps["web"] == Step("web", "recreate", (), "stop_first", "it binds host port 80")
    assert changed.steps["db"] == plan.steps["db"]


def test_500_services_are_planned_in_less_than_a_second() -> None:
    model = {
        f"s{number}": {"image": "web:2", "depends_on": [f"s{number - 1}"] if number else []} for number in range(500)
    }
    old = {name: {**service, "image": "web:1"} for name, service in model.items()}
    declared, recorded = make_desired({"services": model}), make_desired({"services": old})
    containers = [{"id": f"{name}-1", "service": name, "made_from": "recorded"} for name in model]
    observed = read_observed({"observed": containers}, {"declared": declared, "recorded": recorded})
    started = time.process_time()
    plan = make_plan(declared, observed, recorded=Recorded(recorded))
    assert time.process_time() - started < 1
    assert len(plan.services("recreate")) == 500
