# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done to a host, step by step; which actions there are, each plan says itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

ActionT = TypeVar("ActionT", bound=str)


@dataclass(frozen=True)
class HostStep(Generic[ActionT]):
    """One thing to do, and why."""

    action: ActionT
    subject: str
    reason: str

    def as_result(self) -> dict[str, str]:
        return {"action": self.action, "subject": self.subject, "reason": self.reason}


@dataclass(frozen=True)
class HostPlan(Generic[ActionT]):
    """The steps in their order."""

    steps: tuple[HostStep[ActionT], ...] = ()

    def has(self, action: ActionT) -> bool:
        return any(step.action == action for step in self.steps)
