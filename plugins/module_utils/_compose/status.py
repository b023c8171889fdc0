# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How projects stand: what was released, what runs, what is wrong and what to do about it. Only ever looks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .._errors import PlatformError
from .asleep import NOTHING_ASLEEP, SleepRecord, read_sleep_record
from .desired import DIRECTORY_LABEL, PROJECT_LABEL, DesiredService, Target
from .engine import Engine, EngineError
from .observe import is_one_off
from .project import check_name
from .release import Asked, Progress, Release, ReleaseStore
from .site import Site
from .verdict import InspectedContainer, Verdict, judge, parse_container

#: ``failed``: the last apply failed and was left as it is (on_failure: keep), or the way back failed too.
ApplyState = Literal["none", "under_way", "interrupted", "failed"]


@dataclass(frozen=True)
class Port:
    """A port of the host that leads into a container."""

    address: str
    published: int
    target: int
    protocol: str

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.published}->{self.target}/{self.protocol}"


@dataclass(frozen=True)
class SeenContainer:
    """A container as it is this moment."""

    state: InspectedContainer
    image_id: str
    config_hash: str = ""
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class Problem:
    """What is wrong, in words; what to do; the service that it is about, if one."""

    text: str
    advice: str
    service: str = ""


@dataclass(frozen=True)
class ProjectStatus:
    """One project. ``release`` is the one that serves, None before the first good apply."""

    name: str
    asked: Asked
    apply: ApplyState
    release: Release | None
    releases: tuple[int, ...]
    verdicts: Mapping[str, Verdict]
    services: Mapping[str, DesiredService]
    containers: tuple[SeenContainer, ...]
    #: Container name to why it is not of the current release.
    drift: Mapping[str, str]
    secrets_in_env: tuple[str, ...]
    #: Service to cause, of those that the gateway has not woken yet since they were made.
    unproven: Mapping[str, str]
    problems: tuple[Problem, ...]

    @property
    def is_good(self) -> bool:
        return not self.problems


def list_projects(engine: Engine, site: Site) -> list[str]:
    """Return the names of the site's projects: those with releases, and those with containers."""
    names = {container["Labels"].get(PROJECT_LABEL, "") for container in _listed(engine, site, None)}
    with contextlib.suppress(FileNotFoundError):
        names |= {name for name in os.listdir(f"{site.directory}/releases") if is_known(site, name)}
    return sorted(names - {""})


def read_status(engine: Engine, site: Site, name: str) -> ProjectStatus | None:
    """Return how a project stands; None where the site has no such project.

    :raises PlatformError: the engine does not answer, or a state file is damaged or newer.
    """
    store = ReleaseStore(site, check_name(name))
    containers = tuple(_look_at(engine, _listed(engine, site, name)))
    if not containers and not is_known(site, name):
        return None
    progress = store.progress()
    numbers = store.numbers()
    last = progress.in_progress if progress.in_progress in numbers else None
    return make_status(
        name,
        progress,
        release=None if progress.current is None else store.load(progress.current),
        target=None if progress.current is None else store.load_target(progress.current),
        last=None if last is None else store.load(last),
        releases=tuple(numbers),
        containers=containers,
        is_locked=is_locked(site.lock_path(name)),
        record=read_sleep_record(site.asleep_path),
        now=time.time(),
    )


def make_status(
    name: str,
    progress: Progress,
    *,
    release: Release | None,
    target: Target | None,
    last: Release | None,
    releases: tuple[int, ...],
    containers: tuple[SeenContainer, ...],
    is_locked: bool,
    now: float,
    record: SleepRecord = NOTHING_ASLEEP,
) -> ProjectStatus:
    """Return how a project stands. Pure.

    :param record: what the gateway says of containers that it wakes and puts to sleep.
    :param last: the release of an apply that has not come to a good end.
    :param is_locked: somebody works on the project.
    """
    services = target.services if target else {}
    apply = _apply_state(progress, last, is_locked=is_locked)
    verdicts = {
        service.name: _judge(service, containers, now=now, asleep=record.codes, is_locked=is_locked)
        for service in (services.values() if progress.asked == "present" else ())
    }
    drift = find_drift(services, release, containers)
    status = ProjectStatus(
        name=name,
        asked=progress.asked,
        apply=apply,
        release=release,
        releases=releases,
        verdicts=verdicts,
        services=services,
        containers=containers,
        drift=drift,
        secrets_in_env=target.secrets_in_env if target else (),
        unproven=_still_unproven(release, containers, record),
        problems=(),
    )
    return replace(status, problems=(*_find_problems(status, last), *_find_failed_wakes(status, record)))


def _still_unproven(
    release: Release | None, containers: Iterable[SeenContainer], record: SleepRecord
) -> dict[str, str]:
    unproven = release.unproven if release else {}
    proven = {container.state.service for container in containers if record.is_proven(container.state.id)}
    return {name: cause for name, cause in unproven.items() if name not in proven}


def _find_failed_wakes(status: ProjectStatus, record: SleepRecord) -> Iterable[Problem]:
    for container in status.containers:
        name, cause = container.state.service, record.failed.get(container.state.id)
        verdict = status.verdicts.get(name)  # none where the project was stopped, or declares the service no more
        if cause is not None and verdict is not None and (name in status.unproven or verdict.kind != "failed"):
            yield Problem(f"service {name!r}: the gateway could not wake it: {cause}", "apply the project again", name)


def _judge(
    service: DesiredService,
    containers: Iterable[SeenContainer],
    *,
    now: float,
    asleep: Mapping[str, int],
    is_locked: bool,
) -> Verdict:
    """The gate's own judgement; but what nobody is about to make will not come by waiting."""
    own = [container.state for container in containers if container.state.service == service.name]
    verdict = judge(service, own, now=now, asleep=asleep)
    if verdict.kind == "pending" and verdict.container is None and not is_locked:
        return Verdict("failed", verdict.cause)
    return verdict


def _apply_state(progress: Progress, last: Release | None, *, is_locked: bool) -> ApplyState:
    if progress.in_progress is None:
        return "none"
    if is_locked:
        return "under_way"
    return "failed" if last is not None and last.result == "failed" else "interrupted"


def find_drift(
    services: Mapping[str, DesiredService], release: Release | None, containers: Sequence[SeenContainer]
) -> dict[str, str]:
    """Return container name to reason, for containers that are not of the current release; the planner's rules."""
    found = {container.state.name: _drift_of(container, services, release) for container in containers}
    for name, service in services.items():
        own = sorted(container.state.name for container in containers if container.state.service == name)
        for surplus in own[service.scale :]:
            found[surplus] = found[surplus] or f"it is beyond the scale of {service.scale}"
    return {name: reason for name, reason in found.items() if reason}


def _drift_of(container: SeenContainer, services: Mapping[str, DesiredService], release: Release | None) -> str:
    state = container.state
    if release is None:
        return "no release was ever recorded"
    if state.service not in services:
        return f"the release has no service {state.service!r}"
    service = services[state.service]
    if state.identity != service.identity:
        return "it was made from another definition or other content"
    recorded = release.services.get(state.service, {}).get("image_id")
    if recorded and recorded != container.image_id:
        return "it runs another image"
    # The hash of what lives in another container changes with that one's id.
    known = () if service.bound_to else release.config_hashes.values()
    return "it was changed by hand" if known and container.config_hash not in known else ""


def _find_problems(status: ProjectStatus, last: Release | None) -> Iterable[Problem]:
    name = status.name
    if status.apply == "interrupted" and last is not None:
        yield Problem(f"the apply of release {last.number} was interrupted", f"run it again, or {_way_back(status)}")
    if status.apply == "failed" and last is not None:
        first = last.cause.splitlines()[0] if last.cause else "no cause was recorded"
        yield Problem(f"release {last.number} failed: {first}", f"mend it and apply again, or {_way_back(status)}")
    for service, verdict in sorted(status.verdicts.items()):
        if verdict.kind == "failed":
            advice = f"modelyard logs {name} {service}" if verdict.container else "apply the project again"
            yield Problem(f"service {service!r}: {verdict.cause}", advice, service)
    if status.apply == "under_way":
        return
    for container, reason in sorted(status.drift.items()):
        yield Problem(f"container {container!r} is not of the release: {reason}", "apply the project again")


def _way_back(status: ProjectStatus) -> str:
    if status.release is None:
        return f"look at it: modelyard logs {status.name}"
    return f"modelyard rollback {status.name} {status.release.number}"


def is_locked(path: str) -> bool:
    """Whether somebody holds the project's lock. Looking costs whoever wants it one try at most, and makes no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def is_known(site: Site, name: str) -> bool:
    """Whether anything of the project was ever applied."""
    return os.path.exists(f"{site.releases_folder(name)}/state.json")


def _listed(engine: Engine, site: Site, project: str | None) -> list[dict[str, Any]]:
    labels = [f"{DIRECTORY_LABEL}={site.directory}"] + ([f"{PROJECT_LABEL}={project}"] if project else [])
    listed = engine.get("/containers/json", {"all": "1", "filters": {"label": labels}})
    return [entry for entry in listed if not is_one_off(entry["Labels"])]


def _look_at(engine: Engine, listed: Iterable[Mapping[str, Any]]) -> Iterable[SeenContainer]:
    for entry in sorted(listed, key=lambda entry: str(entry["Names"])):
        # Gone between list and inspect: an older copy that an apply removes.
        with contextlib.suppress(EngineError):
            found = engine.get(f"/containers/{entry['Id']}/json")
            yield SeenContainer(
                state=parse_container(found),
                image_id=found["Image"],
                config_hash=entry["Labels"].get("com.docker.compose.config-hash", ""),
                ports=tuple(sorted(set(_ports(entry.get("Ports") or ())), key=str)),
            )


def _ports(entries: Iterable[Mapping[str, Any]]) -> Iterable[Port]:
    for entry in entries:
        if entry.get("PublicPort"):
            yield Port(entry.get("IP", ""), entry["PublicPort"], entry["PrivatePort"], entry["Type"])


def status_to_record(status: ProjectStatus) -> dict[str, Any]:
    """Return a status as plain data, for the module's result and the command's ``--json``."""
    return {
        "name": status.name,
        "asked": status.asked,
        "apply": status.apply,
        "good": status.is_good,
        "release": None if status.release is None else release_to_record(status.release, current=status.release.number),
        "releases": list(status.releases),
        "services": {name: _service_record(status, name) for name in status.verdicts},
        "containers": [_container_record(container, status.drift) for container in status.containers],
        "secrets_in_env": list(status.secrets_in_env),
        "problems": [
            {"text": problem.text, "advice": problem.advice, "service": problem.service} for problem in status.problems
        ],
    }


def _service_record(status: ProjectStatus, name: str) -> dict[str, Any]:
    kept = status.release.services.get(name, {}) if status.release else {}
    own = [container for container in status.containers if container.state.service == name]
    return {
        "verdict": status.verdicts[name].kind,
        "cause": status.verdicts[name].cause,
        "unproven": status.unproven.get(name, ""),
        "image": status.services[name].image,
        "image_id": kept.get("image_id", ""),
        "containers": [container.state.name for container in own],
        "ports": [str(port) for container in own for port in container.ports],
    }


def _container_record(container: SeenContainer, drift: Mapping[str, str]) -> dict[str, Any]:
    state = container.state
    return {
        "name": state.name,
        "id": state.id,
        "service": state.service,
        "state": state.status,
        "health": state.health,
        "exit_code": state.exit_code,
        "restart_count": state.restart_count,
        "image_id": container.image_id,
        "ports": [str(port) for port in container.ports],
        "drift": drift.get(state.name, ""),
    }


def release_to_record(release: Release, *, current: int | None) -> dict[str, Any]:
    """Return a release as plain data: what and when and who, without what only programs need."""
    return {
        "number": release.number,
        "current": release.number == current,
        "result": release.result,
        "started_at": format_time(release.started_at),
        "finished_at": format_time(release.finished_at),
        "by": release.by,
        "cause": release.cause,
        "rolled_back_to": release.rolled_back_to,
        "images": {name: service["image"] for name, service in release.services.items()},
        "image_ids": {name: service["image_id"] for name, service in release.services.items()},
        "secrets": dict(release.secrets),
        "unproven": dict(release.unproven),
        "compose_version": release.compose_version,
    }


def format_time(seconds: float | None) -> str | None:
    """Return Unix seconds as ``2026-11-20T10:00:00Z``."""
    return None if seconds is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def unknown_project(engine: Engine, site: Site, name: str) -> PlatformError:
    """Return the error for a project that the site does not have."""
    known = ", ".join(list_projects(engine, site)) or "none"
    return PlatformError(
        f"Cannot find project {name!r}: nothing of that name was ever applied in {site.directory}; "
        f"known are {known}; choose one of these, or give another directory."
    )
