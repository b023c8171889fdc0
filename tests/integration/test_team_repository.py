# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A team begins: the collection as Galaxy gives it, a repository of its own, a bare server that is reached by SSH."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from support.applied import file_states
from support.hosts import Host, running_host
from support.modules import ROOT
from support.team import Team, build_collection

INIT = ("ansible-playbook", "modelyard.platform.init")
DOMAIN = "ml.team.test"
#: A value that somebody else issued, and what only the team knows.
TOKEN, PASSWORD = "t0k3n-0f-a-dns-pr0vider", "what opens the file"
VAULT = ("--vault-password-file", ".vault-password")
#: What is replaced by who decides, in the sample's files.
DECISIONS = {
    "group_vars/all/site.yml": {
        "ml.example.org": DOMAIN, "site_tls: acme": "site_tls: local_ca", "platform@example.org": "team@lab.eu",
        "site_images: registry": "site_images: packages",
    },
    "group_vars/all/vault.yml": {
        "vault_site_secrets: []": f"vault_site_secrets:\n  - {{name: dns_token, kind: token, value: {TOKEN}}}"
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Return a team that has installed the artifact, and nothing else of this checkout."""
    folder = tmp_path_factory.mktemp("team")
    team = Team(folder)
    team.install(build_collection(folder), folder)
    return team


@pytest.fixture(scope="module")
def repository(team: Team) -> Path:
    """Return what the team's own repository is when it is made; tests that change it take a copy."""
    done = init(team, "-e", "dest=my-site")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = team.folder / "my-site"
    assert f"{folder} is the repository of a site." in done.stdout
    team.install(next(team.folder.glob("*.tar.gz")), folder)
    return folder


@pytest.fixture(scope="module")
def server(engine: docker.DockerClient, team: Team) -> Iterator[Host]:
    """Yield a bare host that lets the team in, as a user with sudo."""
    with running_host("trixie") as host:
        team.admit_to(host)
        yield host


@pytest.fixture(scope="module")
def decided(team: Team, repository: Path, server: Host) -> Path:
    """Return the repository once the team has decided, with what somebody else issued in the encrypted file."""
    folder = team.folder / "decided"
    shutil.copytree(repository, folder)
    decide(folder / "prod", server)
    (folder / ".vault-password").write_text(PASSWORD, encoding="utf-8")
    done = team.run("ansible-vault", "encrypt", "prod/group_vars/all/vault.yml", *VAULT, folder=folder)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in (folder / "prod/group_vars/all/vault.yml").read_text(encoding="utf-8")
    return folder


def init(team: Team, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook as it is typed, in the team's folder."""
    collections = str(team.folder / "collections")
    return team.run(*INIT, *arguments, folder=team.folder, ANSIBLE_COLLECTIONS_PATH=collections)


def play(team: Team, folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Run ``site.yml -i prod`` in a folder; return what came of it, and the events of its tasks."""
    done = team.run(
        "ansible-playbook", "site.yml", "-i", "prod", *arguments, folder=folder,
        ANSIBLE_STDOUT_CALLBACK="ansible.posix.jsonl",
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done, [event for event in events if event.get("_event", "").startswith("v2_runner_on_")]


def change_of(events: list[dict[str, Any]]) -> set[str]:
    """Return the roles of tasks that changed something, or would."""
    return {
        event["task"]["name"].split(" : ")[0].rpartition(".")[2]
        for event in events
        if any(result.get("changed") for result in event["hosts"].values())
    }


def state_of(host: Host) -> str:
    """Return what the host has of a site, of an engine and of packages."""
    return host.must("ls -d /opt/* /etc/modelyard /etc/docker 2>/dev/null; dpkg-query -W | sha256sum; cat /etc/hosts")


def test_it_has_the_sample_as_the_collection_has_it_and_names_what_it_is_deployed_with(repository: Path) -> None:
    own = {str(path.relative_to(repository)) for path in repository.rglob("*") if path.is_file()}
    own = {name for name in own if not name.startswith("collections/")}
    sample = {str(path.relative_to(ROOT / "inventories")) for path in (ROOT / "inventories/prod").rglob("*.*")}
    assert own == {*sample, "ansible.cfg", ".gitignore", "README.md", "requirements.yml", "site.yml"}
    assert {name: (repository / name).read_bytes() for name in sample} == {
        name: (ROOT / "inventories" / name).read_bytes() for name in sample
    }
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    assert yaml.safe_load((repository / "requirements.yml").read_text(encoding="utf-8")) == {
        "collections": [{"name": "modelyard.platform", "version": version}]
    }


def test_git_takes_neither_the_password_of_the_vault_nor_collections(repository: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    shutil.copy(repository / ".gitignore", tmp_path)
    kept = "prod/group_vars/all/vault.yml"
    for name in (".vault-password", "prod.vault-password", "collections/x", "site.retry", kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.stdout.split() == ["??", ".gitignore", "??", kept]


def test_a_second_run_changes_nothing_whatever_was_edited_meanwhile(team: Team, repository: Path) -> None:
    own = team.folder / "edited"
    shutil.copytree(repository, own, ignore=shutil.ignore_patterns("collections"))
    (own / "prod/hosts.yml").write_text("all: {hosts: {ours: {}}}\n", encoding="utf-8")
    before = file_states(own)
    done = init(team, "-e", "dest=edited")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "changed=0 " in done.stdout
    assert file_states(own) == before


def test_what_a_run_that_was_broken_off_left_out_is_put(team: Team, repository: Path) -> None:
    own = team.folder / "broken-off"
    own.mkdir()
    shutil.copy(repository / "requirements.yml", own)
    done = init(team, "-e", f"dest={own}", "-e", '{"inventories": ["prod", "ec2"]}')
    assert done.returncode == 0, done.stdout + done.stderr
    assert (own / "site.yml").read_bytes() == (repository / "site.yml").read_bytes()
    assert (own / "ec2/group_vars/all/site.yml").read_bytes() == (own / "prod/group_vars/all/site.yml").read_bytes()
    assert (own / "ec2/aws_ec2.yml").read_bytes() == (ROOT / "inventories/ec2/aws_ec2.yml").read_bytes()


def test_a_folder_of_somebody_else_is_left_as_it_is(team: Team) -> None:
    own = team.folder / "foreign"
    own.mkdir()
    for name in ("site.yml", "ansible.cfg", "requirements.yml"):
        (own / name).write_text("--- # ours\n", encoding="utf-8")
    before = file_states(own)
    done = init(team, "-e", "dest=foreign")
    assert done.returncode == 2
    assert (
        f"Cannot make a site's repository in '{own}': it has requirements.yml, ansible.cfg, site.yml already, and no "
        "requirements.yml that names modelyard.platform; nothing was touched; give a folder that has none of them."
    ) in done.stdout
    assert file_states(own) == before


def test_without_a_folder_it_asks_for_one(team: Team) -> None:
    done = init(team)
    assert done.returncode == 2
    assert (
        "Cannot make a site's repository: no folder is given; say where it belongs, with -e dest=my-site."
    ) in done.stdout


def test_what_is_undecided_is_told_before_a_host_is_asked_of_a_role_of_the_team_too(
    team: Team, repository: Path
) -> None:
    role = repository / "roles/fountain/meta/needs.yml"
    role.parent.mkdir(parents=True, exist_ok=True)
    role.write_text("needs: {spring: [{name: any}]}\n", encoding="utf-8")
    roles = {"docker": "all", "traefik": "edge", "fountain": "edge"}
    done, [told] = play(team, repository, "-e", json.dumps({"site_roles": roles}))
    said = told["hosts"]["hub"]["msg"]
    assert done.returncode == 2
    for undecided in ("ansible_host of 'hub'", "traefik_acme.email", "site_domain"):
        assert f"set {undecided} " in said
    assert "Cannot deploy role 'fountain': it needs a spring, and no role that provides one is enabled" in said


def test_a_decided_repository_reaches_its_server_and_says_what_it_would_do(
    team: Team, decided: Path, server: Host
) -> None:
    before = state_of(server)
    done, events = play(team, decided, "--check", "--diff", "-vvv", *VAULT)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert change_of(events) == {"docker", "site"}
    assert "hub has no running Docker engine with Compose yet, and so nothing of host_command, traefik" in done.stdout
    assert state_of(server) == before
    assert '"dns_token"' in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_the_sample_of_the_checkout_reaches_a_server_as_it_is_typed(team: Team, server: Host) -> None:
    values = {
        "site_domain": DOMAIN, "site_tls": "local_ca", "site_images": "packages", "ansible_host": server.address(),
        "traefik_acme": {},
    }  # fmt: skip
    done, events = play(team, ROOT, "--check", "-e", json.dumps(values))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert change_of(events) == {"docker", "site"}


def test_a_run_brings_what_others_issued_into_the_store_of_the_server_and_a_second_one_changes_nothing(
    team: Team, decided: Path, server: Host
) -> None:
    # What needs no engine, so that nothing is downloaded; the rest of a server is in tests/hosts.
    roles = ("-e", json.dumps({"site_roles": {"host_command": "all"}}))
    first, _events = play(team, decided, "-vvv", *roles, *VAULT)
    assert first.returncode == 0, first.stdout[-6000:] + first.stderr
    assert server.must("modelyard secrets show dns_token").strip() == TOKEN
    assert server.must("stat -c '%a %U' /etc/modelyard/secrets.json").split() == ["600", "root"]
    second, events = play(team, decided, *roles, *VAULT)
    assert second.returncode == 0, second.stdout + second.stderr
    assert change_of(events) == set()
    kept = [path for path in team.folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not kept, "the controller keeps the value"
    assert TOKEN not in first.stdout + first.stderr


def test_who_may_not_log_in_is_told_with_the_host(team: Team, decided: Path, server: Host) -> None:
    done, events = play(team, decided, "-e", "ansible_user=nobody", *VAULT)
    assert done.returncode == 4
    assert "Cannot reach this host: " in events[-1]["hosts"]["hub"]["msg"]


def decide(inventory: Path, host: Host) -> None:
    """Write a team's decisions into the sample."""
    for name, answers in {**DECISIONS, "hosts.yml": {"192.0.2.10": host.address()}}.items():
        text = (inventory / name).read_text(encoding="utf-8")
        for sample, answer in answers.items():
            text = text.replace(sample, answer)
        (inventory / name).write_text(text, encoding="utf-8")
