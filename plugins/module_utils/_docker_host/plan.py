# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done to a host so that projects can be applied on it, from what was seen there alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import PlatformError
from .._step import HostPlan, HostStep
from .settings import changed_keys, merge_settings, needs_restart
from .wanted import COMPOSE_FLOOR, ENGINE_FLOOR, Packages, Source, Wanted, is_at_least, packages_of

Action = Literal["install", "hold", "settings", "start", "reload", "restart", "join"]
Step = HostStep[Action]


@dataclass(frozen=True)
class RunningEngine:
    """An engine that answers at the socket."""

    version: str
    live_restore: bool = False
    is_swarm: bool = False
    #: Running containers that are not the site's own.
    foreign_containers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observed:
    """A host as it was found."""

    distribution: str
    codename: str
    engine: RunningEngine | None
    #: Version of the plug-in, empty where there is none.
    compose: str
    has_buildx: bool
    has_daemon: bool
    #: Those of the wanted and of Docker's that are installed, and which of them apt may not change.
    installed: frozenset[str] = frozenset()
    held: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)
    mtu: int = 1500
    #: User to whether it is in the group of the engine's socket; a user that does not exist is absent.
    members: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan(HostPlan[Action]):
    """The steps in their order, and what they need."""

    packages: tuple[str, ...] = ()
    #: Where the packages come from, None if the host's own sources have them all.
    source: Source | None = None
    hold: tuple[str, ...] = ()
    settings_before: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    join: tuple[str, ...] = ()
    #: Sentences for a person: what was left alone, and what to do about it.
    warnings: tuple[str, ...] = ()


def make_plan(wanted: Wanted, observed: Observed) -> Plan:
    """Return what differs.

    :raises PlatformError: the host's engine is too old, Docker cannot be installed on it, or a user does not exist.
    """
    _refuse_old_engine(observed)
    docker = _missing_docker(wanted, observed)
    others = {name: "it is missing" for name in wanted.packages if name not in observed.installed}
    install = {**docker, **others}
    hold = _to_hold(wanted, observed, docker)
    settings = merge_settings(
        observed.settings,
        mtu=observed.mtu,
        is_swarm=observed.engine is not None and observed.engine.is_swarm,
        options=wanted.daemon_options,
    )
    keys = changed_keys(observed.settings, settings)
    taking_over, warnings = engine_steps(observed.engine, keys)
    join = _to_join(wanted, observed)
    steps = (
        # Before the packages: an engine that their scripts start reads them at once.
        *([Step("settings", wanted.daemon_file, f"set {', '.join(keys)}")] if keys else []),
        *(Step("install", name, reason) for name, reason in install.items()),
        *(Step("hold", name, "asked for") for name in hold),
        *taking_over,
        *(Step("join", name, "it is not in the group docker") for name in join),
    )
    source = _source_of(wanted, observed) if docker else None
    return Plan(steps, tuple(install), source, hold, observed.settings, settings, join, warnings)


def _refuse_old_engine(observed: Observed) -> None:
    if observed.engine is not None and not is_at_least(observed.engine.version, ENGINE_FLOOR):
        raise PlatformError(
            f"Cannot use the Docker engine of this host: it is {observed.engine.version}, and 20.10 is needed; upgrade "
            "it, it is not done here because that would stop its containers."
        )


def _source_of(wanted: Wanted, observed: Observed) -> Source:
    """Return where the rest comes from: an engine that is there decides, packages of both sources conflict."""
    if "docker-ce" in observed.installed:
        return "docker"
    return "distribution" if "docker.io" in observed.installed else wanted.source


def _missing_docker(wanted: Wanted, observed: Observed) -> dict[str, str]:
    """Return package to why it is needed."""
    lacks_engine = observed.engine is None and not observed.has_daemon
    lacks_compose = not observed.compose or not is_at_least(observed.compose, COMPOSE_FLOOR)
    if not (lacks_engine or lacks_compose or not observed.has_buildx):
        return {}
    names: Packages = packages_of(_source_of(wanted, observed), observed.distribution, observed.codename)
    found = f"Compose is {observed.compose}, 2.24.4 is needed" if observed.compose else "there is no Compose plug-in"
    return {
        **(dict.fromkeys(names.engine, "there is no engine") if lacks_engine else {}),
        **({names.compose: found} if lacks_compose else {}),
        **({} if observed.has_buildx else {names.buildx: "there is no Buildx plug-in"}),
    }


def _to_hold(wanted: Wanted, observed: Observed, docker: Mapping[str, str]) -> tuple[str, ...]:
    if not wanted.hold:
        return ()
    there = {name for name in observed.installed if name not in wanted.packages} | docker.keys()
    return tuple(sorted(there - {"iptables"} - observed.held))


def _to_join(wanted: Wanted, observed: Observed) -> tuple[str, ...]:
    for user in wanted.users:
        if user not in observed.members:
            raise PlatformError(
                f"Cannot let user {user!r} use Docker: there is no such user; make it first, or correct 'users'."
            )
    return tuple(user for user in wanted.users if not observed.members[user])


def engine_steps(
    engine: RunningEngine | None, keys: tuple[str, ...], *, at_start: tuple[str, ...] = ()
) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return what makes the engine take over changed settings, and sentences on what it is not made to.

    :param at_start: what else changed that an engine only sees when it starts.
    """
    if engine is None:
        return (Step("start", "engine", "it does not run"),), ()
    if not keys and not at_start:
        return (), ()
    waiting = (*at_start, *needs_restart(keys))
    reload = (Step("reload", "engine", "settings changed"),) if keys else ()
    if not waiting:
        return reload, ()
    # What live-restore is now counts: with it, containers live on without their engine.
    if engine.live_restore or not engine.foreign_containers:
        return (Step("restart", "engine", f"{', '.join(waiting)} changed"),), ()
    shown = ", ".join(engine.foreign_containers[:3])
    more = f" and {len(engine.foreign_containers) - 3} more" if len(engine.foreign_containers) > 3 else ""
    warning = (
        f"The engine was not restarted, because that would stop containers of others ({shown}{more}). It takes over "
        f"{', '.join(waiting)} when it starts next; restart it at a time of your choice. The site works without."
    )
    return reload, (warning,)
