# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packaged images on a real engine: built once, by content, from nothing but packages; and taken away again.

One bootstrapped base serves all tests and stays on the machine, so only the first run pays for it.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound
from support.images import LEAN
from support.modules import ROOT, ModuleResult, RunningModule, run_by_ansible, run_module, start_module
from support.proxy import RecordingProxy
from support.registry import run_registry
from support.site import Site

RECIPES = ROOT / "tests" / "fixtures" / "recipes"
BASE = {"suite": "trixie", "path_excludes": list(LEAN)}
DOCKERFILE = "ARG BASE\nFROM ${BASE}\n"


@pytest.fixture(scope="module")
def anchor(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the shared base, by an image that needs it while these tests run."""
    site = Site(engine, tmp_path_factory.mktemp("anchor"))
    answer = build(site, files={"Dockerfile": DOCKERFILE})
    assert not answer.failed, answer.msg
    yield str(answer["base"])
    site.remove()


@pytest.fixture
def recipe(anchor: str, tmp_path: Path) -> Path:
    """Yield a recipe folder that a test may change."""
    return Path(shutil.copytree(RECIPES / "greeting", tmp_path / "recipe"))


def image_params(site: Site, **params: Any) -> dict[str, Any]:
    return {"name": site.name("tool"), "base": BASE, "directory": str(site.directory), **params}


def build(site: Site, *, check: bool = False, host: str | None = None, **params: Any) -> ModuleResult:
    environment = {"DOCKER_HOST": host} if host else None
    return run_module("image", image_params(site, **params), check=check, environment=environment)


def prune(site: Site, *, check: bool = False, **params: Any) -> ModuleResult:
    return run_module("image", {"state": "pruned", "directory": str(site.directory), **params}, check=check)


def steps(answer: ModuleResult) -> list[tuple[str, str, str]]:
    assert not answer.failed, answer.msg
    return [(step["action"], step["image"], step["reason"]) for step in answer["plan"]]


def own_images(site: Site) -> list[docker.models.images.Image]:
    """Return what this site built, tagged or not; the shared base is no part of it."""
    found = site.engine.images.list(filters={"label": f"modelyard.directory={site.directory}"}, all=True)
    return [image for image in found if image.labels["modelyard.image.name"] != "modelyard/base"]


def own_containers(site: Site) -> list[str]:
    label = f"modelyard.image.smoke={site.directory}:{site.name('tool')}"
    return [found.id for found in site.engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)]


def tree(folder: Path) -> dict[str, int]:
    """Return every path below a folder with its time stamp."""
    return {str(path): path.lstat().st_mtime_ns for path in sorted([folder, *folder.rglob("*")])}


def assert_nothing_left(site: Site) -> None:
    assert own_containers(site) == []
    assert [image.id for image in own_images(site) if not image.tags] == []
    assert not (site.directory / "build").exists()
    assert [path for path in tree(site.directory) if path.endswith(".modelyard-tmp")] == []


def test_an_image_is_built_once(site: Site, recipe: Path, proxy: RecordingProxy, anchor: str) -> None:
    foreseen = build(site, check=True, recipe=str(recipe), arguments={"COLOUR": "red"})
    assert tree(site.directory).keys() == {str(site.directory)}
    first = build(site, recipe=str(recipe), arguments={"COLOUR": "red"}, smoke=["greet"])
    assert steps(first) == steps(foreseen) == [("build", first["image"], "not built yet")]
    assert (first.changed, first["base"]) == (True, anchor)
    assert site.engine.containers.run(first["image"], remove=True) == b"hello in red\n"
    assert_nothing_left(site)

    before = tree(site.directory)
    for check in (True, False):
        again = build(site, check=check, host=proxy.docker_host, recipe=str(recipe), arguments={"COLOUR": "red"})
        assert steps(again) == [("none", first["image"], "built from the same inputs")]
        assert (again.changed, again["id"]) == (False, first["id"])
    assert [request.method for request in proxy.requests] == ["GET", "GET"], "one question for each run"
    assert tree(site.directory) == before


def test_a_recipe_as_data_is_the_same_recipe(site: Site, recipe: Path) -> None:
    first = build(site, recipe=str(recipe))
    files = {path.name: path.read_text(encoding="utf-8") for path in recipe.iterdir()}
    again = run_by_ansible("image", image_params(site, files=files))
    assert (again["changed"], again["image"]) == (False, first["image"]), again.msg


def test_a_changed_byte_makes_a_new_image_and_going_back_takes_the_old_one(site: Site, recipe: Path) -> None:
    old = build(site, recipe=str(recipe))
    script = recipe / "greet.sh"
    text = script.read_text(encoding="utf-8")
    script.write_text(text.replace("hello", "hallo"), encoding="utf-8")
    foreseen = build(site, check=True, recipe=str(recipe))
    new = build(site, recipe=str(recipe))
    reason = f"inputs changed since {old['image']}: file greet.sh"
    assert steps(new) == steps(foreseen) == [("build", new["image"], reason)]
    assert site.engine.containers.run(new["image"], remove=True) == b"hallo in blue\n"

    script.write_text(text, encoding="utf-8")
    back = build(site, recipe=str(recipe))
    assert steps(back) == [("record", old["image"], "built before, not the current one")]
    assert back["id"] == old["id"]
    assert build(site, recipe=str(recipe)).changed is False


def test_packages_arrive_through_the_hosts_certificates_which_stay_out(site: Site, anchor: str) -> None:
    marker = f"{site.prefix}-only-in-the-bundle"
    bundle = site.directory / "bundle.crt"
    bundle.write_text(f"# {marker}\n{Path('/etc/ssl/certs/ca-certificates.crt').read_text()}", encoding="utf-8")
    answer = build(
        site, recipe=str(RECIPES / "fetched"), ca_bundle=str(bundle),
        smoke=["python3 -c 'import sys; sys.path.insert(0, \"/opt/app\"); import six'"],
    )  # fmt: skip
    assert not answer.failed, answer.msg
    assert marker.encode() not in saved_bytes(site.engine, answer["image"])


def saved_bytes(engine: docker.DockerClient, reference: str) -> bytes:
    """Return all that an image is: configuration and every file of every layer, unpacked."""
    found = io.BytesIO()
    archive = io.BytesIO(b"".join(engine.images.get(reference).save()))
    with tarfile.open(fileobj=archive) as saved:
        for member in saved.getmembers():
            content = saved.extractfile(member)
            found.write(content.read() if content else b"")
    assert b"modelyard.image.inputs" in found.getvalue(), "nothing was searched"
    return found.getvalue()


def test_a_step_that_fails_leaves_nothing_and_is_quoted(site: Site, anchor: str) -> None:
    answer = build(site, files={"Dockerfile": DOCKERFILE + "RUN echo because http://me:hush@host/ && exit 3\n"})
    assert answer.msg == (
        f"Cannot build image {site.name('tool')}: step [2/2] RUN echo because http://***@host/ && exit 3 failed; "
        "mend the recipe. It said:\nbecause http://***@host/"
    )
    assert own_images(site) == []
    assert not (site.directory / "state").exists()
    assert_nothing_left(site)


NO_PROGRAM = "[FATAL tini] exec nosuchprogram failed: No such file or directory"


@pytest.mark.parametrize(
    ("smoke", "how", "said"),
    [
        ("sh -c 'echo because; exit 3'", "ended with exit code 3", "because"),
        (
            "nosuchprogram",
            "ended with exit code 127",
            "[FATAL tini] exec nosuchprogram failed: No such file or directory",
        ),
        ("sleep 60", "did not end within 1 s", "(nothing)"),
    ],
    ids=["exit code", "no program", "too slow"],
)
def test_an_image_that_fails_its_check_gets_no_tag(site: Site, anchor: str, smoke: str, how: str, said: str) -> None:
    files = {"Dockerfile": f"{DOCKERFILE}LABEL test={site.prefix}\n"}
    answer = build(site, files=files, smoke=["true", smoke], smoke_seconds=1)
    assert re.sub(r"tini \(\d+\)", "tini", answer.msg) == (
        f"Cannot build image {site.name('tool')}: the check '{smoke}' in the new image {how}, so the image was "
        f"dropped; mend the recipe or the check. It said:\n{said}"
    )
    assert own_images(site) == []
    assert_nothing_left(site)
    assert build(site, files=files, smoke=["true"]).changed


@pytest.mark.parametrize(
    ("phase", "with_children"),
    [("build", True), ("build", False), ("check", True)],
    ids=["build and its children", "build alone", "check"],
)
def test_a_killed_run_is_made_good_by_the_next(site: Site, anchor: str, phase: str, with_children: bool) -> None:
    # The prefix keeps the cache of an earlier run from making the step fast.
    step = f"RUN sleep 3 # {site.prefix}" if phase == "build" else f"LABEL test={site.prefix}"
    files = {"Dockerfile": f"{DOCKERFILE}{step}\n"}
    running = start_module("image", image_params(site, files=files, smoke=["sleep 60"]))
    started = wait_for_phase(site, phase)
    kill(site, running, lock="mytest", with_children=with_children)
    answer = build(site, files=files, smoke=["true"])
    assert steps(answer) == [("build", answer["image"], "not built yet")]
    assert_nothing_left(site)
    assert [image.tags for image in own_images(site)] == [[answer["image"]]]
    assert build(site, files=files).changed is False
    if not with_children:
        assert time.monotonic() - started > 2, "the next run did not wait for the child that still built"


def test_what_a_killed_bootstrap_left_is_removed_by_the_next(site: Site) -> None:
    files = {"Dockerfile": DOCKERFILE}
    running = start_module("image", image_params(site, files=files, base={**BASE, "revision": site.prefix}))
    wait_for_phase(site, "base")
    kill(site, running, lock="modelyard", with_children=True)
    assert list(site.directory.glob("build/*/mmdebstrap.*")), "it was killed before it had left anything"
    answer = build(site, files=files, base={"suite": "nosuite"})
    assert "there is no suite 'nosuite'" in answer.msg
    assert_nothing_left(site)
    assert str(site.directory) not in Path("/proc/self/mountinfo").read_text(encoding="ascii")


PHASE_BEGINS = {"base": "build/*/mmdebstrap.*/etc/apt", "build": "build/*/context"}


def wait_for_phase(site: Site, phase: str) -> float:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if own_containers(site) if phase == "check" else list(site.directory.glob(PHASE_BEGINS[phase])):
            time.sleep(0.5)
            return time.monotonic()
        time.sleep(0.02)
    raise AssertionError(f"the module never came to the {phase}")


def kill(site: Site, running: RunningModule, *, lock: str, with_children: bool) -> None:
    """Kill the module, and with its children whoever inherited its lock, whose name starts with ``lock``."""
    path = next((site.directory / "locks").glob(f"image-{lock}*"))
    holders = [int(link.parent.parent.name) for link in Path("/proc").glob("[0-9]*/fd/*") if points_to(link, path)]
    assert running.pid in holders
    running.kill(with_children=True)
    if with_children:
        for pid in set(holders) - {running.pid}:
            subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)
    running.wait()


def points_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False


def test_a_suite_that_is_not_there_is_named(site: Site) -> None:
    answer = build(site, files={"Dockerfile": DOCKERFILE}, base={"suite": "nosuite"})
    assert answer.failed
    assert " there is no suite 'nosuite' at http" in answer.msg
    assert answer.msg.endswith("; correct base.suite, or set base.mirror.")
    assert_nothing_left(site)


def test_an_engine_that_is_down_is_named(site: Site) -> None:
    answer = build(site, host=f"unix://{site.directory}/none.sock", files={"Dockerfile": DOCKERFILE})
    assert answer.msg == (
        f"Cannot reach the Docker engine: there is no socket {site.directory}/none.sock; install Docker, or start it "
        "(systemctl start docker)."
    )


#: Its pushed layers are a few bytes, not a base.
SMALL = {"Dockerfile": "ARG BASE\nFROM ${BASE} AS built\nFROM scratch\nCOPY --from=built /etc/debian_version /\n"}


def test_an_image_is_pushed_once(site: Site, anchor: str, proxy: RecordingProxy, tmp_path: Path) -> None:
    with run_registry(tmp_path) as host:
        first = build(site, files=SMALL)
        foreseen = build(site, check=True, files=SMALL, push_to=f"{host}/team")
        pushed = build(site, files=SMALL, push_to=f"{host}/team")
        reference = f"{host}/team/{first['image']}"
        assert steps(pushed) == steps(foreseen) == [("push", reference, "not at the registry")]
        assert pushed["pushed"] == reference
        assert [image.tags for image in own_images(site)] == [[first["image"]]], "the tag for the push stayed"
        name, _separator, tag = first["image"].rpartition(":")
        with urllib.request.urlopen(f"http://{host}/v2/team/{name}/tags/list", timeout=5) as answer:
            assert json.load(answer)["tags"] == [tag]
        again = build(site, host=proxy.docker_host, files=SMALL, push_to=f"{host}/team")
        assert (again.changed, len(proxy.requests)) == (False, 1)
    down = build(site, files=SMALL, push_to=f"{host}/team")
    assert down.msg.startswith(f"Cannot ask registry {host} for an image: Connection refused;")


def test_pruning_takes_what_nobody_needs(site: Site, recipe: Path, tmp_path: Path) -> None:
    images = [build(site, recipe=str(recipe), arguments={"COLOUR": colour}) for colour in "abc"]
    site.engine.images.get(images[2]["image"]).tag(site.name("kept"), "1")
    images += [build(site, recipe=str(recipe), arguments={"COLOUR": colour}) for colour in "def"]
    released, contained, tagged, newest_but_one, current = images[0], images[1], images[2], images[4], images[5]
    write_release(site, released["image"])
    site.engine.containers.create(contained["image"], name=site.name("holder"))
    foreign = import_image(site, site.name("foreign"), {"modelyard.image.name": "x", "modelyard.directory": "/other"})
    base = import_image(
        site, "modelyard/base", {"modelyard.image.name": "modelyard/base", "modelyard.directory": str(site.directory)}
    )

    expected = {
        current["image"]: ("keep", "the current one of its name"),
        newest_but_one["image"]: ("keep", "one of the 2 newest of its name"),
        images[3]["image"]: ("remove", "no kept release needs it"),
        tagged["image"]: ("keep", f"also tagged {site.name('kept')}:1"),
        contained["image"]: ("keep", f"used by container {site.name('holder')}"),
        released["image"]: ("keep", "needed by release shop 1"),
        base: ("remove", "no image that is left starts from it"),
    }
    before = tree(site.directory)
    foreseen = prune(site, check=True, keep=2)
    assert exists(site, images[3]["image"])
    assert tree(site.directory) == before
    done = prune(site, keep=2)
    assert verdicts(foreseen) == verdicts(done) == expected
    assert foreseen.changed
    assert done.changed
    for reference, (action, _reason) in expected.items():
        assert exists(site, reference) == (action == "keep"), reference
    assert exists(site, foreign)
    assert prune(site, keep=2).changed is False


def verdicts(answer: ModuleResult) -> dict[str, tuple[str, str]]:
    """Return action and reason by reference, without the shared base, which this site may have built."""
    return {image: (action, reason) for action, image, reason in steps(answer) if "base of" not in reason}


def write_release(site: Site, reference: str) -> None:
    path = site.directory / "releases" / "shop" / "1" / "release.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": 1, "services": {"web": {"image": reference}}}), encoding="utf-8")


def import_image(site: Site, repository: str, labels: dict[str, str]) -> str:
    """Make an image of one file; return its reference."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(site.prefix))
    changes = [f'LABEL "{name}"="{value}"' for name, value in labels.items()]
    site.engine.api.import_image_from_data(archive.getvalue(), repository=repository, tag=site.prefix, changes=changes)
    return f"{repository}:{site.prefix}"


def exists(site: Site, reference: str) -> bool:
    try:
        site.engine.images.get(reference)
    except ImageNotFound:
        return False
    return True
