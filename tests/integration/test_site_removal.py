# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a site: all that it made goes, also after a kill, and nothing of anybody else."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from docker.models.containers import Container
from support.applied import AppliedProject, sleeper
from support.events import EventRecorder
from support.modules import ROOT, ModuleResult, controller_environment, run_module
from support.site import Site
from support.waiting import wait_until


@dataclass(frozen=True)
class Foreign:
    """What somebody else has on the same engine, under names and labels that are near to the site's."""

    container: Container
    volume: str
    network: str
    before: tuple[Any, ...]

    def assert_untouched(self, engine: docker.DockerClient) -> None:
        assert look_at(engine, self.container, self.volume, self.network) == self.before
        assert self.container.exec_run(["cat", "/data/row"]).output == b"theirs"


def look_at(engine: docker.DockerClient, container: Container, volume: str, network: str) -> tuple[Any, ...]:
    container.reload()
    state = container.attrs["State"]
    return (
        container.id, state["StartedAt"], state["Running"],
        engine.volumes.get(volume).attrs["CreatedAt"], engine.networks.get(network).id,
    )  # fmt: skip


@pytest.fixture
def foreign(engine: docker.DockerClient, site: Site, base_image: str) -> Foreign:
    """Return somebody's container of a project that is called like the site's, with volume and network."""
    labels = {"com.docker.compose.project": site.name("shop"), "com.docker.compose.service": "web"}
    volume = engine.volumes.create(site.name("shop_theirs"), labels=labels).name
    network = engine.networks.create(site.name("shop_theirs"), labels=labels)
    command = ["sh", "-c", "printf theirs > /data/row; exec sleep infinity"]
    container = engine.containers.run(
        base_image, command, name=site.name("theirs"), detach=True, init=True, network=network.name,
        volumes={volume: {"bind": "/data", "mode": "rw"}}, labels={"modelyard.directory": f"{site.directory}-2"},
    )  # fmt: skip
    # The engine takes when a volume's folder was changed last for when it was made.
    wait_until(lambda: container.exec_run(["cat", "/data/row"]).output == b"theirs", "its row is written")
    return Foreign(container, volume, network.name, look_at(engine, container, volume, network.name))


@pytest.fixture
def shop(engine: docker.DockerClient, site: Site, base_image: str) -> Iterator[AppliedProject]:
    """Return a running project with a volume, a network, a shared one, a secret in a file and a kept release."""
    edge = site.name("edge")
    services = {"web": sleeper(base_image, volumes=["data:/data", "./conf/key:/key:ro"], networks=["default", "edge"])}
    layer = {
        "services": services, "volumes": {"data": {}}, "networks": {"edge": {"external": True, "name": edge}},
    }  # fmt: skip
    made = AppliedProject(
        engine, site, layers=[layer], networks=[{"name": edge, "internal": False}],
        files=[{"path": "conf/key", "content": "@@secret:key@@"}],
    )  # fmt: skip
    made.keep_secrets({"name": "key", "kind": "hex"})
    made.apply()
    yield made
    shutil.rmtree(site.directory, ignore_errors=True)


def remove(project: AppliedProject, *, check: bool = False) -> ModuleResult:
    options = {"directory": str(project.site.directory), "secret_store": project.store, "lock_seconds": 5}
    return run_module("site_removal", options, check=check, diff=True)


def kept_tags(project: AppliedProject) -> list[str]:
    part = f"modelyard.kept/{project.name}"
    return [tag for image in project.engine.images.list() for tag in image.tags if tag.startswith(part)]


def label_image(site: Site, name: str, base: str, directory: str) -> str:
    """Make an image with the labels of one that the module ``image`` built for a site; return its tag."""
    labels = {"modelyard.image.name": site.name(name), "modelyard.directory": directory}
    tag = f"{site.name(name)}:1"
    site.engine.images.build(fileobj=io.BytesIO(f"FROM {base}\n".encode()), labels=labels, tag=tag, rm=True)
    return tag


def things_of(project: AppliedProject) -> list[str]:
    """Return the names of all volumes and networks of the site, by their labels and names."""
    site = project.site
    found = [volume.name for volume in project.engine.volumes.list()]
    found += [str(network.name) for network in project.engine.networks.list()]
    return sorted(name for name in found if name.startswith(site.prefix) and not name.endswith("theirs"))


def test_a_site_goes_with_its_data_and_nothing_else(
    shop: AppliedProject, foreign: Foreign, engine: docker.DockerClient, base_image: str
) -> None:
    directory, store = shop.site.directory, Path(shop.store)
    (directory / "theirs").symlink_to("/etc")
    shop.read("web", "sh", "-c", "echo precious > /data/row")
    [tag] = kept_tags(shop)
    ours = label_image(shop.site, "tool", base_image, str(directory))
    theirs = label_image(shop.site, "theirs", base_image, f"{directory}-2")
    assert shop.apply(state="absent").changed
    before = (things_of(shop), sorted(directory.rglob("*")))
    checked = remove(shop, check=True)
    assert (things_of(shop), sorted(directory.rglob("*"))) == before, "check mode touched something"
    assert set(checked["removed"]) == {
        f"network {shop.site.name('edge')}", f"volume {shop.name}_data", f"image {tag}", f"image {ours}",
        f"file {store}", f"file {store}.lock", f"folder {store.parent}", f"folder {directory}",
    }  # fmt: skip
    assert checked["removed"][-1] == f"folder {directory}"
    done = remove(shop)
    assert not done.failed, done.msg
    assert (done["removed"], done["diff"], done["left"]) == (checked["removed"], checked["diff"], [])
    assert (things_of(shop), kept_tags(shop), engine.images.list(ours)) == ([], [], [])
    assert engine.images.get(theirs)
    assert engine.images.get(base_image)
    assert not directory.exists()
    assert not store.parent.exists()
    assert Path("/etc/passwd").exists()
    foreign.assert_untouched(engine)
    assert not remove(shop).changed


def test_nothing_goes_while_a_container_of_the_site_runs(shop: AppliedProject, engine: docker.DockerClient) -> None:
    before = (things_of(shop), shop.ids(), sorted(shop.site.directory.rglob("*")))
    running = f"container '{shop.name}-web-1' of project '{shop.name}' still runs"
    with EventRecorder(engine) as recorder:
        refused = remove(shop)
        checked = remove(shop, check=True)
    assert refused.msg == (
        f"Cannot remove the site {shop.site.directory}: {running}; make the site's projects absent, and let go of what "
        "others use."
    )
    assert f"{running}: without check mode this is refused." in checked.stdout
    assert not checked.failed
    assert recorder.of_project(shop.name) == []
    assert (things_of(shop), shop.ids(), sorted(shop.site.directory.rglob("*"))) == before
    assert shop.container("web").status == "running"


def test_nothing_goes_while_a_foreign_container_uses_what_is_the_site_s(
    shop: AppliedProject, foreign: Foreign, engine: docker.DockerClient
) -> None:
    edge = engine.networks.get(shop.site.name("edge"))
    edge.connect(foreign.container)
    shop.apply(state="absent")
    before = things_of(shop)
    assert remove(shop).msg == (
        f"Cannot remove the site {shop.site.directory}: container '{foreign.container.name}', which is no project's of "
        f"the site, uses network '{edge.name}'; make the site's projects absent, and let go of what others use."
    )
    assert things_of(shop) == before
    edge.disconnect(foreign.container)
    assert not remove(shop).failed
    foreign.assert_untouched(engine)


def test_stopped_containers_go_too_and_an_interrupted_removal_goes_on(shop: AppliedProject) -> None:
    shop.apply(state="stopped")
    # As a killed run leaves it: some things are gone, the folder is half empty, its stamp still there.
    shop.container("web").remove()
    shutil.rmtree(shop.site.directory / "locks")
    shutil.rmtree(shop.site.directory / "state")
    done = remove(shop)
    assert not done.failed, done.msg
    assert f"network {shop.name}_default" in done["removed"]
    assert (things_of(shop), shop.site.directory.exists()) == ([], False)


def test_a_store_that_another_site_uses_stays(
    shop: AppliedProject, engine: docker.DockerClient, tmp_path: Path, base_image: str
) -> None:
    other = Site(engine, tmp_path / "other")
    other.directory.mkdir()
    files = [{"path": "conf/key", "content": "@@secret:key@@"}]
    layer = {"services": {"web": sleeper(base_image, volumes=["./conf/key:/key:ro"])}}
    neighbour = AppliedProject(engine, other, layers=[layer], files=files)
    try:
        assert neighbour.store == shop.store
        neighbour.apply()
        ids = neighbour.ids()
        shop.apply(state="absent")
        done = remove(shop)
        assert done["left"] == [f"secret store {shop.store}: it is also used by the site {other.directory}"]
        assert Path(shop.store).exists()
        assert not shop.site.directory.exists()
        assert neighbour.ids() == ids
        assert not neighbour.apply().changed
    finally:
        other.remove()


def test_what_a_first_deployment_left_that_failed_early_goes_too(site: Site, base_image: str) -> None:
    """It has made secrets and built an image, and no project of it was ever applied."""
    shutil.rmtree(site.directory)
    store = site.directory.parent / "private/secrets.json"
    made = run_module(
        "secrets",
        {"path": str(store), "site_directory": str(site.directory), "marks_site": True,
         "secrets": [{"name": "key", "kind": "hex"}]},
    )  # fmt: skip
    assert made.changed, made.msg
    tag = label_image(site, "tool", base_image, str(site.directory))
    options = {"directory": str(site.directory), "prefix": site.prefix, "secret_store": str(store), "lock_seconds": 5}
    done = run_module("site_removal", options)
    assert not done.failed, done.msg
    assert (done["removed"], done["left"]) == (
        [f"image {tag}", f"file {store}", f"file {store}.lock", f"folder {store.parent}", f"folder {site.directory}"],
        [],
    )
    assert not site.directory.exists()
    assert not store.parent.exists()
    assert not run_module("site_removal", options).changed


def test_a_folder_that_is_no_site_is_refused_whole(engine: docker.DockerClient, site: Site) -> None:
    (site.directory / "row").write_text("precious")
    refused = run_module("site_removal", {"directory": str(site.directory)})
    assert refused.msg.startswith(f"Cannot remove the site {site.directory}: the folder has no site.json of ")
    assert (site.directory / "row").read_text() == "precious"


def destroy(folder: Path, shop: AppliedProject, *arguments: str, answer: str | None = None) -> Any:
    """Run the playbook as a program does, on a site without roles: its projects are absent by then."""
    inventory = {
        "all": {
            "hosts": {"localhost": {"ansible_connection": "local", "ansible_become": False}},
            "vars": {
                "site_prefix": shop.site.prefix, "site_directory": str(shop.site.directory), "site_roles": {},
                "site_secret_store": shop.store, "site_domain": "destroy.test",
            },
        }
    }  # fmt: skip
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    environment = controller_environment(str(folder), {"ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default"})
    confirmed = [] if answer is None else ["-e", f"site_destroy_confirmed={answer}"]
    return subprocess.run(
        [Path(sys.prefix) / "bin" / "ansible-playbook", ROOT / "playbooks" / "destroy.yml", "-i", folder / "hosts.yml",
         *confirmed, *arguments],
        check=False, capture_output=True, text=True, timeout=300, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_playbook_wants_the_prefix_typed(shop: AppliedProject, foreign: Foreign, tmp_path: Path) -> None:
    engine = shop.engine
    shop.apply(state="absent")
    before = (things_of(shop), sorted(shop.site.directory.rglob("*")))
    for answer in (None, "yes", "modelyard"):
        refused = destroy(tmp_path, shop, answer=answer)
        assert refused.returncode != 0
        assert f"Cannot remove the site {shop.site.prefix}: the answer was '{answer or ''}', and" in refused.stdout
    shown = destroy(tmp_path, shop, "--check", answer=shop.site.prefix)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "Would be removed from localhost:" in shown.stdout
    assert (things_of(shop), sorted(shop.site.directory.rglob("*"))) == before
    done = destroy(tmp_path, shop, answer=shop.site.prefix)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"volume {shop.name}_data\n" in done.stdout
    assert (things_of(shop), shop.site.directory.exists(), Path(shop.store).exists()) == ([], False, False)
    foreign.assert_untouched(engine)
