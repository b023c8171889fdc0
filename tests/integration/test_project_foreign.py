# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What others made: refused and left alone where it bears our name, applied as it is where we are asked to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest
from support.applied import AppliedProject, sleeper
from support.modules import run_module
from support.site import PROJECT_LABEL, Site

DATA = {"volumes": {"data": {}}}


@pytest.fixture
def project(engine: docker.DockerClient, site: Site, base_image: str) -> AppliedProject:
    web = sleeper(base_image, volumes=["data:/data"])
    return AppliedProject(engine, site, layers=[{"services": {"web": web}, **DATA}])


def test_a_foreign_project_of_the_same_name_is_refused(
    project: AppliedProject, engine: docker.DockerClient, base_image: str, tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(f"services: {{theirs: {{image: '{base_image}', init: true}}}}\n", encoding="utf-8")
    command = ["docker", "compose", "-p", project.name, "-f", str(file), "up", "-d"]
    subprocess.run(command, check=True, capture_output=True)
    before = project.ids()
    expected = (
        f"Cannot apply project '{project.name}': container '{project.name}-theirs-1' of a project of that name belongs "
        f"to somebody else; choose another name, or remove it (docker compose -p {project.name} down)."
    )
    for options in ({}, {"state": "stopped"}, {"state": "absent"}, {"check": True}):
        assert project.refused(**options) == expected
    assert project.ids() == before
    assert project.container("theirs").status == "running"


def test_a_project_of_another_site_is_refused(
    project: AppliedProject, engine: docker.DockerClient, tmp_path: Path
) -> None:
    project.apply()
    before = project.ids()
    (tmp_path / "other").mkdir()
    other = AppliedProject(engine, Site(engine, tmp_path / "other", project.site.prefix), **project.options)
    assert other.refused() == (
        f"Cannot apply project '{project.name}': container '{project.name}-web-1' of a project of that name belongs "
        f"to the site {project.site.directory}; choose another name, or remove it "
        f"(docker compose -p {project.name} down)."
    )
    assert project.ids() == before


@pytest.mark.parametrize("kind", ["network", "volume"])
def test_a_foreign_network_or_volume_is_refused(
    project: AppliedProject, engine: docker.DockerClient, kind: str
) -> None:
    name = f"{project.name}_{'default' if kind == 'network' else 'data'}"
    made = engine.networks.create(name) if kind == "network" else engine.volumes.create(name)
    before = dict(made.attrs)
    assert project.refused() == (
        f"Cannot use {kind} '{name}': it is there and belongs to somebody else; give ours another name, declare it as "
        f"'external: true' to use it as it is, or remove it (docker {kind} rm {name})."
    )
    made.reload()
    assert {key: made.attrs[key] for key in ("Name", "Labels")} == {key: before[key] for key in ("Name", "Labels")}
    assert project.ids() == {}


def test_a_foreign_shared_network_is_refused(project: AppliedProject, engine: docker.DockerClient, site: Site) -> None:
    name = site.name("shared")
    engine.networks.create(name)
    assert project.refused(networks=[{"name": name}]) == (
        f"Cannot use network '{name}': it is there and belongs to somebody else; give ours another name, declare it as "
        f"'external: true' to use it as it is, or remove it (docker network rm {name})."
    )


def test_another_definition_of_a_volume_is_refused_and_its_data_stays(project: AppliedProject, base_image: str) -> None:
    project.apply()
    project.read("web", "sh", "-c", "echo precious > /data/row")
    web = sleeper(base_image, volumes=["data:/data"])
    changed = {"services": {"web": web}, "volumes": {"data": {"labels": {"tier": "1"}}}}
    assert project.refused(layers=[changed]) == (
        f"Cannot change volume '{project.name}_data': its definition differs from the one it was made with, and making "
        "it anew would lose its data; give the new one another name and copy the data."
    )
    assert project.read("web", "cat", "/data/row") == "precious\n"


def test_other_projects_things_stay_through_all_states(
    project: AppliedProject, engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    neighbour = AppliedProject(engine, site, "neighbour", layers=[{"services": {"web": sleeper(base_image)}}])
    neighbour.apply()
    orphan = engine.networks.create(site.name("orphan"))
    before = neighbour.ids()
    for state in ("present", "stopped", "absent"):
        project.apply(state=state)
    assert neighbour.ids() == before
    assert neighbour.container("web").status == "running"
    orphan.reload()


def test_a_network_that_is_declared_no_more_goes_and_who_was_brought_into_it_runs_on(
    project: AppliedProject, engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    neighbour = AppliedProject(engine, site, "neighbour", layers=[{"services": {"web": sleeper(base_image)}}])
    neighbour.apply()
    guest = neighbour.container("web")
    names = ["first", "second"]
    services = {name: sleeper(base_image, networks=[name]) for name in names}
    networks = {name: {"internal": True} for name in names}
    project.apply(layers=[{"services": services, "networks": networks}])
    for name in names:
        engine.networks.get(f"{project.name}_{name}").connect(guest)
    before = project.ids()["first"]

    left = [{"services": {"first": services["first"]}, "networks": {"first": networks["first"]}}]
    checked = project.run(check=True, diff=True, layers=left)
    assert f"remove network {project.name}_second" in checked["other_changes"]
    assert f"remove network {project.name}_second" in checked["diff"]["after"]
    assert project.apply(layers=left)["other_changes"] == checked["other_changes"]
    assert networks_of(project, engine) == {f"{project.name}_first"}
    assert project.ids()["first"] == before
    project.apply(state="absent")
    assert networks_of(project, engine) == set()
    guest.reload()
    assert (guest.status, set(guest.attrs["NetworkSettings"]["Networks"])) == ("running", {f"{neighbour.name}_default"})
    guest.restart(timeout=1)


@pytest.mark.parametrize("is_running", [True, False], ids=["runs", "is stopped"])
def test_a_network_that_somebody_else_is_in_stays(
    project: AppliedProject, engine: docker.DockerClient, site: Site, base_image: str, is_running: bool
) -> None:
    services = {name: sleeper(base_image, networks=[name]) for name in ("first", "second")}
    project.apply(layers=[{"services": services, "networks": {"first": {}, "second": {}}}])
    name = f"{project.name}_second"
    guest = engine.containers.run(base_image, ["sleep", "600"], name=site.name("guest"), network=name, detach=True)
    left = [{"services": {"first": services["first"]}, "networks": {"first": {}}}]
    assert f"remove network {name}" not in project.run(check=True, layers=left)["other_changes"]
    if not is_running:
        guest.stop(timeout=1)
    result = project.apply(layers=left)
    [note] = result["notes"]
    assert note == (
        f"network {name} is declared no more and stays: container {guest.name!r} is in it and does not belong to this "
        "site"
    )
    guest.start()
    guest.reload()
    assert (guest.status, set(guest.attrs["NetworkSettings"]["Networks"])) == ("running", {name})


def networks_of(project: AppliedProject, engine: docker.DockerClient) -> set[str]:
    return {network.name for network in engine.networks.list(filters={"label": f"{PROJECT_LABEL}={project.name}"})}


BASE_FILE = """
services:
  common:
    image: {base}
    init: true
    command: [sleep, infinity]
    environment: {{FROM_BASE: "yes"}}
"""
COMPOSE_FILE = """
services:
  web:
    extends: {{file: parts/base.yaml, service: common}}
    env_file: web.env
    volumes: ["./data:/data", "/cache"]
    labels: {{greeting: "${{GREETING}}"}}
  tool:
    image: {base}
    init: true
    profiles: [tools]
  idle:
    image: {base}
    profiles: [never]
  built:
    build: ./image
    init: true
    depends_on: [web]
"""
OVERRIDE_FILE = """
services:
  web:
    environment: {OVERRIDDEN: "${GREETING}, override"}
"""


@pytest.fixture
def theirs(engine: docker.DockerClient, site: Site, base_image: str, tmp_path: Path) -> AppliedProject:
    """Return a project that somebody wrote who never heard of us."""
    src = tmp_path / "their project"
    for folder in ("parts", "data", "image"):
        (src / folder).mkdir(parents=True)
    texts = {
        "main.yml": COMPOSE_FILE.format(base=base_image),
        "more.yml": OVERRIDE_FILE,
        "parts/base.yaml": BASE_FILE.format(base=base_image),
        ".env": "COMPOSE_FILE=main.yml:more.yml\nCOMPOSE_PROFILES=tools\nGREETING=hello\n",
        "web.env": "FROM_FILE=a b\n",
        "data/row": "theirs",
        "image/Dockerfile": f"FROM {base_image}\nCOPY version /version\n",
        "image/version": "1",
    }
    for path, text in texts.items():
        (src / path).write_text(text, encoding="utf-8")
    return AppliedProject(engine, site, src=str(src), wait_seconds=60)


def environment(project: AppliedProject, service: str) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in project.container(service).attrs["Config"]["Env"])


def tree(folder: str) -> dict[str, str]:
    root = Path(folder)
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_project_that_somebody_else_wrote_is_applied_as_it_is(theirs: AppliedProject) -> None:
    src = theirs.options["src"]
    before = tree(src)
    first = theirs.compare()
    assert first.planned == first.derived == {(name, "create", "missing") for name in ("web", "tool", "built")}
    assert tree(src) == before, "their folder is theirs"
    found = environment(theirs, "web")
    assert (found["FROM_BASE"], found["FROM_FILE"], found["OVERRIDDEN"]) == ("yes", "a b", "hello, override")
    assert theirs.container("web").labels["greeting"] == "hello"
    assert theirs.read("web", "cat", "/data/row") == "theirs"
    assert theirs.read("built", "cat", "/version") == "1"
    assert "Init" not in theirs.container("idle").attrs if theirs.containers("idle") else True
    assert not theirs.apply().changed


def test_data_of_an_anonymous_volume_survives_a_new_container(theirs: AppliedProject) -> None:
    theirs.apply()
    theirs.read("web", "sh", "-c", "echo warm > /cache/row")
    old = theirs.container("web").id
    Path(theirs.options["src"], "web.env").write_text("FROM_FILE=c\n", encoding="utf-8")
    found = theirs.compare()
    assert found.planned == found.derived == {("web", "recreate", "definition")}
    assert theirs.container("web").id != old
    assert environment(theirs, "web")["FROM_FILE"] == "c"
    assert theirs.read("web", "cat", "/cache/row") == "warm\n"


def test_a_changed_build_context_rebuilds_its_service_alone(theirs: AppliedProject) -> None:
    theirs.apply()
    ids = theirs.ids()
    Path(theirs.options["src"], "image", "version").write_text("2", encoding="utf-8")
    checked = theirs.run(check=True)
    assert [(step["service"], step["action"]) for step in checked["plan"]] == [("built", "recreate")]
    assert theirs.apply()["plan"] == checked["plan"]
    assert theirs.read("built", "cat", "/version") == "2"
    assert {name: found for name, found in theirs.ids().items() if name != "built"} == {
        name: found for name, found in ids.items() if name != "built"
    }
    assert not theirs.apply().changed


def test_a_layer_and_other_files_go_over_a_project_of_others(theirs: AppliedProject) -> None:
    layer: dict[str, Any] = {"services": {"web": {"environment": {"OVERRIDDEN": "by us"}}}}
    result = theirs.apply(layers=[layer], src_files=["main.yml"], profiles=["never"])
    assert set(result["services"]) == {"web", "built", "idle"}
    assert environment(theirs, "web")["OVERRIDDEN"] == "by us"


def test_a_file_of_theirs_is_not_overwritten(theirs: AppliedProject) -> None:
    src = theirs.options["src"]
    assert theirs.refused(files=[{"path": "web.env", "content": "ours"}]) == (
        f"Cannot write file '{src}/web.env': a file that is not ours is there; move it away, or remove it from 'files' "
        "to keep it."
    )
    assert Path(src, "web.env").read_text(encoding="utf-8") == "FROM_FILE=a b\n"


def test_going_back_brings_the_kept_image_not_what_the_source_builds_now(theirs: AppliedProject) -> None:
    theirs.apply()
    first = theirs.container("built").image.id
    version = Path(theirs.options["src"], "image", "version")
    version.write_text("2", encoding="utf-8")
    assert theirs.apply()["release"] == 2
    back = {"name": theirs.name, "directory": str(theirs.site.directory), "state": "rolled_back", "release": 1}
    done = run_module("compose_release", back)
    assert not done.failed, done.msg
    assert theirs.container("built").image.id == first
    kept = [tag for image in theirs.engine.images.list() if image.id == first for tag in image.tags]
    assert any(tag.startswith("modelyard.kept/") for tag in kept), "a build took the kept name away"
