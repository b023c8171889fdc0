# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``--check`` says is what happens: each change of a project, planned, carried out and derived from the engine.

Every scenario owns services of one shared project, so that two applies of some twenty services tell them all.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from support.applied import AppliedProject, Comparison, file_states, sleeper
from support.events import Derived, EventRecorder
from support.ports import free_port
from support.site import Site

RESET = {"__reset__": True}
#: Writes down each signal, and which content its file had then.
LISTENER = "trap 'cat /config/app.conf >> /tmp/heard' HUP; while true; do sleep 0.1; done"


def nothing(_project: AppliedProject) -> None:
    """Nobody touches the project between the two applies."""


@dataclass(frozen=True)
class Scenario:
    """Services before and after, what happens to them by hand in between, and what must be done, if anything.

    Services are given without what all share; ``after`` is a second layer over ``before``, as an operator writes it.
    ``files`` are those of both applies, ``new_files`` take their place in the second one.
    """

    name: str
    before: Mapping[str, Mapping[str, Any]]
    expected: set[Derived]
    after: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Services that the first definition has and the second has not.
    dropped: tuple[str, ...] = ()
    by_hand: Callable[[AppliedProject], None] = nothing
    files: tuple[Mapping[str, Any], ...] = ()
    new_files: tuple[Mapping[str, Any], ...] = ()

    @property
    def services(self) -> set[str]:
        return {*self.before, *self.after}


def make_another_image_of_it(project: AppliedProject) -> None:
    versions = project.engine.images.list(filters={"label": "modelyard-test.version=v2"})
    versions[0].tag(project.site.name("moving"), "1")


def stop(service: str) -> Callable[[AppliedProject], None]:
    return lambda project: project.container(service).stop(timeout=1)


def remove(service: str) -> Callable[[AppliedProject], None]:
    return lambda project: project.container(service).remove(force=True)


def pause(service: str) -> Callable[[AppliedProject], None]:
    return lambda project: project.container(service).pause()


def recreate_otherwise(project: AppliedProject) -> None:
    """Let somebody with Compose change a service in a copy of the project's own file."""
    edited = project.site.directory.parent / "edited.yaml"
    text = (project.folder / "compose.yaml").read_text(encoding="utf-8")
    edited.write_text(text.replace('"WHO": "us"', '"WHO": "somebody"'), encoding="utf-8")
    command = ["docker", "compose", "-p", project.name, "-f", str(edited), "up", "-d", "--no-deps", "edited"]
    subprocess.run(command, check=True, capture_output=True)


def fail_one_shot(project: AppliedProject) -> None:
    container = project.container("once")
    flag = project.site.directory / "data" / "flag"
    flag.unlink()
    container.start()
    assert container.wait()["StatusCode"] == 3
    flag.touch()


def write_into_file(project: AppliedProject) -> None:
    (project.folder / "drift/app.conf").write_text("by hand", encoding="utf-8")


def file(folder: str, content: str, **options: Any) -> dict[str, Any]:
    return {"path": f"{folder}/app.conf", "content": content, **options}


def mount(folder: str) -> list[str]:
    return [f"./{folder}:/config:ro"]


BY_SIGNAL = {"on_change": "reload", "reload_signal": "HUP"}
BY_COMMAND = {"on_change": "reload", "reload_command": ["cp", "/config/app.conf", "/tmp/heard"]}
SECRET = "@@secret:token@@"

SCENARIOS = [
    Scenario("nothing changes", {"kept": {}}, set()),
    Scenario(
        "another image tag",
        {"tagged": {"image": "V1"}},
        {("tagged", "recreate", "image")},
        after={"tagged": {"image": "V2"}},
    ),
    Scenario(
        "the same tag is another image",
        {"moved": {"image": "MOVING"}},
        {("moved", "recreate", "image")},
        by_hand=make_another_image_of_it,
    ),
    Scenario(
        "a variable has another value",
        {"valued": {"environment": {"COLOUR": "red"}}},
        {("valued", "recreate", "definition")},
        after={"valued": {"environment": {"COLOUR": "blue"}}},
    ),
    Scenario(
        "an override removes a variable",
        {"unset": {"environment": {"COLOUR": "red", "SIZE": "1"}}},
        {("unset", "recreate", "definition")},
        after={"unset": {"environment": {"COLOUR": RESET}}},
    ),
    Scenario(
        "an override removes a port",
        {"unpublished": {"ports": ["127.0.0.1:PORT:80"]}},
        {("unpublished", "recreate", "definition")},
        after={"unpublished": {"ports": RESET}},
    ),
    Scenario(
        "an override removes a volume",
        {"unmounted": {"volumes": ["data:/data"]}},
        {("unmounted", "recreate", "definition")},
        after={"unmounted": {"volumes": RESET}},
    ),
    Scenario(
        "an override removes a label",
        {"unlabelled": {"labels": {"team": "maps", "tier": "1"}}},
        {("unlabelled", "recreate", "definition")},
        after={"unlabelled": {"labels": {"team": RESET}}},
    ),
    Scenario(
        "one byte in a file that asks for a new container",
        {"recreated": {"volumes": mount("recreated")}, "beside": {}},
        {("recreated", "recreate", "content")},
        files=(file("recreated", "a"),),
        new_files=(file("recreated", "b"),),
    ),
    Scenario(
        "one byte in a file that is taken up by a signal",
        {"signalled": {"volumes": mount("signalled"), "init": False, "command": ["bash", "-c", LISTENER]}},
        {("signalled", "reload", "content")},
        files=(file("signalled", "a", **BY_SIGNAL),),
        new_files=(file("signalled", "b", **BY_SIGNAL),),
    ),
    Scenario(
        "one byte in a file that is taken up by a command",
        {"commanded": {"volumes": mount("commanded")}},
        {("commanded", "reload", "content")},
        files=(file("commanded", "a", **BY_COMMAND),),
        new_files=(file("commanded", "b", **BY_COMMAND),),
    ),
    Scenario(
        "one byte in a file that the program watches itself",
        {"watching": {"volumes": mount("watching")}},
        set(),
        files=(file("watching", "a", on_change="watch"),),
        new_files=(file("watching", "b", on_change="watch"),),
    ),
    Scenario(
        "a file on disk was changed by hand",
        {"drifted": {"volumes": mount("drift")}},
        {("drifted", "recreate", "content")},
        files=(file("drift", "a"),),
        by_hand=write_into_file,
    ),
    Scenario(
        "a secret was rotated",
        {
            "with_secret_file": {"volumes": mount("secret")},
            "with_secret_variable": {"environment": {"TOKEN": SECRET}},
            "with_another_secret": {"volumes": mount("other")},
        },
        {("with_secret_file", "recreate", "content"), ("with_secret_variable", "recreate", "content")},
        files=(file("secret", SECRET), file("other", "@@secret:other@@")),
        by_hand=lambda project: project.keep_secrets(rotate=["token"]) and None,
    ),
    Scenario(
        "more replicas",
        {"grown": {"scale": 1}},
        {("grown", "create", "scale")},
        after={"grown": {"scale": 2}},
    ),
    Scenario(
        "fewer replicas",
        {"shrunk": {"scale": 2}},
        {("shrunk", "remove", "scale")},
        after={"shrunk": {"scale": 1}},
    ),
    Scenario("no replica any more", {"zero": {}}, {("zero", "remove", "scale")}, after={"zero": {"scale": 0}}),
    Scenario("a service was dropped", {"dropped": {}}, {("dropped", "remove", "undeclared")}, dropped=("dropped",)),
    Scenario(
        "its profile is off",
        {"profiled": {}},
        {("profiled", "remove", "undeclared")},
        after={"profiled": {"profiles": ["sometimes"]}},
    ),
    Scenario("a new service", {}, {("new", "create", "missing")}, after={"new": {}}),
    Scenario("stopped by hand", {"stopped": {}}, {("stopped", "start", "stopped")}, by_hand=stop("stopped")),
    Scenario("paused by hand", {"paused": {}}, {("paused", "start", "stopped")}, by_hand=pause("paused")),
    Scenario("removed by hand", {"removed": {}}, {("removed", "create", "missing")}, by_hand=remove("removed")),
    Scenario(
        "made anew by hand, with Compose",
        {"edited": {"environment": {"WHO": "us"}}},
        {("edited", "recreate", "by_hand")},
        by_hand=recreate_otherwise,
    ),
    Scenario(
        "a one-shot that has failed since",
        {
            "once": {
                "command": ["sh", "-c", "test -e /data/flag || exit 3"],
                "extras": {"one_shot": True},
                "volumes": ["SITE/data:/data:ro"],
            }
        },
        {("once", "start", "failed")},
        by_hand=fail_one_shot,
    ),
    Scenario(
        "another definition of a network",
        {"networked": {"networks": ["inner"]}},
        {("networked", "recreate", "network")},
    ),
    Scenario(
        "the container whose network it shares is made anew",
        {"parent": {"environment": {"COLOUR": "red"}}, "child": {"network_mode": "service:parent"}},
        {("parent", "recreate", "definition"), ("child", "recreate", "dependency")},
        after={"parent": {"environment": {"COLOUR": "blue"}}},
    ),
]


@dataclass(frozen=True)
class Story:
    """A project through both applies of all scenarios."""

    project: AppliedProject
    first: Comparison
    second: Comparison
    ids_before: Mapping[str, set[str]]


def definitions(project: AppliedProject, images: Mapping[str, str], base: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the first and of the second apply."""
    words = {"V1": images["v1"], "V2": images["v2"], "MOVING": f"{project.site.name('moving')}:1"}

    def complete(service: Mapping[str, Any]) -> dict[str, Any]:
        made = sleeper(base, **service)
        # The app's own health check asks a server that does not run here.
        return {**made, "image": words.get(made["image"], base), "healthcheck": {"disable": True}}

    def over(service: Mapping[str, Any]) -> dict[str, Any]:
        return {key: words.get(str(value), value) for key, value in service.items()}

    below: dict[str, Any] = {}
    dropped: set[str] = set()
    above: dict[str, Any] = {}
    for scenario in SCENARIOS:
        below |= {name: complete(service) for name, service in scenario.before.items()}
        dropped |= set(scenario.dropped)
        for name, service in scenario.after.items():
            above[name] = over(service) if name in scenario.before else complete(service)
    below["unpublished"]["ports"] = [f"127.0.0.1:{free_port()}:80"]
    below["once"]["volumes"] = [f"{project.site.directory}/data:/data:ro"]
    layer = {"services": below, "volumes": {"data": {}}, "networks": {"inner": {}}}
    changed = {"services": above, "networks": {"inner": {"internal": True}}}
    files = [entry for scenario in SCENARIOS for entry in scenario.files]
    new = {entry["path"]: entry for scenario in SCENARIOS for entry in scenario.new_files}
    kept = {name: service for name, service in below.items() if name not in dropped}
    return (
        {"layers": [layer], "files": files},
        {"layers": [{**layer, "services": kept}, changed], "files": [new.get(entry["path"], entry) for entry in files]},
    )


@pytest.fixture(scope="module")
def story(
    engine: docker.DockerClient, app_images: dict[str, str], base_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("plan") / "site"
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "flag").touch()
    site = Site(engine, directory)
    try:
        engine.images.get(app_images["v1"]).tag(site.name("moving"), "1")
        project = AppliedProject(engine, site, secrets_in_env=["TOKEN"], wait_seconds=90)
        project.keep_secrets({"name": "token", "kind": "password"}, {"name": "other", "kind": "password"})
        before, after = definitions(project, app_images, base_image)
        first = project.compare(**before)
        ids_before = project.ids()
        for scenario in SCENARIOS:
            scenario.by_hand(project)
        second = project.compare(secret_variables=["TOKEN"], scaled_to_zero=["zero"], **after)
        yield Story(project, first, second, ids_before)
    finally:
        site.remove()


def of(services: set[str], actions: set[Derived]) -> set[Derived]:
    return {action for action in actions if action[0] in services}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_check_mode_says_what_happens(story: Story, scenario: Scenario) -> None:
    assert of(scenario.services, story.second.planned) == scenario.expected
    assert of(scenario.services, story.second.derived) == scenario.expected


def test_the_whole_plan_is_what_happens(story: Story) -> None:
    declared = {name for scenario in SCENARIOS for name in scenario.before}
    assert story.first.planned == story.first.derived == {(name, "create", "missing") for name in declared}
    assert story.second.planned == story.second.derived


def test_what_a_plan_leaves_keeps_its_containers(story: Story) -> None:
    left = ("reload", "start")
    touched = {service for service, action, _rest in story.second.derived if action not in left}
    ids = story.project.ids()
    assert {name: found for name, found in story.ids_before.items() if name not in touched} == {
        name: found for name, found in ids.items() if name not in touched
    }


def test_a_reload_reaches_the_program_after_its_file(story: Story) -> None:
    assert story.project.read("signalled", "cat", "/tmp/heard") == "b"
    assert story.project.read("commanded", "cat", "/tmp/heard") == "b"


def test_a_file_that_is_watched_is_there_with_its_new_content(story: Story) -> None:
    assert story.project.read("watching", "cat", "/config/app.conf") == "b"


def test_an_apply_leaves_nothing_to_do(story: Story) -> None:
    project = story.project
    release = int(story.second.result["release"])
    latest = project.site.directory / "releases" / project.name / f"{release:04d}"
    assert latest.is_dir()
    assert not list(project.site.directory.rglob("*.modelyard-tmp"))
    assert story.second.result["services"]["once"] == "completed"


def test_check_mode_on_a_bare_host_makes_nothing(engine: docker.DockerClient, site: Site, base_image: str) -> None:
    project = AppliedProject(
        engine,
        site,
        layers=[{"services": {"web": sleeper(base_image, volumes=["./conf:/conf"])}, "volumes": {"data": {}}}],
        files=[file("conf", "a")],
        networks=[{"name": site.name("shared")}],
    )
    shutil.rmtree(site.directory)
    around = file_states(site.directory.parent)
    with EventRecorder(engine) as recorder:
        result = project.run(check=True, diff=True)
    assert not result.failed, result.msg
    assert recorder.of_project(project.name) == []
    assert not [event for event in recorder.events if site.prefix in str(event.attributes)]
    assert file_states(site.directory.parent) == around
    assert result.changed
    assert [(step["service"], step["action"]) for step in result["plan"]] == [("web", "create")]
    assert result["release"] is None
    assert "image: " + base_image in result["diff"]["after"]
    assert f"make network {site.name('shared')}" in result["diff"]["after"]


def test_check_mode_on_a_changed_project_touches_nothing(
    engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    project = AppliedProject(engine, site)
    project.apply(layers=[{"services": {"web": sleeper(base_image)}}], files=[file("conf", "a")])
    disk, containers = file_states(site.directory), project.ids()
    with EventRecorder(engine) as recorder:
        result = project.run(
            check=True,
            diff=True,
            layers=[{"services": {"web": sleeper(base_image, environment={"A": "1"}), "more": sleeper(base_image)}}],
            files=[file("conf", "b")],
            networks=[{"name": site.name("shared")}],
        )
    assert result.changed, result.msg
    assert recorder.of_project(project.name) == []
    assert file_states(site.directory) == disk
    assert project.ids() == containers
    assert "variable: A" in result["diff"]["after"]


def test_state_stopped_and_absent_do_what_they_say(engine: docker.DockerClient, site: Site, base_image: str) -> None:
    web = sleeper(base_image, volumes=["data:/data"])
    services = {"web": {**web, "volumes": ["data:/data", "./conf:/conf:ro"]}}
    edge = Path(site.directory, "edge.yml")
    project = AppliedProject(
        engine,
        site,
        layers=[{"services": services, "volumes": {"data": {}}}],
        files=[{"path": "conf/web.conf", "content": "on"}],
        edge={"file": str(edge), "config": {"http": {"services": {}}}},
    )
    project.apply()
    assert edge.exists()
    volume = f"{project.name}_data"
    for state, actions in (("stopped", [("web", "stop")]), ("absent", [("web", "remove")])):
        ids = project.ids()
        checked = project.run(state=state, check=True)
        assert [(step["service"], step["action"]) for step in checked["plan"]] == actions
        assert project.ids() == ids
        assert project.apply(state=state).changed
        assert not project.apply(state=state).changed
        assert [one.status for one in project.containers()] == (["exited"] if state == "stopped" else [])
    assert not engine.networks.list(names=[f"{project.name}_default"])
    assert not edge.exists(), "the edge still has its routes"
    assert not [path for path in Path(site.directory, "projects").rglob("*") if path.is_file()]
    assert engine.volumes.get(volume).name == volume
    assert project.compare().derived == {("web", "create", "missing")}


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_ending_what_was_never_there_makes_nothing(
    engine: docker.DockerClient, site: Site, base_image: str, state: str
) -> None:
    before = file_states(site.directory)
    project = AppliedProject(engine, site, layers=[{"services": {"web": sleeper(base_image)}}])
    assert not project.apply(state=state).changed
    assert file_states(site.directory) == before


def test_a_stopped_project_starts_again(engine: docker.DockerClient, site: Site, base_image: str) -> None:
    project = AppliedProject(engine, site, layers=[{"services": {"web": sleeper(base_image)}}])
    project.apply()
    ids = project.ids()
    project.apply(state="stopped")
    found = project.compare()
    assert found.planned == found.derived == {("web", "start", "stopped")}
    assert project.ids() == ids


def test_reading_a_project_leaves_no_bytecode_or_temporary_file(
    engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    project = AppliedProject(engine, site, layers=[{"services": {"web": sleeper(base_image)}}])
    project.apply()
    left = {path.relative_to(site.directory).parts[0] for path in Path(site.directory).rglob("*")}
    assert left == {"locks", "projects", "releases", "site.json", "state"}


def test_check_mode_plans_with_a_secret_that_an_earlier_task_would_make(
    engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    project = AppliedProject(
        engine,
        site,
        layers=[{"services": {"web": sleeper(base_image, volumes=["./private:/private:ro"])}}],
        files=[{"path": "private/password", "content": "@@secret:not_made_yet@@"}],
    )
    checked = project.run(check=True, diff=True)
    assert not checked.failed, checked.msg
    assert [(step["service"], step["action"]) for step in checked["plan"]] == [("web", "create")]
    assert "'not_made_yet' is not in the store yet" in str(checked["warnings"])
    assert project.run().failed, "a run needs the secret"
