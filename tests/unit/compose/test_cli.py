# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Compose is asked, and what its answers become; Compose itself answers in the integration tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.cli import (
    ComposeCli,
    _parse_model,
    _warnings,
    find_plugin,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Project
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from hypothesis import given
from hypothesis import strategies as st

LAYER = {"services": {"web": {"image": "web:1"}}}
Answer = Callable[[list[str]], Completed]


def compose(answer: Answer) -> ComposeCli:
    def run(argv: Any, **_: Any) -> Completed:
        return answer(list(argv))

    return ComposeCli("/plugins/docker-compose", "shop", "/site/projects/shop", run=run)


def project(*layers: Any) -> Project:
    return Project(name="shop", directory="/site", folder="/site/projects/shop", layers=layers)


@pytest.mark.parametrize(
    ("stdout", "version"),
    [
        ("2.26.1\n", "2.26.1"),
        ("v2.24.4", "2.24.4"),
        ("2.26.1-4\n", "2.26.1-4"),
        ("5.5.1", "5.5.1"),
        ("2.100.0", "2.100.0"),
    ],
)
def test_a_version_that_works(stdout: str, version: str) -> None:
    assert compose(lambda _: Completed(0, stdout, "")).version() == version


@pytest.mark.parametrize(
    ("done", "message"),
    [
        (
            Completed(0, "2.24.3\n", ""),
            "Cannot use Compose 2.24.3 at /plugins/docker-compose: the oldest that works is 2.24.4; upgrade it.",
        ),
        (
            Completed(0, "1.29.2", ""),
            "Cannot use Compose 1.29.2 at /plugins/docker-compose: the oldest that works is 2.24.4; upgrade it.",
        ),
        (
            Completed(0, "dev", ""),
            "Cannot use Compose at /plugins/docker-compose: it does not tell its version (dev); reinstall it.",
        ),
        (
            Completed(127, "", "first\nno such library\n"),
            (
                "Cannot use Compose at /plugins/docker-compose: it does not tell its version (no such library); "
                "reinstall it."
            ),
        ),
        (
            Completed(1, "", ""),
            "Cannot use Compose at /plugins/docker-compose: it does not tell its version (exit code 1); reinstall it.",
        ),
    ],
    ids=["just below the floor", "the first Compose", "no number", "it does not start", "it says nothing"],
)
def test_a_version_that_does_not_work(done: Completed, message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        compose(lambda _: done).version()
    assert str(caught.value) == message


def test_a_refusal_names_our_layers_and_leaves_warnings_out() -> None:
    def refuse(argv: list[str]) -> Completed:
        first, second = [argv[place + 1] for place, part in enumerate(argv) if part == "-f"]
        return Completed(
            15, "", f'time="now" level=warning msg="obsolete"\n{second}0: no\nvalidating {first}: {second} bad'
        )

    with pytest.raises(PlatformError) as caught:
        compose(refuse).resolve(project(LAYER, LAYER))
    refusal = str(caught.value)
    assert refusal.startswith("Cannot read project 'shop': Compose says: /proc/self/fd/")
    assert refusal.endswith("0: no; validating layer 1: layer 2 bad; correct the definition.")


def test_a_refusal_without_a_word() -> None:
    with pytest.raises(PlatformError) as caught:
        compose(lambda _: Completed(15, "", "")).resolve(project(LAYER))
    assert str(caught.value) == "Cannot read project 'shop': Compose says: nothing; correct the definition."


def test_compose_never_answers() -> None:
    def hang(argv: list[str]) -> Completed:
        raise subprocess.TimeoutExpired(argv, 120.0)

    with pytest.raises(PlatformError) as caught:
        compose(hang).resolve(project(LAYER))
    assert str(caught.value) == (
        "Cannot read project 'shop': Compose gave no answer within 120 s; look what keeps it (an env file or an "
        "include "
        "that is a pipe or on a network disk), and run again."
    )


def test_a_project_of_layers_reads_no_env_file_by_itself() -> None:
    asked: list[list[str]] = []

    def answer(argv: list[str]) -> Completed:
        asked.append(argv)
        return Completed(0, "{}", 'time="x" level=warning msg="say \\"hi\\""')

    assert compose(answer).resolve(project(LAYER)).warnings == ('say "hi"',)
    assert asked[0][asked[0].index("--env-file") + 1] == "/dev/null"


@given(st.text(max_size=60) | st.text('level=warning msg"\\ ', max_size=60))
def test_whatever_compose_says_is_read_or_refused(text: str) -> None:
    assert isinstance(_warnings(text), list)
    with contextlib.suppress(PlatformError):
        assert isinstance(_parse_model(text), dict)


def test_what_compose_wrote_is_no_model() -> None:
    for text in ("", "[]", "{"):
        with pytest.raises(PlatformError) as caught:
            _parse_model(text)
        assert str(caught.value) == (
            "Cannot read what Compose wrote: it is no JSON mapping; report this with Compose's version."
        )


def test_the_plugin_of_the_user_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "cli-plugins"
    folder.mkdir()
    plugin = folder / "docker-compose"
    plugin.touch(0o700)
    assert find_plugin({"DOCKER_CONFIG": str(tmp_path)}) == str(plugin)
    (tmp_path / ".docker").symlink_to(tmp_path)
    assert find_plugin({"HOME": str(tmp_path)}) == os.path.join(tmp_path, ".docker/cli-plugins/docker-compose")


def test_a_compose_that_does_not_tell_its_version_in_time() -> None:
    def answer(argv: list[str]) -> Completed:
        raise subprocess.TimeoutExpired(argv, 120.0)

    with pytest.raises(PlatformError) as caught:
        compose(answer).version()
    assert str(caught.value) == (
        "Cannot use Compose at /plugins/docker-compose: it does not tell its version within 120 s; look what keeps it "
        "(docker-compose version), or reinstall it."
    )


def test_up_gets_the_variables_that_become_secrets(tmp_path: Path) -> None:
    plugin = tmp_path / "docker-compose"
    plugin.write_text('#!/bin/sh\necho "$TOKEN" "$@" >&2\nexit 1\n')
    plugin.chmod(0o755)
    up = ComposeCli(str(plugin), "shop", "/site/projects/shop").start_up(
        LAYER, ["web"], options=[], inherit=[], env={"TOKEN": "of the store"}, env_files=["/etc/a.env"]
    )
    up.process.wait(timeout=10)
    said = up.failure()
    up.end()
    assert said is not None
    assert said.startswith("of the store --ansi never")
    assert "--env-file /etc/a.env -f - up --detach" in said
