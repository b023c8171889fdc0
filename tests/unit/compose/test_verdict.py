# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict on a service, from its containers at one moment."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import DesiredService
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import ServiceExtras, Sleeper
from ansible_collections.modelyard.platform.plugins.module_utils._compose.verdict import (
    InspectedContainer,
    Verdict,
    judge,
    parse_container,
    parse_time,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from hypothesis import given
from hypothesis import strategies as st

NOW = 1000.0
FITS = "identity"


def service(**facts: Any) -> DesiredService:
    given = {"name": "web", "image": "web:1", "identity": FITS, "definition": {}, "extras": ServiceExtras()}
    return DesiredService(**{**given, **facts})


def container(**facts: Any) -> InspectedContainer:
    """Return a container that has run for long without a health check."""
    given: dict[str, Any] = {
        "id": "web-1", "name": "shop-web-1", "service": "web", "identity": FITS, "status": "running", "exit_code": 0,
        "oom_killed": False, "restart_count": 0, "started_at": 0.0, "has_check": False, "health": "",
        "health_output": "", "error": "",
    }  # fmt: skip
    return InspectedContainer(**{**given, **facts})


def judge_one(found: InspectedContainer | list[InspectedContainer], of: DesiredService, **facts: Any) -> Verdict:
    containers = found if isinstance(found, list) else [found]
    return judge(of, containers, **{"now": NOW, "asleep": {}, **facts})


LONG_RUNNING = service()
ONE_SHOT = service(one_shot=True, may_end=True)
MAY_END = service(may_end=True)
JUST_NOW = NOW - 0.5


def checked(health: str, **facts: Any) -> InspectedContainer:
    return container(has_check=True, health=health, **facts)


def exited(exit_code: int, **facts: Any) -> InspectedContainer:
    return container(status="exited", exit_code=exit_code, **facts)


NOT_MEANT = (
    "it ended with exit code 0, but it is meant to run on (for one that is meant to end: x-modelyard: {one_shot: true})"
)

ONE_CONTAINER: dict[str, tuple[InspectedContainer, DesiredService, str, str]] = {
    "its health check passes": (checked("healthy"), LONG_RUNNING, "healthy", "its health check passes"),
    "its health check has not passed yet": (
        checked("starting"), LONG_RUNNING, "pending", "its health check has not passed yet",
    ),
    "its health check fails": (checked("unhealthy"), LONG_RUNNING, "failed", "it is unhealthy"),
    "its health check is switched off": (checked("none"), LONG_RUNNING, "running", "it runs"),
    "it has settled": (container(started_at=NOW - 1), LONG_RUNNING, "running", "it runs"),
    "it has not settled yet": (
        container(started_at=JUST_NOW), LONG_RUNNING, "pending", "it has not run long enough yet",
    ),
    "it crashed once and has not run long since": (
        container(restart_count=1, started_at=NOW - 9), LONG_RUNNING, "pending", "it has not run long enough yet",
    ),
    "it crashed once, long ago": (container(restart_count=1, started_at=NOW - 10), LONG_RUNNING, "running", "it runs"),
    "it may end and runs": (container(), MAY_END, "running", "it runs"),
    "a one-shot still runs": (container(), ONE_SHOT, "pending", "it has not ended yet"),
    "a one-shot with a health check still runs": (checked("healthy"), ONE_SHOT, "pending", "it has not ended yet"),
    "a one-shot ended with 0": (exited(0), ONE_SHOT, "completed", "it ended with 0"),
    "one that may end ended with 0": (exited(0), MAY_END, "completed", "it ended with 0"),
    "a one-shot failed": (exited(3), ONE_SHOT, "failed", "it ended with exit code 3"),
    "a one-shot is tried again": (
        container(status="restarting", exit_code=3, restart_count=1), ONE_SHOT, "pending",
        "it is restarting, exit code 3",
    ),
    "a long-running one ended with 0": (exited(0), LONG_RUNNING, "failed", NOT_MEANT),
    "a long-running one ended": (exited(1), LONG_RUNNING, "failed", "it ended with exit code 1"),
    "a long-running one could not be started": (
        exited(127, error="no such file: serve"), LONG_RUNNING, "failed",
        "it ended with exit code 127 (no such file: serve)",
    ),
    "it is dead": (container(status="dead", exit_code=137), LONG_RUNNING, "failed", "it ended with exit code 137"),
    "it ran out of memory": (
        exited(137, oom_killed=True), LONG_RUNNING, "failed",
        "it ended with exit code 137 because it ran out of memory",
    ),
    "it ran out of memory and is coming back": (
        container(status="restarting", exit_code=137, oom_killed=True), LONG_RUNNING, "failed",
        "it was killed because it ran out of memory",
    ),
    "it crashed once": (
        container(status="restarting", exit_code=1, restart_count=1), LONG_RUNNING, "pending",
        "it is restarting, exit code 1",
    ),
    "it crashes again and again": (
        container(status="restarting", exit_code=1, restart_count=3), LONG_RUNNING, "failed",
        "it crashes again and again: 3 restarts, exit code 1",
    ),
    "it crashes again and again and happens to run": (
        container(restart_count=5, exit_code=1, started_at=JUST_NOW), LONG_RUNNING, "failed",
        "it crashes again and again: 5 restarts, exit code 1",
    ),
    "it crashed often before it settled": (container(restart_count=5), LONG_RUNNING, "running", "it runs"),
    "it crashed often and is healthy": (
        checked("healthy", restart_count=5, started_at=JUST_NOW), LONG_RUNNING, "healthy", "its health check passes",
    ),
    "it is made and not started": (container(status="created"), LONG_RUNNING, "pending", "it is not started yet"),
    "it is made and could not be started": (
        container(status="created", error="port is already allocated"), LONG_RUNNING, "failed",
        "it could not be started: port is already allocated",
    ),
    "it is paused": (container(status="paused"), LONG_RUNNING, "failed", "it is paused"),
    "it is of another release": (
        container(identity="older"), LONG_RUNNING, "pending", "0 of 1 containers are there",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("found", "of", "kind", "cause"), ONE_CONTAINER.values(), ids=ONE_CONTAINER)
def test_one_container(found: InspectedContainer, of: DesiredService, kind: str, cause: str) -> None:
    verdict = judge_one(found, of)
    assert (verdict.kind, verdict.cause) == (kind, cause)
    assert verdict.is_good == (kind in ("healthy", "running", "completed"))
    assert verdict.container == (None if found.identity != FITS else found)


def test_time_alone_may_change_what_has_not_settled() -> None:
    patient = service(extras=ServiceExtras(settle_seconds=30))
    assert judge_one(container(started_at=990), patient).recheck_at == 1020
    assert judge_one(checked("starting", started_at=990), patient).recheck_at is None


def test_a_memory_kill_that_only_an_event_told() -> None:
    oom = frozenset(["web-1"])
    assert judge_one(container(), LONG_RUNNING, oom=oom).is_good, "only a child of its main process was killed"
    assert (
        judge_one(container(restart_count=1), LONG_RUNNING, oom=oom).cause
        == "it was killed because it ran out of memory"
    )
    assert judge_one(exited(137), ONE_SHOT, oom=oom).cause == "it ended with exit code 137 because it ran out of memory"


@pytest.mark.parametrize(
    ("recorded", "kind"),
    [({"web-1": 143}, "asleep"), ({"web-1": 0}, "failed"), ({"web-2": 143}, "failed"), ({}, "failed")],
    ids=["as recorded", "another exit code than recorded", "another container", "no gateway"],
)
def test_asleep(recorded: dict[str, int], kind: str) -> None:
    verdict = judge_one(exited(143), LONG_RUNNING, asleep=recorded)
    assert verdict.kind == kind
    assert verdict.is_good == (kind == "asleep")


@pytest.mark.parametrize(
    ("checked_at", "kind", "cause"),
    [
        (NOW - 9, "pending", "its health check has not passed yet"),
        (NOW - 8, "failed", "it is unhealthy"),
        (NOW - 7, "failed", "it is unhealthy"),
    ],
)
def test_a_health_check_from_before_a_reload_says_nothing(checked_at: float, kind: str, cause: str) -> None:
    verdict = judge_one(checked("unhealthy", checked_at=checked_at), LONG_RUNNING, reloaded={"web-1": NOW - 8})
    assert (verdict.kind, verdict.cause) == (kind, cause)


def test_the_reload_of_one_container_says_nothing_of_another() -> None:
    assert judge_one(checked("unhealthy", checked_at=NOW - 9), LONG_RUNNING, reloaded={"web-2": NOW}).kind == "failed"


def test_a_container_that_the_gateway_woke_is_judged_like_any_other() -> None:
    assert judge_one(checked("starting"), LONG_RUNNING, asleep={"web-1": 143}).kind == "pending"


SLEEPER = service(extras=ServiceExtras(sleeps=True, sleeper=Sleeper("gateway", "gateway", "web")))


@pytest.mark.parametrize(
    ("found", "asleep", "kind", "cause"),
    [
        (container(status="created"), {}, "asleep", "it waits for its first request"),
        (container(status="created", error="no such device"), {}, "failed", "it could not be started: no such device"),
        (exited(143), {"web-1": 143}, "asleep", "the gateway put it to sleep"),
        (exited(143), {}, "failed", "it ended with exit code 143"),
        (
            exited(137, oom_killed=True),
            {"web-1": 143},
            "failed",
            "it ended with exit code 137 because it ran out of memory",
        ),
        (container(started_at=JUST_NOW), {}, "running", "it is awake, or wakes"),
        (checked("starting", started_at=JUST_NOW), {}, "running", "it is awake, or wakes"),
        (checked("healthy"), {}, "healthy", "it is awake, or wakes"),
        (checked("unhealthy"), {}, "failed", "it is unhealthy"),
        (
            container(status="restarting", restart_count=1, oom_killed=True),
            {},
            "failed",
            "it was killed because it ran out of memory",
        ),
    ],
)
def test_one_that_only_the_gateway_starts(
    found: InspectedContainer, asleep: dict[str, int], kind: str, cause: str
) -> None:
    verdict = judge_one(found, SLEEPER, asleep=asleep)
    assert (verdict.kind, verdict.cause) == (kind, cause)


TWO = service(scale=2)
SECOND = {"id": "web-2", "name": "shop-web-2"}
REPLICAS: dict[str, tuple[list[InspectedContainer], str, str]] = {
    "both run": ([container(), container(**SECOND)], "running", "it runs"),
    "one is missing": ([container()], "pending", "1 of 2 containers are there"),
    "one is of another release": (
        [container(), container(identity="older", **SECOND)], "pending", "1 of 2 containers are there",
    ),
    "one failed": ([container(), exited(1, **SECOND)], "failed", "it ended with exit code 1"),
    "one failed and one is missing": ([exited(1)], "failed", "it ended with exit code 1"),
    "one is pending": (
        [container(), container(started_at=JUST_NOW, **SECOND)], "pending", "it has not run long enough yet",
    ),
    "an older one beside both fails and nobody minds": (
        [container(), container(**SECOND), exited(1, id="web-0", identity="older")], "running", "it runs",
    ),
    "none is there": ([], "pending", "0 of 2 containers are there"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "kind", "cause"), REPLICAS.values(), ids=REPLICAS)
def test_two_replicas(found: list[InspectedContainer], kind: str, cause: str) -> None:
    verdict = judge_one(found, TWO)
    assert (verdict.kind, verdict.cause) == (kind, cause)


def test_no_replica_is_wanted() -> None:
    assert judge_one([], service(scale=0)) == Verdict("completed", "its scale is 0")


INSPECTED: dict[str, Any] = {
    "Id": "abc",
    "Name": "/shop-web-1",
    "RestartCount": 2,
    "Config": {"Labels": {"com.docker.compose.service": "web", "modelyard.identity": FITS}},
    "State": {
        "Status": "running", "ExitCode": 0, "OOMKilled": False, "Error": "", "StartedAt": "1970-01-01T00:00:01.5Z",
        "Health": {"Status": "unhealthy", "Log": [
            {"Start": "1970-01-01T02:00:07+02:00", "Output": "first"},
            {"Start": "1970-01-01T02:00:08.25+02:00", "Output": " refused\n"},
        ]},
    },
}  # fmt: skip


def test_what_the_engine_tells_of_a_container() -> None:
    assert parse_container(INSPECTED) == container(
        id="abc", restart_count=2, started_at=1.5, has_check=True, health="unhealthy", health_output="refused",
        checked_at=8.25,
    )  # fmt: skip


def test_what_the_engine_tells_of_a_container_without_labels_and_check() -> None:
    state = {**INSPECTED["State"], "Health": None}
    found = parse_container({**INSPECTED, "Config": {"Labels": None}, "State": state})
    assert (found.service, found.identity, found.has_check, found.health_output) == ("", "", False, "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2026-11-20T10:00:00Z", 1795168800.0),
        ("2026-11-20T10:00:00.5Z", 1795168800.5),
        ("2026-11-20T10:00:00.123456789Z", 1795168800.1234568),
        ("2026-11-20T15:30:00.5+05:30", 1795168800.5),
        ("2026-11-20T07:00:00-03:00", 1795168800.0),
        ("0001-01-01T00:00:00Z", 0.0),
    ],
)
def test_time(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-20", "2026-13-20T10:00:00Z", "2026-11-20T10:00:00", "2026-11-20T10:00:00+99:00"]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_time(text)
    assert str(caught.value) == (
        f"Cannot read the engine's time {text!r}: it is not of the form 2026-11-20T10:00:00.123456789Z; "
        "report this with the engine's version."
    )


@given(
    st.text(max_size=30)
    | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\Z")
)
def test_whatever_the_engine_says_is_a_time_or_refused(text: str) -> None:
    with contextlib.suppress(PlatformError):
        assert parse_time(text) <= 253402300800 + 86400
