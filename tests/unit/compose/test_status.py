# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a project: verdicts, drift, problems with advice; which release comes back; the text of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.asleep import NOTHING_ASLEEP, SleepRecord
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import Target
from ansible_collections.modelyard.platform.plugins.module_utils._compose.release import Progress, Release
from ansible_collections.modelyard.platform.plugins.module_utils._compose.run_release import choose_release, parse_wish
from ansible_collections.modelyard.platform.plugins.module_utils._compose.status import (
    Port,
    ProjectStatus,
    SeenContainer,
    format_time,
    is_locked,
    make_status,
    status_to_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.verdict import InspectedContainer
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.text import (
    render_overview,
    render_project,
    render_releases,
)
from ansible_collections.modelyard.platform.plugins.module_utils._lock import hold_lock
from ansible_collections.modelyard.platform.plugins.module_utils._table import WIDTH, render_table
from support.compose_cases import make_desired

NOW = 1_790_000_000.0
SERVICES = make_desired({"services": {"web": {}, "worker": {}}})
TARGET = Target(
    name="shop", folder="/opt/modelyard/projects/shop", model={}, services=SERVICES, secrets_in_env=("KEY",)
)
BEYOND = "it is beyond the scale of 1"


def seen(service: str, number: int = 1, **state: Any) -> SeenContainer:
    identity = SERVICES[service].identity if service in SERVICES else "other"
    found = InspectedContainer(
        id=f"{service}{number}",
        name=f"shop-{service}-{number}",
        service=service,
        identity=identity,
        status="running",
        exit_code=0,
        oom_killed=False,
        restart_count=0,
        started_at=NOW - 60,
        has_check=False,
        health="",
        health_output="",
        error="",
    )
    return SeenContainer(replace(found, **state), "sha256:1", "hash", (Port("10.0.0.5", 80, 8080, "tcp"),))


GOOD = (seen("web"), seen("worker"))
RELEASE = Release(
    number=3,
    result="ok",
    started_at=NOW - 70,
    finished_at=NOW - 60,
    by="ann",
    services={name: {"image": "web:1", "image_id": "sha256:1", "kept_as": ""} for name in SERVICES},
    config_hashes={"web1": "hash", "worker1": "hash"},
)
FAILED = Release(
    number=4, result="failed", started_at=NOW, by="bob", cause="service 'web': it is unhealthy\nlast log lines"
)


def status_of(
    containers: tuple[SeenContainer, ...] = GOOD,
    *,
    progress: Progress = Progress(current=3),  # noqa: B008 - a value
    last: Release | None = None,
    locked: bool = False,
    record: SleepRecord = NOTHING_ASLEEP,
    release: Release = RELEASE,
) -> ProjectStatus:
    return make_status(
        "shop",
        progress,
        release=release if progress.current else None,
        target=TARGET if progress.current else None,
        last=last,
        releases=(1, 3),
        containers=containers,
        is_locked=locked,
        record=record,
        now=NOW,
    )


def problems(status: ProjectStatus) -> list[tuple[str, str]]:
    return [(problem.text, problem.advice) for problem in status.problems]


def test_all_is_well() -> None:
    status = status_of()
    assert status.is_good
    assert {name: verdict.kind for name, verdict in status.verdicts.items()} == {"web": "running", "worker": "running"}
    assert status_to_record(status)["services"]["web"]["ports"] == ["10.0.0.5:80->8080/tcp"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(
            status_of((GOOD[0], seen("worker", status="exited", exit_code=3))),
            [("service 'worker': it ended with exit code 3", "modelyard logs shop worker")],
            id="a service that died",
        ),
        pytest.param(
            status_of((GOOD[0],)),
            [("service 'worker': 0 of 1 containers are there", "apply the project again")],
            id="a container that is not there, and nobody at work",
        ),
        pytest.param(status_of((GOOD[0],), locked=True), [], id="a container that somebody is about to make"),
        pytest.param(
            status_of((GOOD[0], seen("worker", status="exited", exit_code=137)), record=SleepRecord({"worker1": 137})),
            [],
            id="asleep on purpose",
        ),
        pytest.param(
            status_of((), progress=Progress(current=3, asked="absent")), [], id="nothing there, as somebody asked for"
        ),
        pytest.param(
            status_of((*GOOD, seen("old"))),
            [
                (
                    "container 'shop-old-1' is not of the release: the release has no service 'old'",
                    "apply the project again",
                )
            ],
            id="a service too many",
        ),
        pytest.param(
            status_of((*GOOD, seen("web", 2))),
            [("container 'shop-web-2' is not of the release: " + BEYOND, "apply the project again")],
            id="a replica too many",
        ),
        pytest.param(
            status_of((replace(GOOD[0], image_id="sha256:2"), GOOD[1])),
            [("container 'shop-web-1' is not of the release: it runs another image", "apply the project again")],
            id="another image",
        ),
        pytest.param(
            status_of((replace(GOOD[0], config_hash="new"), GOOD[1])),
            [("container 'shop-web-1' is not of the release: it was changed by hand", "apply the project again")],
            id="another hash of Compose",
        ),
        pytest.param(
            status_of(progress=Progress(current=3, in_progress=4), last=replace(FAILED, result="applying")),
            [("the apply of release 4 was interrupted", "run it again, or modelyard rollback shop 3")],
            id="an apply that was killed",
        ),
        pytest.param(
            status_of(progress=Progress(current=3, in_progress=4), last=FAILED),
            [
                (
                    "release 4 failed: service 'web': it is unhealthy",
                    "mend it and apply again, or modelyard rollback shop 3",
                )
            ],
            id="an apply that failed and was left",
        ),
        pytest.param(
            status_of((), progress=Progress(in_progress=1), last=replace(FAILED, number=1)),
            [
                (
                    "release 1 failed: service 'web': it is unhealthy",
                    "mend it and apply again, or look at it: modelyard logs shop",
                )
            ],
            id="the first apply failed",
        ),
    ],
)
def test_problems_are_named_with_what_to_do(status: ProjectStatus, expected: list[tuple[str, str]]) -> None:
    assert problems(status) == expected


def test_definition_that_moved_is_drift() -> None:
    moved = seen("web", identity="older")
    assert status_of((moved, GOOD[1])).drift == {"shop-web-1": "it was made from another definition or other content"}


def test_apply_under_way_is_no_problem() -> None:
    status = status_of(progress=Progress(current=3, in_progress=4), last=FAILED, locked=True)
    assert (status.apply, status.problems) == ("under_way", ())


def test_overview_fits_a_terminal_and_names_what_is_wrong_and_what_to_do() -> None:
    bad = status_of((GOOD[0], seen("worker", status="exited", exit_code=3, error="a long story " * 12)))
    text = render_overview([bad, replace(status_of(), name="atlas")])
    assert text.splitlines()[:4] == [
        "PROJECT  RELEASE  SERVICE  VERDICT",
        "shop     3        web      running",
        "                  worker   FAILED",
        "atlas    3        web      running",
    ]
    assert "  -> modelyard logs shop worker\n" in text
    assert text.endswith("Something is wrong with shop.\n")
    assert max(map(len, text.splitlines())) <= WIDTH


def test_project_page_fits_a_terminal_and_names_containers_and_variables() -> None:
    text = render_project(status_of())
    assert text.startswith("shop: release 3 of 2026-09-21T14:12:20Z by ann\nKept releases: 1, 3\n")
    assert "shop-web-1" in text
    assert "Variables with a secret: KEY\n" in text
    assert text.endswith("All is well.\n")
    assert max(map(len, text.splitlines())) <= WIDTH


def test_releases_are_a_line_each_with_what_became_of_them() -> None:
    text = render_releases([RELEASE, FAILED, replace(RELEASE, number=5, rolled_back_to=3)], 5)
    assert [line.split(maxsplit=4)[-1] for line in text.splitlines()[1:]] == [
        "ann", "service 'web': it is unhealthy", "serves now; back to 3",
    ]  # fmt: skip


def test_empty_table_is_empty_and_a_word_that_is_too_long_stays_whole() -> None:
    assert render_table([]) == ""
    assert render_table([("a", "x" * 100)]) == "a  " + "x" * 100 + "\n"


def test_no_project_is_said_so() -> None:
    assert render_overview([]) == "No project was applied here yet.\n"


def test_a_lock_is_seen_and_looking_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.lock"
    assert not is_locked(str(path))
    assert not path.exists()
    with hold_lock(str(path), purpose="apply", wait_seconds=0):
        assert is_locked(str(path))
    assert not is_locked(str(path))


def test_time_is_utc() -> None:
    assert (format_time(0.0), format_time(None)) == ("1970-01-01T00:00:00Z", None)


def history(*entries: tuple[int, str, int | None]) -> list[Release]:
    return [
        Release(number=number, result=result, started_at=0.0, rolled_back_to=back)  # type: ignore[arg-type]
        for number, result, back in entries
    ]


@pytest.mark.parametrize(
    ("releases", "current", "expected"),
    [
        pytest.param([(1, "ok", None), (2, "ok", None)], 2, 1, id="the one before"),
        pytest.param([(1, "ok", None), (2, "failed", None), (3, "ok", None)], 3, 1, id="never one that failed"),
        pytest.param([(1, "ok", None), (2, "ok", None), (3, "ok", None), (4, "ok", 2)], 4, 1, id="further back"),
        pytest.param(
            [(1, "ok", None), (2, "ok", None), (3, "ok", 1), (4, "ok", None)], 4, 3, id="a way back served too"
        ),
        pytest.param(
            [(1, "ok", None), (2, "ok", None), (3, "ok", None), (4, "ok", 2), (5, "ok", 4)],
            5,
            1,
            id="through two ways back",
        ),
    ],
)
def test_last_good_release_before_what_serves(
    releases: list[tuple[int, str, int | None]], current: int, expected: int
) -> None:
    assert choose_release(history(*releases), current, None, project="shop") == expected


@pytest.mark.parametrize(
    ("releases", "current", "wanted", "message"),
    [
        pytest.param(
            [], None, None,
            "Cannot go back in project 'shop': no good release before any apply is kept; good ones are none, name one "
            "of these.",
            id="nothing kept",
        ),
        pytest.param(
            [(4, "ok", None)], 4, 1,
            "Cannot go back to release 1 of project 'shop': it is not kept; good ones are 4, choose one of these.",
            id="pruned",
        ),
        pytest.param(
            [(4, "ok", None), (5, "interrupted", None)], 4, 5,
            "Cannot go back to release 5 of project 'shop': its result is 'interrupted', and only what served once "
            "comes back; good ones are 4, choose one of these.",
            id="never served",
        ),
    ],
)  # fmt: skip
def test_what_cannot_come_back_is_refused(
    releases: list[tuple[int, str, int | None]], current: int | None, wanted: int | None, message: str
) -> None:
    with pytest.raises(PlatformError) as raised:
        choose_release(history(*releases), current, wanted, project="shop")
    assert str(raised.value) == message


def test_a_bad_name_is_refused_before_it_names_a_folder() -> None:
    params = {"name": "../x", "directory": "/opt", "secret_store": "/s", "state": "listed", "keep": 5}
    with pytest.raises(PlatformError, match=r"Cannot use project name '\.\./x'"):
        parse_wish(params)


UNPROVEN = replace(RELEASE, unproven={"worker": "no room"})


@pytest.mark.parametrize(
    ("record", "unproven", "told"),
    [
        (NOTHING_ASLEEP, "no room", []),
        (SleepRecord(woken=frozenset({"worker1"})), "", []),
        (
            SleepRecord(failed={"worker1": "no such device"}),
            "no room",
            [("service 'worker': the gateway could not wake it: no such device", "apply the project again")],
        ),
    ],
    ids=["nothing is known", "the gateway woke it", "its wake failed"],
)
def test_what_is_known_of_an_unproven_service(record: SleepRecord, unproven: str, told: list[tuple[str, str]]) -> None:
    status = status_of(record=record, release=UNPROVEN)
    assert status_to_record(status)["services"]["worker"]["unproven"] == unproven
    assert problems(status) == told
    assert ("Not proven yet: worker: no room\n" in render_project(status)) == bool(unproven)


def test_a_wake_that_failed_before_the_project_was_stopped_is_no_problem_of_it() -> None:
    record = SleepRecord(failed={"worker1": "no such device"})
    status = status_of(progress=Progress(current=3, asked="stopped"), record=record, release=UNPROVEN)
    assert status.verdicts == {}
    assert not [text for text, _advice in problems(status) if "could not wake" in text]
