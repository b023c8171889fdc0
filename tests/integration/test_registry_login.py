# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module registry_login and a real registry that asks for a password: who is logged in pulls, and nobody sees it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from support.applied import AppliedProject, sleeper
from support.arguments import ArgumentWatch
from support.modules import ModuleResult, run_by_ansible, run_module
from support.registry import run_registry, set_users
from support.site import Site, new_prefix
from support.whole_site import WholeSite

#: Of a site that publishes nothing.
PORTS = {"http": 18180, "https": 18543, "postgres": 15532, "edge_api": 18199}
USER, PASSWORD, NEXT = "deploy", 'Rq8$vN/"k+3 =wT', "t0tally-Other_word"


class Team:
    """A team's registry with an image, and a host that has it not: its docker CLI has a configuration of its own."""

    def __init__(self, registry: Registry, folder: Path, project: AppliedProject) -> None:
        self.registry, self.host, self.image = registry, registry.host, registry.image
        self.folder, self.project = folder, project
        self.config = folder / "docker/config.json"
        self.store = str(folder / "store/secrets.json")

    @property
    def environment(self) -> dict[str, str]:
        return {"DOCKER_CONFIG": str(self.config.parent)}

    def keep(self, password: str) -> None:
        """Take the password into the secret store, as ``site_secrets`` does."""
        secret = {"name": "registry_password", "kind": "token", "value": password}
        kept = run_module("secrets", {"path": self.store, "secrets": [secret]})
        assert kept.rc == 0, kept.msg

    def params(self, entry: Mapping[str, Any] | None = None, **params: Any) -> dict[str, Any]:
        own = {"host": self.host, "username": USER, "password": "@@secret:registry_password@@", **(entry or {})}
        return {"registries": [own], "secret_store": self.store, **params}

    def log_in(self, *, check: bool = False, entry: Mapping[str, Any] | None = None, **params: Any) -> ModuleResult:
        return run_module(
            "registry_login", self.params(entry, **params), check=check, diff=True, environment=self.environment
        )

    def pull(self, *, path: str = "") -> ModuleResult:
        """Apply a project whose image is in the registry alone."""
        environment = {**self.environment, **({"PATH": path} if path else {})}
        layers = [{"services": {"web": sleeper(self.image)}}]
        return self.project.run(layers=layers, pull="missing", environment=environment)


@dataclass(frozen=True)
class Registry:
    """A registry with one image, and its folder."""

    host: str
    folder: Path
    image: str

    def log_lines(self) -> int:
        return len((self.folder / "registry.log").read_text(encoding="utf-8").splitlines())


@pytest.fixture(scope="module")
def registry(
    engine: docker.DockerClient, base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with run_registry(folder, {USER: PASSWORD}) as host:
        found = Registry(host, folder, f"{host}/{new_prefix()}/tool:1")
        subprocess.run(["docker", "tag", base_image, found.image], check=True)
        pusher = {**os.environ, "DOCKER_CONFIG": str(folder / "pusher")}
        try:
            for argv in (["login", "--username", USER, "--password-stdin", host], ["push", "--quiet", found.image]):
                subprocess.run(["docker", *argv], check=True, capture_output=True, input=PASSWORD.encode(), env=pusher)
        finally:
            forget(engine, found.image)
        yield found


@pytest.fixture
def team(engine: docker.DockerClient, site: Site, registry: Registry, tmp_path: Path) -> Iterator[Team]:
    set_users(registry.folder, {USER: PASSWORD})
    found = Team(registry, tmp_path, AppliedProject(engine, site))
    found.keep(PASSWORD)
    yield found
    site.remove()
    forget(engine, registry.image)


def forget(engine: docker.DockerClient, image: str) -> None:
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.api.remove_image(image, noprune=True)


def actions(result: ModuleResult) -> list[tuple[str, str]]:
    assert not result.failed, result.msg
    return [(step["action"], step["reason"]) for step in result["plan"]]


def spellings(value: str) -> set[str]:
    both = (value, f"{USER}:{value}")
    return {value, json.dumps(value)[1:-1], *(base64.b64encode(text.encode()).decode() for text in both)}


def test_without_a_login_a_pull_is_refused_with_what_to_do(team: Team) -> None:
    said = team.pull()
    assert said.failed
    assert said.msg.startswith(f"Cannot pull image '{team.image}' for service 'web': ")
    assert "no basic auth credentials" in said.msg
    assert said.msg.endswith("log in to its registry (docker_registries, or docker login), or build it on this host.")


def test_with_a_login_it_is_pulled(team: Team) -> None:
    assert actions(team.log_in(check=True)) == [("login", "nobody is logged in")]
    assert not team.config.exists()
    assert actions(team.log_in()) == [("login", "nobody is logged in")]
    pulled = team.pull()
    assert not pulled.failed, pulled.msg


def test_a_second_run_asks_no_registry_and_writes_nothing(team: Team) -> None:
    team.log_in()
    before, lines = team.config.stat().st_mtime_ns, team.registry.log_lines()
    again = team.log_in()
    assert (again.changed, actions(again), again["diff"]) == (False, [], {"before": "", "after": ""})
    assert (team.registry.log_lines(), team.config.stat().st_mtime_ns) == (lines, before)


def test_nobody_sees_the_password(team: Team) -> None:
    with ArgumentWatch() as watch:
        done = run_by_ansible("registry_login", team.params(), diff=True, verbosity=4, environment=team.environment)
        assert not done.failed, done.msg
        pulled = team.pull()
        assert not pulled.failed, pulled.msg
    assert f"--username\0{USER}\0--password-stdin" in watch.text()
    for text in (watch.text(), done.stdout, done.stderr, pulled.stdout, pulled.stderr):
        assert not [value for value in spellings(PASSWORD) if value in text]
    # Where it is, only root reads; and it is nowhere else of what was written.
    holding = [
        path
        for path in (*team.folder.joinpath("docker").rglob("*"), *team.project.site.directory.rglob("*"))
        if path.is_file() and any(value.encode() in path.read_bytes() for value in spellings(PASSWORD))
    ]
    assert holding == [team.config]
    assert stat.S_IMODE(team.config.stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_closed_first_and_keeps_what_it_has(team: Team) -> None:
    team.config.parent.mkdir()
    theirs = {"auths": {"other.example.org": {"auth": base64.b64encode(b"me:word").decode()}}, "detachKeys": "ctrl-q"}
    team.config.write_text(json.dumps(theirs), encoding="utf-8")
    team.config.chmod(0o644)
    assert [action for action, _reason in actions(team.log_in())] == ["protect", "login"]
    assert stat.S_IMODE(team.config.stat().st_mode) == 0o600
    found = json.loads(team.config.read_text(encoding="utf-8"))
    assert found["auths"]["other.example.org"] == theirs["auths"]["other.example.org"]  # type: ignore[index]
    assert found["detachKeys"] == "ctrl-q"


def test_a_wrong_password_is_told_without_it(team: Team) -> None:
    team.keep(NEXT)
    said = team.log_in()
    assert said.failed
    assert said.msg.startswith(f"Cannot log in to registry '{team.host}' as '{USER}': ")
    assert "unauthorized" in said.msg.lower()
    assert said.msg.endswith("; correct its name, the user or the secret, or look at the way to it.")
    assert NEXT not in said.stdout + said.stderr
    assert not team.config.exists() or team.host not in team.config.read_text(encoding="utf-8")


def test_a_new_password_is_noticed(team: Team) -> None:
    team.log_in()
    team.keep(NEXT)
    set_users(team.registry.folder, {USER: NEXT})
    assert actions(team.log_in()) == [("login", "the password is another one")]
    assert not team.pull().failed


def test_a_registry_that_cannot_be_reached_is_told(team: Team) -> None:
    said = team.log_in(entry={"host": "127.0.0.1:1"})
    assert said.msg.startswith(f"Cannot log in to registry '127.0.0.1:1' as '{USER}': ")
    assert "connection refused" in said.msg


def test_a_password_in_the_inventory_is_refused(team: Team) -> None:
    said = team.log_in(entry={"password": PASSWORD})
    assert said.msg == (
        f"Cannot log in to registry '{team.host}': its password is no reference to a secret, so that everybody who "
        "reads the inventory has it; give it to site_secrets as 'value', and write '@@secret:NAME@@' here."
    )
    assert PASSWORD not in said.stdout


@pytest.mark.parametrize("whole", [True, False], ids=["all of the site", "one entry"])
def test_absent_logs_out_and_leaves_the_logins_of_others(team: Team, whole: bool) -> None:
    team.log_in()
    found = json.loads(team.config.read_text(encoding="utf-8"))
    found["auths"]["other.example.org"] = {"auth": base64.b64encode(b"me:word").decode()}
    team.config.write_text(json.dumps(found), encoding="utf-8")
    absent: dict[str, Any] = {"state": "absent"} if whole else {"entry": {"state": "absent", "password": None}}
    assert [action for action, _reason in actions(team.log_in(**absent))] == ["logout"]
    assert list(json.loads(team.config.read_text(encoding="utf-8"))["auths"]) == ["other.example.org"]
    assert actions(team.log_in(**absent)) == []


def test_the_end_of_a_site_leaves_a_login_with_another_password(team: Team) -> None:
    team.log_in()
    team.keep(NEXT)
    assert actions(team.log_in(state="absent")) == []
    assert team.host in team.config.read_text(encoding="utf-8")


ROLE = {
    "meta/needs.yml": {"needs": {"login": "{{ docker_registries }}"}},
    "tasks/main.yml": [
        {
            "name": "Apply the project",
            "modelyard.platform.compose_project": {
                "name": "{{ site_prefix }}-tool", "directory": "{{ site_directory }}", "state": "{{ site_state }}",
                "secret_store": "{{ site_secret_store }}", "layers": [{"services": {"web": "{{ tool_service }}"}}],
            },
        }
    ],
}  # fmt: skip


def test_a_site_logs_in_before_anything_is_pulled_and_out_at_its_end(
    engine: docker.DockerClient, registry: Registry, team: Team, tmp_path: Path
) -> None:
    for name, content in ROLE.items():
        path = tmp_path / "roles/tool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    settings = {**team.environment, "ANSIBLE_ROLES_PATH": str(tmp_path / "roles")}
    site = WholeSite(engine, tmp_path, ports=PORTS, settings=settings)
    entry = {"host": registry.host, "username": USER, "password": "@@secret:registry_password@@"}
    site.write_inventory(
        site_roles={"tool": "clients"}, tool_service=sleeper(registry.image), docker_registries=[entry],
        site_secrets=[{"name": "registry_password", "kind": "token", "value": PASSWORD}],
    )  # fmt: skip
    try:
        told = site.up("--check", "--diff")
        assert "site: Log in to the registries that roles name" in told.changed
        assert not team.config.exists()
        done = site.up("-vvv")
        assert list(done.changed)[-2:] == ["site: Log in to the registries that roles name", "tool: Apply the project"]
        assert not [value for value in spellings(PASSWORD) if value in told.output + done.output]
        assert dict(site.up().changed) == {}
    finally:
        site.destroy()
    assert registry.host not in team.config.read_text(encoding="utf-8")
