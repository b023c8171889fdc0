# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done to Ubuntu 22.04 and 24.04, from what such hosts have said of themselves (``tests/fixtures/hosts``)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.observe import (
    PLUGIN_FOLDERS,
    parse_os_release,
    read_compose_version,
    read_packages,
)
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.plan import (
    Observed,
    RunningEngine,
    make_plan,
)
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.wanted import (
    DOCKER_REPOSITORY,
    HELD,
    Wanted,
    apt_files,
)
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from ansible_collections.modelyard.platform.plugins.module_utils._site.rules import judge, parse_rules
from support.tree import ROOT

HOSTS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (ROOT / "tests/fixtures/hosts").glob("*.json")
}
CODE_NAMES = {"ubuntu-22.04": "jammy", "ubuntu-24.04": "noble"}
RULES = parse_rules(
    yaml.safe_load((ROOT / "roles/site/defaults/main/rules.yml").read_text(encoding="utf-8"))["__site_rules"]
)
SETTLED = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": True}
each_host = pytest.mark.parametrize("name", CODE_NAMES)


def observe(host: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, is_bare: bool) -> Observed:
    """Return the host as docker_host reads it, from its own texts."""
    answers = {"dpkg-query": "" if is_bare else host["dpkg_query"], "docker": f"{host['compose']}\n"}

    def run(argv: Sequence[str], **_: Any) -> Completed:
        return Completed(0, answers[argv[0]], "")

    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    distribution, codename = parse_os_release(host["os_release"])
    return Observed(
        distribution=distribution, codename=codename, settings={} if is_bare else SETTLED,
        engine=None if is_bare else RunningEngine(host["engine"], live_restore=True),
        compose="" if is_bare else read_compose_version(run), has_buildx=not is_bare, has_daemon=not is_bare,
        installed=frozenset(read_packages(run, HELD)),
    )  # fmt: skip


def test_both_releases_are_recorded_with_where_they_come_from() -> None:
    assert set(HOSTS) == set(CODE_NAMES)
    assert all(source.startswith("https://") for host in HOSTS.values() for source in host["sources"])


@each_host
def test_a_bare_host_gets_the_packages_of_ubuntu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    observed = observe(HOSTS[name], monkeypatch, is_bare=True)
    assert (observed.distribution, observed.codename) == ("ubuntu", CODE_NAMES[name])
    plan = make_plan(Wanted(), observed)
    assert plan.packages == ("docker.io", "iptables", "docker-compose-v2", "docker-buildx")
    # Ubuntu's own sources have them all: no file of apt is written.
    files = apt_files("distribution", "ubuntu", observed.codename, mirror="", repository="")
    assert files == {}


@each_host
def test_dockers_own_repository_names_the_release(name: str) -> None:
    files = apt_files("docker", "ubuntu", CODE_NAMES[name], mirror="", repository=DOCKER_REPOSITORY)
    [text] = files.values()
    assert f"URIs: {DOCKER_REPOSITORY}/ubuntu\nSuites: {CODE_NAMES[name]}\n" in text


@each_host
def test_a_host_that_has_docker_of_ubuntu_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    observed = observe(HOSTS[name], monkeypatch, is_bare=False)
    assert observed.installed == {"docker.io", "docker-compose-v2", "docker-buildx"}
    assert make_plan(Wanted(), observed).steps == ()


@each_host
def test_the_first_compose_of_jammy_is_replaced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What jammy-updates had before 2.24.6.
    host = {**HOSTS[name], "compose": "2.20.2+ds1-0ubuntu1~22.04.1"}
    [step] = make_plan(Wanted(), observe(host, monkeypatch, is_bare=False)).steps
    assert step.subject == "docker-compose-v2"
    assert step.reason == "Compose is 2.20.2+ds1-0ubuntu1~22.04.1, 2.24.4 is needed"


@each_host
@pytest.mark.parametrize("is_bare", [True, False])
def test_preflight_has_nothing_against_it(name: str, is_bare: bool) -> None:
    host = HOSTS[name]
    facts = {
        "distribution": " ".join(parse_os_release(host["os_release"])), "architecture": host["architecture"],
        "python": host["python"], "engine": "" if is_bare else host["engine"], "is_docker_role": True,
        "compose": "" if is_bare else host["compose"], "compose_path": "" if is_bare else host["compose_path"],
    }  # fmt: skip
    judged = judge(RULES, facts, {"traefik_image": "docker.io/library/traefik:v3.7.15"})
    assert (judged.refused, judged.warned) == ((), ())
    assert host["compose_path"].rpartition("/")[0] in PLUGIN_FOLDERS
