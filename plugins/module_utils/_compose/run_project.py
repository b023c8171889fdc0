# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of ``compose_project``, from options to result. The carrying out is imported when there is something to do:
Ansible ships modules as source, so on a run without changes every line that is not read is time saved."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._errors import PlatformError
from .._run import Run, run_program
from .answer import describe, describe_steps, verdicts_now
from .engine import Engine
from .gate import Gate, GateError, refuse_failed
from .observe import listed_verdicts, observe, unchecked_services
from .opening import open_host, project_lock
from .plan import Plan, plan_removal, plan_stop
from .prepare import Host, Prepared, prepare_project
from .project import Project, check_name, parse_project
from .release import ReleaseStore
from .secret_source import SecretSource
from .site import Site
from .surroundings import refuse_foreign_containers
from .unchanged import recently_ended

if TYPE_CHECKING:
    from .job import Settings


class ProjectRun:
    """A run; ``progress`` is what a failure may add to its message: the plan, once there is one."""

    def __init__(self, params: Mapping[str, Any], *, check_mode: bool, run: Run = run_program) -> None:
        self._params = params
        self._check_mode = check_mode
        self._run = run
        self._source = SecretSource(params["secret_store"], may_lack=check_mode)
        self.progress: dict[str, Any] = {}

    def carry_out(self) -> dict[str, Any]:
        """Do what the options say; return the module's result.

        :raises PlatformError: it cannot be done; without any value of the secret store.
        """
        with self._source.masked_errors():
            return self._source.mask_texts(self._carry_out())

    def _carry_out(self) -> dict[str, Any]:
        name = check_name(self._params["name"])
        site = Site(self._params["directory"].rstrip("/"))
        site.check_version(program="compose_project", exactly=False)
        if self._params["state"] == "present":
            project = parse_project(self._params)
            host = self._open(site, name, project.folder)
            with self._locked(site, name) as lock:
                return self._apply(host, project, lock)
        host = self._open(site, name, site.project_folder(name))
        with self._locked(site, name):
            return self._end(host, name)

    def _open(self, site: Site, name: str, folder: str) -> Host:
        return open_host(site, source=self._source, project=name, folder=folder, run=self._run)

    def _locked(self, site: Site, name: str) -> AbstractContextManager[int]:
        return project_lock(
            site,
            name,
            purpose=f"apply project {name!r}",
            wait_seconds=self._params["lock_seconds"],
            makes_nothing=self._check_mode or self._params["state"] != "present",
        )

    def _apply(self, host: Host, project: Project, lock: int) -> dict[str, Any]:
        key = host.site.read_key()
        made = key or secrets.token_hex(32).encode()
        prepared = prepare_project(host, project, key=made)
        if self._params["pull"] == "always" and not self._check_mode:
            prepared = self._pull(host, project, prepared, made, lock)
        result = describe(prepared)
        self.progress["plan"] = result["plan"]
        if self._check_mode:
            warnings = [*result["warnings"], *(_lack_warning(name) for name in self._source.lacking())]
            return {**result, "release": prepared.progress.current, "warnings": warnings}
        result["unproven"] = self._settle_unproven(host, prepared, lock)
        if not prepared.changes:
            ReleaseStore(host.site, project.name).save_asked("present")
            return {**result, "release": prepared.progress.current, "services": self._gate(host, prepared)}
        from .apply import ApplyError, apply, fetch_images

        self._preflight(host, prepared)
        fetch_images(host, prepared, self._settings(lock))
        host.site.prepare(project.name, made)
        found = host.site.read_key()
        if found is not None and found != made:  # the first apply of another project was quicker
            prepared = prepare_project(host, project, key=found)
        try:
            release = apply(host, prepared, self._settings(lock))
        except ApplyError as error:
            self.progress["services"] = error.verdicts
            raise
        return {
            **result,
            "release": release.number,
            "services": verdicts_now(host.engine, prepared),
            "notes": list(release.notes),
            "unproven": dict(release.unproven),
        }

    def _settle_unproven(self, host: Host, prepared: Prepared, lock: int) -> dict[str, str]:
        if not prepared.recorded.unproven:
            return {}
        from .apply import ApplyError
        from .unproven import settle_unproven

        try:
            return settle_unproven(host, prepared, self._settings(lock))
        except ApplyError as error:
            self.progress["services"] = error.verdicts
            raise

    def _pull(self, host: Host, project: Project, prepared: Prepared, key: bytes, lock: int) -> Prepared:
        from .project_images import pull_tags

        pull_tags(self._run, prepared.target.services.values(), inherit=(lock,))
        return prepare_project(host, project, key=key)

    def _settings(self, lock: int) -> Settings:
        from .job import Settings

        return Settings(
            wait_seconds=self._params["wait_seconds"],
            pull=self._params["pull"],
            on_failure=self._params["on_failure"],
            keep_releases=self._params["keep_releases"],
            lock=lock,
            run=self._run,
        )

    def _preflight(self, host: Host, prepared: Prepared) -> None:
        from .preflight import refuse_obstacles

        refuse_obstacles(host, prepared)

    def _gate(self, host: Host, prepared: Prepared) -> dict[str, str]:
        """A run without changes gates too; what the list already shows as good needs no closer look."""
        listed = listed_verdicts(prepared.target.services, prepared.observed)
        unsure = [name for name, verdict in listed.items() if verdict is None]
        verdicts = {name: verdict for name, verdict in listed.items() if verdict is not None}
        crashed = _recently_ended(host.engine, prepared) if not unsure else set()
        if not unsure and not crashed:
            return verdicts
        with Gate(host.engine, prepared.target.name, host.site) as gate:
            services = {name: prepared.target.services[name] for name in {*unsure, *crashed}}
            found = gate.wait(services, wait_seconds=self._params["wait_seconds"])
        try:
            refuse_failed(host.engine, found, prepared.secrets.mask)
        except GateError as error:
            self.progress["services"] = {**verdicts, **error.verdicts}
            raise PlatformError(f"Cannot apply project {prepared.target.name!r}: {error}") from None
        return {**verdicts, **{name: verdict.kind for name, verdict in found.items()}}

    def _end(self, host: Host, name: str) -> dict[str, Any]:
        """``stopped`` and ``absent``."""
        observed = observe(host.engine, name, ())
        refuse_foreign_containers(observed, name, host.site.directory)
        from .apply import find_remains, remove_project, stop_project

        store = ReleaseStore(host.site, name)
        absent = self._params["state"] == "absent"
        remains = find_remains(host, store) if absent else None
        plan = replace(plan_removal(observed), other=remains.describe()) if remains else plan_stop(observed)
        if plan.changes and not self._check_mode:
            if remains:
                remove_project(host, observed, remains)
            else:
                stop_project(host, observed)
        if not self._check_mode:
            store.save_asked(self._params["state"])
        return {
            "changed": plan.changes,
            "plan": describe_steps(plan),
            "other_changes": list(plan.other),
            "release": store.progress().current,
            "services": {},
            "secrets_in_env": [],
            "warnings": [],
            "diff": {"before": "", "after": _sentences(plan)},
        }


def _lack_warning(name: str) -> str:
    return (
        f"Secret '{name}' is not in the store yet: planned as if it were, but without a task of "
        "modelyard.platform.secrets that makes it first the run will fail."
    )


def _sentences(plan: Plan) -> str:
    steps = [f"{step.action} {name}" for name, step in plan.steps.items() if step.action != "none"]
    return "".join(f"{line}\n" for line in (*steps, *plan.other))


def _recently_ended(engine: Engine, prepared: Prepared) -> set[str]:
    """Return the long-running services of which a container ended just now, though it runs again.

    Only asked where a service has no health check: then its deaths are the only sign of a crash loop. The engine
    answers from memory, with what it still has of the last seconds.
    """
    settle = unchecked_services(prepared.target.services)
    return recently_ended(engine, prepared.target.name, settle) if settle else set()
