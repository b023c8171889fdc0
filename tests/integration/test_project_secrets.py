# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No secret value anywhere but where it belongs, in runs that succeed and in runs that fail."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import docker
import pytest
from support.applied import AppliedProject, sleeper
from support.arguments import ArgumentWatch
from support.modules import ModuleResult
from support.site import Site

#: Different in each spelling.
VALUE = 'Zk7$pq/"Wm+9\\xL0 vT?ü=end'
FILE_ONLY, IN_ENV, KEY = "Hq3$Rt" + VALUE, "Bn8$Yu" + VALUE, "pair"


def spellings(value: str) -> set[str]:
    """Return the value as it might stand in a file, a log, a request or a definition."""
    encoded = value.encode()
    return {
        value,
        value.replace("$", "$$"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
        quote(value),
        base64.b64encode(encoded).decode(),
        base64.urlsafe_b64encode(encoded).decode(),
    }


def pem_lines(pem: str) -> set[str]:
    return {line for line in pem.splitlines() if line and not line.startswith("-----")}


class Guarded:
    """A project with secrets of every way in, and the values that must not be seen."""

    def __init__(self, project: AppliedProject, app: str, base: str) -> None:
        self.project, self._app, self._base = project, app, base
        project.keep_secrets(
            {"name": "file", "kind": "password", "value": FILE_ONLY},
            {"name": "env", "kind": "password", "value": IN_ENV},
            {"name": "pair", "kind": "ed25519"},
        )
        store = json.loads(Path(project.store).read_text(encoding="utf-8"))
        self.pem = store["secrets"]["pair"]["versions"]["1"]["secret"]["private"]
        self.hidden = spellings(FILE_ONLY) | pem_lines(self.pem) | spellings(self.pem)
        self.everything = self.hidden | spellings(IN_ENV)

    def options(self, **service: Any) -> dict[str, Any]:
        web = sleeper(
            self._base,
            **{
                "user": "1000:1000",
                "volumes": ["./keys:/keys:ro"],
                "environment": {"TOKEN": "@@secret:env@@"},
                **service,
            },
        )
        return {
            "layers": [{"services": {"web": web, "beside": sleeper(self._base)}}],
            "secrets_in_env": ["TOKEN"],
            "files": [
                {"path": "keys/password", "content": "password: @@secret:file@@\n"},
                {"path": "keys/pair", "content": "@@secret:pair@@"},
            ],
        }

    def broken_options(self) -> dict[str, Any]:
        """Return options of a container that tells its secrets and ends."""
        convert = "import sys, json, base64; t = sys.stdin.read(); print(json.dumps(t), base64.b64encode(t.encode()))"
        tell = f"cat /keys/*; echo $$TOKEN; tail -c +11 /keys/password | tr -d '\\n' | python3 -c '{convert}'; exit 3"
        return self.options(command=["bash", "-c", tell], extras={"settle_seconds": 20})

    def seen_in(self, text: str, values: set[str]) -> set[str]:
        return {value for value in values if value in text}

    def assert_silent(self, result: ModuleResult) -> None:
        """Nothing of what Ansible or the module wrote holds a value."""
        for text in (result.stdout, result.stderr, json.dumps(dict(result.values)), repr(dict(result.values))):
            assert not self.seen_in(text, self.everything)

    def assert_stored_nowhere_else(self) -> None:
        """On disk and at the engine the values are where they belong, alone."""
        directory = self.project.site.directory
        own = {self.project.folder / "keys" / name for name in ("password", "pair")}
        for path in directory.rglob("*"):
            if path.is_file() and path not in own:
                assert not self.seen_in(path.read_bytes().decode(errors="replace"), self.everything), path
        for container in self.project.containers():
            # The output of its health check is the container's own, as its log is.
            attributes = {**container.attrs, "State": {**container.attrs["State"], "Health": None}}
            assert not self.seen_in(json.dumps(attributes, ensure_ascii=False), self.hidden), container.name
            blanked = {**attributes, "Config": {**attributes["Config"], "Env": []}}
            assert not self.seen_in(json.dumps(blanked, ensure_ascii=False), self.everything), container.name
        for image in self.project.engine.images.list():
            if any(self.project.name in tag for tag in image.tags):
                shown = json.dumps([image.attrs, image.history()], ensure_ascii=False)
                assert not self.seen_in(shown, self.everything), image.tags


@pytest.fixture
def guarded(engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str) -> Guarded:
    return Guarded(AppliedProject(engine, site), app_images["v1"], base_image)


def test_a_run_that_succeeds_shows_no_secret(guarded: Guarded) -> None:
    project = guarded.project
    with ArgumentWatch() as watcher:
        guarded.assert_silent(project.run(check=True, diff=True, **guarded.options()))
        first = project.run_by_ansible(verbosity=4, **guarded.options())
        assert first.rc == 0, first.msg
        guarded.assert_silent(first)
        project.keep_secrets(rotate=["pair"])
        guarded.assert_silent(project.run(check=True, diff=True, **guarded.options()))
        guarded.assert_silent(project.run(diff=True, **guarded.options()))
    assert len(watcher.seen) > 20
    arguments = watcher.text()
    assert not guarded.seen_in(arguments, guarded.everything)
    guarded.assert_stored_nowhere_else()
    environment = dict(entry.split("=", 1) for entry in project.container("web").attrs["Config"]["Env"])
    assert environment["TOKEN"] == IN_ENV
    assert project.read("web", "cat", "/keys/password") == f"password: {FILE_ONLY}\n"


def test_a_file_with_a_secret_is_readable_by_root_and_the_containers_user_alone(guarded: Guarded) -> None:
    project = guarded.project
    project.apply(**guarded.options())
    for name in ("password", "pair"):
        found = (project.folder / "keys" / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o400, 1000, 0)
    container = project.container("web")
    assert container.exec_run(["cat", "/keys/pair"], user="1000").output.decode() == guarded.pem
    assert container.exec_run(["cat", "/keys/pair"], user="1001").exit_code != 0
    assert stat.S_IMODE((project.folder / "compose.yaml").stat().st_mode) == 0o600
    released = [path for path in (project.site.directory / "releases").rglob("*") if path.is_file()]
    assert released
    assert {stat.S_IMODE(path.stat().st_mode) for path in released} == {0o600}


def test_a_container_that_tells_its_secrets_and_ends_is_quoted_without_them(guarded: Guarded) -> None:
    project = guarded.project
    project.apply(**guarded.options())
    direct = project.run(**guarded.broken_options())
    assert direct.failed
    assert "it ended with exit code 3" in direct.msg
    assert "***" in direct.msg, "its log is quoted"
    guarded.assert_silent(direct)
    played = project.run_by_ansible(verbosity=4, **guarded.broken_options())
    assert played.failed
    guarded.assert_silent(played)
    guarded.assert_stored_nowhere_else()


def failing_options(guarded: Guarded, kind: str) -> dict[str, Any]:
    if kind == "an image that cannot be had":
        return guarded.options(image=guarded.project.site.name("missing"))
    if kind == "a definition that Compose refuses":
        return guarded.options(ports=["nonsense @@secret:file@@"])
    if kind == "a secret in a label":
        return guarded.options(labels={"token": "@@secret:env@@"})
    return guarded.options(healthcheck={"test": ["CMD", "sh", "-c", "cat /keys/password; exit 1"], "interval": "1s",
                                        "retries": 1})  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [
        "an image that cannot be had",
        "a definition that Compose refuses",
        "a secret in a label",
        "a health check that tells a secret",
    ],
)
def test_a_run_that_fails_shows_no_secret(guarded: Guarded, kind: str) -> None:
    result = guarded.project.run_by_ansible(verbosity=4, **failing_options(guarded, kind))
    assert result.failed
    assert result.msg.startswith("Cannot ")
    guarded.assert_silent(result)
    guarded.assert_stored_nowhere_else()


def test_an_unforeseen_failure_shows_no_secret(guarded: Guarded, tmp_path: Path) -> None:
    """What nobody has thought of: a Compose that knows a secret and writes half of a model."""
    plugin = tmp_path / "config" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    half = tmp_path / "half"
    half.write_text(json.dumps({"services": {"web": {"image": FILE_ONLY}}})[:-2], encoding="utf-8")
    plugin.write_text(f'#!/bin/sh\ncase "$*" in *version*) echo 2.26.1 ;; *) cat {half} ;; esac\n', encoding="utf-8")
    plugin.chmod(0o755)
    project = guarded.project
    project.keep_secrets(rotate=["pair"])
    result = project.run_by_ansible(
        verbosity=4, environment={"DOCKER_CONFIG": str(tmp_path / "config")}, **guarded.options()
    )
    assert result.failed
    guarded.assert_silent(result)
    assert project.containers() == []


def test_the_values_would_be_found(guarded: Guarded) -> None:
    """The search itself: each spelling is found in a text that has it."""
    for value in guarded.everything:
        assert guarded.seen_in(f"before {value} after", guarded.everything)
    written = subprocess.run(["cat", guarded.project.store], check=True, capture_output=True, text=True).stdout
    assert guarded.seen_in(written, guarded.everything)
