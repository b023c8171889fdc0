# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan. Each phase may be the last one that runs: the next run converges from any of them.

images     pulled or built; nothing is touched before all are here
begin      the release is written down as under way
dump       databases that a migration will change, their users stopped
files      each by rename
networks   shared ones made; changed ones removed with their containers, and made anew for guests from other projects
up         one ``docker compose up`` for all that is made (stop-first) or created, watched by the gate
sleepers   made; those that are declared no more removed; then proven, one after the other
reload     signals and commands
swap       start-first services, one after the other
gate       every service
remove     what is not in the project any more, networks last
route      the edge's file
record     containers and images of the release; old releases pruned
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from .._bug import describe_bug
from .._errors import PlatformError
from .._files import telling
from .containers import remove_container, stop_container
from .gate import ENGINE_SECONDS, GateError
from .job import Job, Settings
from .observe import (
    Observed,
)
from .prepare import Host, Prepared, prepare_release, read_history
from .project_files import FileChanges, compare_files, write_files
from .record import record_containers
from .release import Release, ReleaseStore
from .secret_source import SecretSource
from .surroundings import list_networks, remove_network
from .swap import reopen


class ApplyError(PlatformError):
    """An apply failed after it had begun; the text says what state the project is in.

    ``verdicts``: service to kind of verdict of the release that failed, where the gate found the failure.
    """

    def __init__(self, message: str, verdicts: Mapping[str, str]) -> None:
        super().__init__(message)
        self.verdicts = dict(verdicts)


def fetch_images(host: Host, prepared: Prepared, settings: Settings) -> None:
    """Have every image that the plan needs on this host; nothing else is touched.

    :raises PlatformError: one cannot be had.
    """
    Job(host, prepared, settings, ReleaseStore(host.site, prepared.target.name)).ensure_images()


def apply(host: Host, prepared: Prepared, settings: Settings) -> Release:
    """Carry out a plan that has changes and all its images; return the release, which serves.

    :raises PlatformError: nothing was touched.
    :raises ApplyError: it failed; with ``rollback`` the last good release serves again if the text says so.
    """
    store = ReleaseStore(host.site, prepared.target.name)
    job = Job(host, prepared, settings, store)
    with telling(f"apply project {prepared.target.name!r}"):
        release = store.begin(
            prepared.target,
            inputs=prepared.inputs,
            compose_version=prepared.compose_version,
            compose_stamp=prepared.compose_stamp,
            rolled_back_to=prepared.rolled_back_to,
        )
    try:
        return job.carry_out(release)
    except Exception as error:  # whatever it is, what was begun is written down and taken back
        cause = _told(error, prepared.secrets)
        with contextlib.suppress(PlatformError, OSError):  # a full disk must not hide the cause
            store.finish(release, "failed", cause=cause)
        state = after_failure(host, settings, store, prepared.secrets)
        verdicts = error.verdicts if isinstance(error, GateError) else {}
        raise ApplyError(f"Cannot apply project {prepared.target.name!r}: {cause}\n{state}", verdicts) from error


def _told(error: Exception, source: SecretSource) -> str:
    """Return the words for an error. Of one that nobody foresaw they leave its text out: it may quote any value."""
    return source.mask(str(error)) if isinstance(error, (PlatformError, OSError)) else describe_bug(error)


def after_failure(host: Host, settings: Settings, store: ReleaseStore, source: SecretSource) -> str:
    """Bring the last good release back where that is asked for; say what state the project is in."""
    current = store.progress().current
    if current is None:
        return "There is no earlier release to go back to; its containers are left as they are for a look."
    if settings.on_failure == "keep":
        # Whoever keeps what failed uses it from now on: its databases must not fall back with the next apply.
        store.save_progress(replace(store.progress(), restore=()))
        return f"It is left as it is (on_failure: keep); release {current} was the last good one."
    try:
        bring_back(host, settings, store, current)
    except Exception as error:  # noqa: BLE001 - the first failure must be told all the same
        return f"Going back to release {current} failed too: {_told(error, source)}"
    return f"Release {current} serves again."


def bring_back(host: Host, settings: Settings, store: ReleaseStore, number: int) -> None:
    """Make a kept release what runs, after a failed or interrupted apply; databases get their dumps back.

    :raises PlatformError: it does not come up either.
    """
    host.engine.wait_alive(timeout_seconds=ENGINE_SECONDS)
    # Old copies that a swap had closed may be the ones that serve again.
    reopen(host.engine, settings.run, store.progress().blocked)
    settings = replace(settings, pull="never")
    if pending := store.progress().restore:
        # The databases' own services first, as they were; then their content; then everything that uses it.
        servers = {record["service"] for record in pending if record["project"] == store.project}
        job = Job(host, _limit(prepare_release(host, store, number), servers), settings, store)
        job.databases.stop_users()
        job.change_containers()
        job.databases.restore()
    job = Job(host, prepare_release(host, store, number), settings, store)
    job.ensure_images()
    job.change_containers()
    record_containers(host, store, number, job.unproven)
    store.settle()


def _limit(prepared: Prepared, services: Collection[str]) -> Prepared:
    """Return a plan that touches only these services."""
    steps = {name: step for name, step in prepared.plan.steps.items() if name in services}
    kept = {name: service for name, service in prepared.target.services.items() if name in services}
    target = replace(prepared.target, services=kept, edge=None)
    return replace(prepared, target=target, plan=replace(prepared.plan, steps=steps), images={})


def stop_project(host: Host, observed: Observed) -> None:
    """Stop every container; nothing else changes."""
    for container in observed.containers:
        if container.state in ("running", "restarting", "paused"):
            stop_container(host.engine, container.id)


@dataclass(frozen=True)
class Remains:
    """What of a project is left beside its containers, its volumes and its releases."""

    files: FileChanges
    #: Network name to id.
    networks: Mapping[str, str]

    def describe(self) -> tuple[str, ...]:
        return (*self.files.describe(), *(f"remove network {name}" for name in sorted(self.networks)))


def find_remains(host: Host, store: ReleaseStore) -> Remains:
    """Look for the files that we wrote, secrets and routes among them, and the networks that Compose made for us."""
    history = read_history(store)
    folders = {history.previous.folder} if history.previous else set()
    files = compare_files((), history.paths, roots={host.site.directory, *folders})
    return Remains(files, list_networks(host.engine, store.project, host.site.directory))


def remove_project(host: Host, observed: Observed, remains: Remains) -> None:
    """Remove containers, networks and the files that we wrote: first those, for the edge has its routes from one.

    Volumes, releases and data stay.
    """
    write_files(remains.files)
    for container in observed.containers:
        remove_container(host.engine, container.id)
    for name, network_id in remains.networks.items():
        remove_network(host.engine, name, network_id, host.site.directory)
