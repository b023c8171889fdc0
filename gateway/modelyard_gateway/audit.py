# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit log: a JSON line for each decision, with no key in it, nor any part of one."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable

from .decision import Decision, Denial

_MOST_CHARACTERS = 512
#: As many lines are gathered before they are written, if the log's delay is not over before.
_MOST_LINES = 1000


class AuditLog:
    """Gathers lines for a moment and writes them at once: a line costs no system call of its own.

    :param write: takes a text of whole lines. While it waits, the gateway does: what is not on record is not decided.
    :param later: has :meth:`flush` called soon, such as ``loop.call_later`` with a delay.
    """

    def __init__(self, write: Callable[[str], object], later: Callable[[Callable[[], None]], object]) -> None:
        self._write, self._later = write, later
        self._lines: list[str] = []

    def add(self, wall: float, service: str, decision: Decision, *, method: str, target: str, remote: str) -> None:
        """Note a decision.

        :param wall: Unix seconds.
        :param target: the request's target; what follows a question mark may hold anything, and is left out.
        """
        is_denied = isinstance(decision, Denial)
        line = {
            "time": datetime.datetime.fromtimestamp(wall, datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "decision": "denied" if is_denied else "allowed",
            "status": decision.status if isinstance(decision, Denial) else 200,
            "reason": decision.reason if isinstance(decision, Denial) else "",
            "client": decision.key.client if decision.key else "",
            "key": decision.key.id if decision.key else "",
            "service": service,
            "remote": remote[:_MOST_CHARACTERS],
            "method": method[:_MOST_CHARACTERS],
            "path": target.partition("?")[0].partition("#")[0][:_MOST_CHARACTERS],
        }
        # Every other character than ASCII is escaped, and every control character: a line stays a line.
        self._lines.append(json.dumps(line))
        if len(self._lines) == 1:
            self._later(self.flush)
        elif len(self._lines) >= _MOST_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        lines, self._lines = self._lines, []
        if lines:
            self._write("\n".join([*lines, ""]))
