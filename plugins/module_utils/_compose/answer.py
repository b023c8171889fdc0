# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run answers: its plan as plain data, the same for check mode and the real run."""

from __future__ import annotations

from typing import Any

from .engine import Engine
from .observe import observe, passed_verdicts
from .plan import Plan, Step
from .prepare import Prepared


def describe(prepared: Prepared) -> dict[str, Any]:
    """Return the part of a module's result that is known before the first change."""
    from .diff import make_diff

    plan = prepared.plan
    old = prepared.previous.services if prepared.previous else {}
    return {
        "changed": plan.changes,
        "plan": describe_steps(plan),
        "other_changes": list(plan.other),
        "secrets_in_env": list(prepared.target.secrets_in_env),
        "unproven": dict(prepared.recorded.unproven),
        "warnings": list(prepared.warnings),
        "diff": make_diff(plan, old, prepared.target.services) if plan.changes else {"before": "", "after": ""},
    }


def describe_steps(plan: Plan) -> list[dict[str, Any]]:
    """Return the steps that do something as plain data."""
    return [_describe_step(step) for step in plan.steps.values() if step.action != "none"]


def _describe_step(step: Step) -> dict[str, Any]:
    described: dict[str, Any] = {
        "service": step.service,
        "action": step.action,
        "reasons": [{"code": reason.code, "text": reason.text} for reason in step.reasons],
    }
    return {**described, "method": step.method, "why": step.why} if step.method else described


def verdicts_now(engine: Engine, prepared: Prepared) -> dict[str, str]:
    """Return service to verdict after an apply, whose gate has passed every one of them."""
    return passed_verdicts(prepared.target.services, observe(engine, prepared.target.name, ()))
