# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._registry.logins import Login, Registries, config_path
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

HOST = "registry.example.org"
OURS = Login(HOST, "deploy", "word")
HUB = Login("docker.io", "deploy", "word")


def auth(user: str, password: str, **more: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode(), **more}


class Recorder:
    """Remembers what it was to run, and what it was given; helpers know one login."""

    def __init__(self, **answer: Any) -> None:
        self.calls: list[tuple[str, str]] = []
        self.answer = Completed(answer.get("rc", 0), answer.get("out", ""), answer.get("err", ""))

    def __call__(self, argv: list[str], *, stdin: str = "", **_more: Any) -> Completed:
        self.calls.append((" ".join(argv), stdin))
        return self.answer


def registries(folder: Path, config: object, run: Recorder | None = None) -> Registries:
    path = folder / "config.json"
    if config is not None:
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)
    return Registries(str(path), run or Recorder())  # type: ignore[arg-type]


def planned(found: Registries, *wanted: Login, unwanted: tuple[Login, ...] = ()) -> list[str]:
    return [f"{step.action} {step.subject}: {step.reason}" for step in found.plan(wanted, unwanted)]


PLANS: list[tuple[str, Mapping[str, Any] | None, Login, list[str]]] = [
    ("no file", None, OURS, [f"login {HOST}: nobody is logged in"]),
    ("no logins", {"detachKeys": "ctrl-q"}, OURS, [f"login {HOST}: nobody is logged in"]),
    ("a login at another", {"auths": {"other": auth("deploy", "word")}}, OURS, [f"login {HOST}: nobody is logged in"]),
    ("an empty entry", {"auths": {HOST: {}}}, OURS, [f"login {HOST}: nobody is logged in"]),
    ("an entry that is broken", {"auths": {HOST: {"auth": "%"}}}, OURS, [f"login {HOST}: nobody is logged in"]),
    ("it is there", {"auths": {HOST: auth("deploy", "word")}}, OURS, []),
    ("a colon in the password", {"auths": {HOST: auth("deploy", "a:b")}}, Login(HOST, "deploy", "a:b"), []),
    (
        "another user", {"auths": {HOST: auth("root", "word")}}, OURS,
        [f"login {HOST}: user 'root' is logged in, not 'deploy'"],
    ),
    (
        "another password", {"auths": {HOST: auth("deploy", "old")}}, OURS,
        [f"login {HOST}: the password is another one"],
    ),
    ("a token of the registry", {"auths": {HOST: auth("deploy", "", identitytoken="t")}}, OURS, []),
    (
        "a secret that is to come", {"auths": {HOST: auth("deploy", "word")}}, Login(HOST, "deploy", None),
        [f"login {HOST}: its secret is not in the store yet"],
    ),
    ("Docker Hub", {"auths": {"https://index.docker.io/v1/": auth("deploy", "word")}}, HUB, []),
]  # fmt: skip


@pytest.mark.parametrize(("config", "login", "wanted"), [row[1:] for row in PLANS], ids=[row[0] for row in PLANS])
def test_what_is_planned(config: Mapping[str, Any] | None, login: Login, wanted: list[str], tmp_path: Path) -> None:
    assert planned(registries(tmp_path, config), login) == wanted


def test_a_helper_is_asked_and_not_the_file(tmp_path: Path) -> None:
    known = json.dumps({"ServerURL": HOST, "Username": "deploy", "Secret": "word"})
    run = Recorder(out=known)
    config = {"auths": {HOST: {}}, "credHelpers": {HOST: "pass"}, "credsStore": "desktop"}
    assert planned(registries(tmp_path, config, run), OURS) == []
    assert run.calls == [("docker-credential-pass get", HOST)]


def test_a_helper_that_knows_nothing_says_so_by_its_exit(tmp_path: Path) -> None:
    run = Recorder(rc=1, out="credentials not found in native keychain")
    found = registries(tmp_path, {"credsStore": "desktop"}, run)
    assert planned(found, OURS) == [f"login {HOST}: nobody is logged in"]


def test_a_helper_that_is_not_there_is_told(tmp_path: Path) -> None:
    def missing(_argv: list[str], **_more: Any) -> Completed:
        raise FileNotFoundError

    with pytest.raises(PlatformError) as caught:
        planned(registries(tmp_path, {"credsStore": "desktop"}, missing), OURS)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"Cannot see the logins to registries: {tmp_path}/config.json names the helper 'docker-credential-desktop', "
        "which is not there or does not answer; install it, or take it out of that file."
    )


def test_a_file_that_is_no_mapping_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as caught:
        registries(tmp_path, ["no"])
    assert str(caught.value) == (
        f"Cannot see the logins to registries: {tmp_path}/config.json is no JSON mapping that can be read; mend it, or "
        "move it away."
    )


@pytest.mark.parametrize(
    ("unwanted", "wanted"),
    [
        (OURS, [f"logout {HOST}: user 'deploy' is no longer to be logged in"]),
        (Login(HOST, "deploy", None), [f"logout {HOST}: user 'deploy' is no longer to be logged in"]),
        (Login(HOST, "root", "word"), []),
        (Login(HOST, "deploy", "other"), []),
        (HUB, []),
    ],
    ids=["ours", "of that name", "another user", "another password", "nobody is logged in"],
)
def test_who_is_logged_out(unwanted: Login, wanted: list[str], tmp_path: Path) -> None:
    found = registries(tmp_path, {"auths": {HOST: auth("deploy", "word")}})
    assert planned(found, unwanted=(unwanted,)) == wanted


def test_a_password_is_given_by_standard_input_and_docker_hub_is_no_argument(tmp_path: Path) -> None:
    run = Recorder()
    found = registries(tmp_path, None, run)
    found.carry_out(found.plan([OURS, HUB], []))
    assert run.calls == [
        (f"docker login --username deploy --password-stdin {HOST}", "word"),
        ("docker login --username deploy --password-stdin", "word"),
    ]


def test_a_refusal_is_told_in_the_registrys_words(tmp_path: Path) -> None:
    found = registries(tmp_path, None, Recorder(rc=1, err="WARNING! a\nError: unauthorized: no such user\n"))
    with pytest.raises(PlatformError) as caught:
        found.carry_out(found.plan([OURS], []))
    assert str(caught.value) == (
        f"Cannot log in to registry '{HOST}' as 'deploy': Error: unauthorized: no such user; correct its name, the "
        "user or the secret, or look at the way to it."
    )


def test_no_login_shows_its_password() -> None:
    assert "word" not in repr(OURS)


def test_the_file_is_where_the_cli_looks() -> None:
    assert config_path({}) == "/root/.docker/config.json"
    assert config_path({"HOME": "/home/a"}) == "/home/a/.docker/config.json"
    assert config_path({"HOME": "/home/a", "DOCKER_CONFIG": "/etc/d"}) == "/etc/d/config.json"
