# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.plan import (
    Observed,
    Plan,
    RunningEngine,
    make_plan,
)
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.wanted import Wanted
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

SETTLED = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": True}
READY = Observed(
    distribution="debian", codename="trixie", engine=RunningEngine("26.1.5+dfsg1", live_restore=True),
    compose="2.26.1-4", has_buildx=True, has_daemon=True,
    installed=frozenset({"docker.io", "docker-cli", "docker-compose", "docker-buildx"}), settings=SETTLED,
)  # fmt: skip
BARE = Observed(distribution="debian", codename="trixie", engine=None, compose="", has_buildx=False, has_daemon=False)


def steps(plan: Plan) -> list[str]:
    return [f"{step.action} {step.subject}" for step in plan.steps]


def observed(base: Observed = READY, **changes: Any) -> Observed:
    return dataclasses.replace(base, **changes)


def test_a_host_that_has_all_is_left_alone() -> None:
    assert make_plan(Wanted(), READY).steps == ()


INSTALLS = [
    ("debian", "bookworm", "distribution", ["docker.io", "iptables", "docker-compose", "docker-buildx"]),
    ("debian", "trixie", "distribution", ["docker.io", "docker-cli", "iptables", "docker-compose", "docker-buildx"]),
    ("ubuntu", "jammy", "distribution", ["docker.io", "iptables", "docker-compose-v2", "docker-buildx"]),
    ("ubuntu", "noble", "distribution", ["docker.io", "iptables", "docker-compose-v2", "docker-buildx"]),
    (
        "debian",
        "bookworm",
        "docker",
        ["docker-ce", "docker-ce-cli", "containerd.io", "docker-compose-plugin", "docker-buildx-plugin"],
    ),
]


@pytest.mark.parametrize(("distribution", "codename", "source", "packages"), INSTALLS)
def test_a_bare_host_gets_the_packages_of_its_source(
    distribution: str, codename: str, source: Any, packages: list[str]
) -> None:
    plan = make_plan(Wanted(source=source), observed(BARE, distribution=distribution, codename=codename))
    assert list(plan.packages) == packages
    assert plan.source == source
    assert steps(plan) == [
        "settings /etc/docker/daemon.json",
        *(f"install {name}" for name in packages),
        "start engine",
    ]


def test_only_what_is_missing_is_installed() -> None:
    plan = make_plan(Wanted(packages=("jq", "iproute2")), observed(installed=READY.installed | {"jq"}))
    assert steps(plan) == ["install iproute2"]
    assert plan.source is None


def test_an_old_compose_is_replaced_and_the_reason_names_it() -> None:
    plan = make_plan(Wanted(), observed(compose="1.29.2"))
    assert [step.as_result() for step in plan.steps] == [
        {"action": "install", "subject": "docker-compose", "reason": "Compose is 1.29.2, 2.24.4 is needed"}
    ]


@pytest.mark.parametrize(
    ("installed", "package", "source"),
    [("docker-ce", "docker-compose-plugin", "docker"), ("docker.io", "docker-compose", "distribution")],
)
@pytest.mark.parametrize("asked", ["distribution", "docker"])
def test_what_is_installed_decides_where_the_rest_comes_from(
    installed: str, package: str, source: str, asked: Any
) -> None:
    plan = make_plan(Wanted(source=asked), observed(compose="", installed=frozenset({installed})))
    assert plan.packages == (package,)
    assert plan.source == source


def test_an_installed_daemon_is_started_not_installed_again() -> None:
    assert steps(make_plan(Wanted(), observed(engine=None))) == ["start engine"]


def test_an_engine_of_an_unknown_distribution_is_used_as_it_is() -> None:
    assert make_plan(Wanted(), observed(distribution="fedora", codename="", installed=frozenset())).steps == ()


def test_docker_is_not_installed_on_an_unknown_distribution() -> None:
    with pytest.raises(PlatformError) as caught:
        make_plan(Wanted(), observed(BARE, distribution="fedora", codename="forty"))
    assert str(caught.value) == (
        "Cannot install Docker: this is 'fedora forty', supported are debian bookworm, debian trixie, ubuntu jammy, "
        "ubuntu noble; install Docker 20.10, Compose 2.24.4 and Buildx or newer yourself, then run again."
    )


def test_an_engine_that_is_too_old_is_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        make_plan(Wanted(), observed(engine=RunningEngine("19.03.15")))
    assert str(caught.value) == (
        "Cannot use the Docker engine of this host: it is 19.03.15, and 20.10 is needed; upgrade it, it is not done "
        "here because that would stop its containers."
    )


def test_settings_that_a_running_engine_takes_over_need_no_restart() -> None:
    plan = make_plan(Wanted(daemon_options={"registry-mirrors": ["https://mirror.example.org"]}), READY)
    assert steps(plan) == ["settings /etc/docker/daemon.json", "reload engine"]
    assert plan.warnings == ()


RESTARTS = [
    ("live-restore keeps containers of others", True, ("theirs",), "restart engine"),
    ("nobody else's container runs", False, (), "restart engine"),
    ("containers of others would stop", False, ("theirs",), "reload engine"),
]


@pytest.mark.parametrize(
    ("live_restore", "foreign", "last"), [case[1:] for case in RESTARTS], ids=[case[0] for case in RESTARTS]
)
def test_a_restart_never_stops_containers_of_others(live_restore: bool, foreign: tuple[str, ...], last: str) -> None:
    engine = RunningEngine("26.1.5", live_restore=live_restore, foreign_containers=foreign)
    plan = make_plan(Wanted(), observed(engine=engine, mtu=1400))
    assert steps(plan) == ["settings /etc/docker/daemon.json", last]
    assert bool(plan.warnings) == (last == "reload engine")


def test_the_warning_names_whose_containers_and_which_settings() -> None:
    engine = RunningEngine("26.1.5", foreign_containers=("a", "b", "c", "d", "e"))
    plan = make_plan(Wanted(), observed(engine=engine, mtu=1400))
    assert plan.warnings == (
        (
            "The engine was not restarted, because that would stop containers of others (a, b, c and 2 more). It takes "
            "over mtu when it starts next; restart it at a time of your choice. The site works without."
        ),
    )


def test_hold_takes_dockers_packages_and_not_the_hosts_other_ones() -> None:
    found = observed(installed=READY.installed | {"jq"}, held=frozenset({"docker.io"}))
    assert make_plan(Wanted(hold=True, packages=("jq",)), found).hold == (
        "docker-buildx",
        "docker-cli",
        "docker-compose",
    )
    fresh = make_plan(Wanted(hold=True), BARE)
    assert fresh.hold == ("docker-buildx", "docker-cli", "docker-compose", "docker.io")


def test_users_join_the_group_once() -> None:
    plan = make_plan(Wanted(users=("ada", "bob")), observed(members={"ada": True, "bob": False}))
    assert plan.join == ("bob",)


def test_a_user_that_does_not_exist_is_refused() -> None:
    with pytest.raises(PlatformError) as caught:
        make_plan(Wanted(users=("ada",)), READY)
    assert str(caught.value) == (
        "Cannot let user 'ada' use Docker: there is no such user; make it first, or correct 'users'."
    )
