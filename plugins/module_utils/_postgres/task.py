# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the ``postgres_objects`` module, from what was asked to what came out. It knows nothing of Ansible."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any

from .._compose.engine import Engine, EngineError, socket_path_of
from .._compose.secret_source import SecretSource
from .._errors import PlatformError
from .._secrets.references import resolve
from .declaration import Declared, parse_declared
from .observe import APPLICATION, Observed, parse_observation, render_observation
from .plan import Plan, make_plan
from .problems import Problems
from .session import Server, lost_connection
from .step import Step

_LOCK_SECONDS = 600.0
_BUSY_POLL_SECONDS = 0.2
#: A copy of a template may bring what nobody could foresee; a server may go away once.
_ROUNDS = 4
_PLACE = re.compile(r"^psql:<stdin>:\d+: ", re.MULTILINE)


class ObjectsRun:
    """Everything that one run knows. ``progress`` is what was done by the time it failed."""

    def __init__(self, params: Mapping[str, Any], *, check_mode: bool) -> None:
        self._params = params
        self._check_mode = check_mode
        self._doing = f"Cannot apply the PostgreSQL objects of project {params['project']!r}"
        self._source = SecretSource(params["secret_store"], may_lack=check_mode)
        self._server = Server(
            Engine(socket_path_of(os.environ)), params["project"], params["service"], params["user"], self._doing
        )
        self._deadline = time.monotonic() + params["wait_seconds"]
        self._done: list[Step] = []

    @property
    def progress(self) -> dict[str, object]:
        """What the result of a failed run tells of what it did before."""
        return {"changed": bool(self._done), "plan": [step.as_result() for step in self._done]}

    def carry_out(self) -> dict[str, Any]:
        """Bring the server to what is declared, in check mode only tell; return the module's result.

        :raises PlatformError: it cannot be. What is said before anything is touched is said all at once.
        """
        with self._source.masked_errors():
            try:
                return self._carry_out(self._parse())
            except EngineError as error:
                # Without a status it says by itself that there is no engine.
                raise PlatformError(f"{self._doing}: {error}; run again." if error.status else str(error)) from None

    def _carry_out(self, declared: Declared) -> dict[str, Any]:
        try:
            container_id = self._find()
        except EngineError:
            raise
        except PlatformError as error:
            if not self._check_mode:
                raise
            # It is stopped: nobody can tell what differs, and the task before this one will start it.
            return _result(Plan((), {}, ()), warnings=[str(error)])
        if container_id is None:
            return _result(self._plan(declared, Observed(is_there=False)))
        plan = self._plan(declared, self._observe(declared, container_id))
        if plan.steps and not self._check_mode:
            plan = self._apply(declared)
        return _result(plan)

    def _parse(self) -> Declared:
        problems = Problems()
        declared = parse_declared(
            self._params, resolve_password=lambda text: resolve(text, self._source.lookup), problems=problems
        )
        problems.refuse(self._doing)
        return declared

    def _find(self) -> str | None:
        """Return the server's container; None in check mode on a host where it was not made yet."""
        try:
            found = self._server.find()
        except EngineError as error:
            if not self._check_mode or error.status or os.path.exists(self._server.engine.socket_path):
                raise
            return None
        if found is None and not self._check_mode:
            raise PlatformError(
                f"{self._doing}: service {self._params['service']!r} has no container; apply the project and run again."
            )
        return found

    def _observe(self, declared: Declared, container_id: str, *, ends_others: bool = False) -> Observed:
        script = render_observation(declared, ends_others=ends_others)
        output = self._server.ask(container_id, script, application=f"{APPLICATION}-look", deadline=self._deadline)
        return parse_observation(output, declared, self._doing)

    def _plan(self, declared: Declared, observed: Observed) -> Plan:
        problems = Problems()
        plan = make_plan(declared, observed, user=self._params["user"], problems=problems)
        problems.refuse(self._doing)
        return plan

    def _apply(self, declared: Declared) -> Plan:
        from .._compose.site import Site

        site, project = Site(os.path.normpath(self._params["directory"])), self._params["project"]
        purpose = self._doing.removeprefix("Cannot ")
        site.check_version(program="the module postgres_objects", exactly=False)
        with site.hold(project, purpose=purpose, wait_seconds=_LOCK_SECONDS):
            self._deadline = time.monotonic() + self._params["wait_seconds"]
            for _round in range(_ROUNDS):
                container_id = self._find() or ""
                plan = self._plan(declared, self._observe_alone(declared, container_id))
                if not plan.steps:
                    return Plan(tuple(self._done), plan.unmanaged, plan.notes)
                self._carry_out_steps(container_id, plan.steps)
        left = ", ".join(step.subject for step in plan.steps)
        raise PlatformError(
            f"{self._doing}: {left} differ again right after they were changed; look for another program that "
            "changes them, and run again."
        )

    def _observe_alone(self, declared: Declared, container_id: str) -> Observed:
        """Return the server's state when nothing that a dead run of ours left behind works on it any more."""
        while True:
            observed = self._observe(declared, container_id, ends_others=True)
            if not observed.busy:
                return observed
            if time.monotonic() >= self._deadline:
                raise PlatformError(
                    f"{self._doing}: a session of an earlier run ({APPLICATION}) does not end; look at it in "
                    "pg_stat_activity, and run again."
                )
            time.sleep(_BUSY_POLL_SECONDS)

    def _carry_out_steps(self, container_id: str, steps: tuple[Step, ...]) -> None:
        from .apply import count_done, render_script

        done, output = self._server.run(container_id, render_script(steps), application=APPLICATION)
        number = count_done(output)
        self._done += [step for step in steps[:number] if step not in self._done]
        if not done.returncode or (lost_connection(done) and time.monotonic() < self._deadline):
            return  # What is left is seen by the next look.
        step = steps[min(number, len(steps) - 1)]
        raise PlatformError(
            f"Cannot {step.action} {step.subject}: PostgreSQL says: {_PLACE.sub('', done.stderr) or 'nothing'} "
            f"(exit code {done.returncode}); {number} of {len(steps)} changes are done, mend that and run again."
        )


def _result(plan: Plan, *, warnings: list[str] | None = None) -> dict[str, Any]:
    return {
        "changed": bool(plan.steps),
        "plan": [step.as_result() for step in plan.steps],
        "unmanaged": plan.unmanaged,
        "notes": list(plan.notes),
        "diff": plan.as_diff(),
        "warnings": warnings or [],
    }
