# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One thing to do to one object of a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Action = Literal["create", "change", "grant", "revoke"]


@dataclass(frozen=True)
class Step:
    """What is done to one object, and why.

    Each statement is one of SQL, without its semicolon. They take effect together, and doing them again changes
    nothing; ``CREATE DATABASE`` stands alone, as no transaction takes it.
    """

    action: Action
    subject: str
    reasons: tuple[str, ...]
    statements: tuple[str, ...] = field(repr=False)
    #: The object before and after, for people; None where it is not there.
    before: Mapping[str, object] | None
    after: Mapping[str, object]
    #: Where to say it; empty where any database will do.
    database: str = ""
    is_transaction: bool = True
    #: The role that gets a password, and the password.
    password: tuple[str, str] | None = field(default=None, repr=False)

    def as_result(self) -> dict[str, object]:
        """Return the step as the module's result shows it."""
        return {"object": self.subject, "action": self.action, "reasons": list(self.reasons)}
