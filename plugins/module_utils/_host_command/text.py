# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Statuses, releases, plans and secrets as text for a terminal of 80 columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._compose.release import Release
from .._compose.status import Problem, ProjectStatus, format_time
from .._secrets.store import SecretStore
from .._table import render_table, wrap


def render_overview(statuses: Sequence[ProjectStatus]) -> str:
    """Return a line per service of every project, then what is wrong."""
    if not statuses:
        return "No project was applied here yet.\n"
    rows = [("PROJECT", "RELEASE", "SERVICE", "VERDICT")]
    for status in statuses:
        release = "-" if status.release is None else str(status.release.number)
        cells = [(name, verdict.kind) for name, verdict in sorted(status.verdicts.items())]
        for place, (service, verdict) in enumerate(cells or [("-", _whole_project(status))]):
            shown = verdict.upper() if verdict == "failed" else verdict
            rows.append((status.name if place == 0 else "", release if place == 0 else "", service, shown))
    return render_table(rows) + "\n" + "".join(render_problems(status) for status in statuses) + _last_line(statuses)


def _whole_project(status: ProjectStatus) -> str:
    return status.asked if status.asked != "present" else "never applied with success"


def _last_line(statuses: Sequence[ProjectStatus]) -> str:
    wrong = [status.name for status in statuses if not status.is_good]
    if wrong:
        return f"Something is wrong with {', '.join(wrong)}.\n"
    pending = [s.name for s in statuses if any(verdict.kind == "pending" for verdict in s.verdicts.values())]
    if pending:
        return f"Not everything is up yet in {', '.join(pending)}.\n"
    return "All is well.\n"


def render_problems(status: ProjectStatus) -> str:
    """Return what is wrong with a project and what to do."""
    return "".join(_problem(status.name, problem) for problem in status.problems)


def _problem(project: str, problem: Problem) -> str:
    return wrap(f"{project}: {problem.text}", "", "    ") + "\n" + wrap(problem.advice, "  -> ", "     ") + "\n"


def render_project(status: ProjectStatus) -> str:
    """Return one project in full."""
    lines = [f"{status.name}: {_release_line(status)}"]
    if status.asked != "present":
        lines.append(f"It was {'stopped' if status.asked == 'stopped' else 'removed'} on purpose.")
    if status.apply == "under_way":
        lines.append("Somebody works on it at this moment.")
    lines += [f"Kept releases: {', '.join(map(str, status.releases)) or 'none'}", ""]
    rows = [("SERVICE", "VERDICT", "CONTAINER", "STATE", "PORTS, IMAGE")]
    for name, verdict in sorted(status.verdicts.items()):
        shown = verdict.kind.upper() if verdict.kind == "failed" else verdict.kind
        own = [container for container in status.containers if container.state.service == name]
        image = status.services[name].image
        cells = [
            (container.state.name, container.state.status, " ".join([*map(str, container.ports), image]))
            for container in own
        ]
        for place, cell in enumerate(cells or [("-", "-", image)]):
            rows.append((name if place == 0 else "", shown if place == 0 else "", *cell))
    text = "\n".join(lines) + "\n" + (render_table(rows) if len(rows) > 1 else "")
    for name, cause in sorted(status.unproven.items()):
        text += "\n" + wrap(f"Not proven yet: {name}: {cause}", "", "  ") + "\n"
    if status.secrets_in_env:
        text += "\n" + wrap(f"Variables with a secret: {', '.join(status.secrets_in_env)}", "", "  ") + "\n"
    return text + "\n" + render_problems(status) + _last_line([status])


def _release_line(status: ProjectStatus) -> str:
    release = status.release
    if release is None:
        return "no release serves"
    back = f", back to release {release.rolled_back_to}" if release.rolled_back_to else ""
    return f"release {release.number} of {format_time(release.finished_at)} by {release.by}{back}"


def render_releases(releases: Iterable[Release], current: int | None) -> str:
    """Return a line per release, the newest last."""
    rows = [("RELEASE", "RESULT", "BEGAN", "BY", "REMARK")]
    for release in releases:
        began = format_time(release.started_at) or ""
        rows.append((str(release.number), release.result, began, release.by, _remark(release, current)))
    return render_table(rows)


def _remark(release: Release, current: int | None) -> str:
    remarks = ["serves now"] if release.number == current else []
    remarks += [f"back to {release.rolled_back_to}"] if release.rolled_back_to else []
    remarks += [release.cause.splitlines()[0]] if release.cause else []
    return "; ".join(remarks)


def render_plan(result: Mapping[str, Any]) -> str:
    """Return the plan in the result of a run, a line per service and per other change."""
    rows = [
        (step["service"], step["action"], "; ".join(reason["text"] for reason in step["reasons"]))
        for step in result["plan"]
    ]
    return render_table(rows) + "".join(f"{change}\n" for change in result["other_changes"])


def render_secrets(store: SecretStore) -> str:
    """Return a line per secret: everything but values."""
    rows = [("SECRET", "KIND", "VERSION", "MADE", "PARTS")]
    for name in store.names():
        secret = store.secrets[name]
        version = secret.versions[secret.current]
        parts = ", ".join(sorted([*version.secret, *version.public]))
        rows.append((name, secret.kind, str(secret.current), format_time(version.created) or "", parts))
    return render_table(rows)
