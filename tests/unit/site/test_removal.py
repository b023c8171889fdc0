# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes with a site and what stays: the decision, and the looks at the disk that it rests on."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.release import kept_image
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.garbage import Needs
from ansible_collections.modelyard.platform.plugins.module_utils._image.images import Image
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import (
    Secret,
    SecretStore,
    Version,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store_change import (
    change_lock,
    write_store,
)
from ansible_collections.modelyard.platform.plugins.module_utils._site.removal import (
    Removal,
    SeenContainer,
    SeenSecrets,
    SeenSite,
    SeenThing,
    other_sites,
    plan_site_removal,
)
from ansible_collections.modelyard.platform.plugins.module_utils._site.removal_apply import _remove_site_folder
from ansible_collections.modelyard.platform.plugins.module_utils._site.removal_observe import (
    check_folder,
    known_projects,
    observe_secrets,
)

HERE, THERE = "/opt/here", "/opt/there"
STORE = "/etc/here/secrets.json"
NOBODY = Needs({}, {})


def seen(**more: Any) -> SeenSite:
    """Return a site of project ``shop`` with nothing of it at the engine."""
    empty = SeenSite(
        directory=HERE, is_there=True, projects=frozenset({"shop"}), containers=[], networks=[], volumes=[], images=[],
        secrets=SeenSecrets(STORE), needs=NOBODY,
    )  # fmt: skip
    return replace(empty, **more)


def removed(plan: Removal) -> list[str]:
    """Return what goes, without the folder that always does."""
    assert str(plan.things[-1]) == f"folder {HERE}"
    return [str(thing) for thing in plan.things[:-1]]


def packaged(name: str, *more: str, directory: str = HERE, base: str = "modelyard/base:1") -> Image:
    labels = {"modelyard.image.name": f"modelyard/{name}", "modelyard.directory": directory}
    if name != "base":
        labels["modelyard.image.base"] = base
    return Image(f"sha256:{name}", (f"modelyard/{name}:1", *more), labels)


VOLUME = SeenThing("shop_data", "shop_data", HERE, "shop")
NETWORK = SeenThing("shop_default", "n1", HERE, "shop")
EDGE = SeenThing("here-edge", "n2", shared=HERE)


def test_an_empty_site_is_its_folder() -> None:
    assert removed(plan_site_removal(seen())) == []


@pytest.mark.parametrize("kind", ["volumes", "networks"])
@pytest.mark.parametrize(
    "thing",
    [
        SeenThing("shop_data", "1"),
        SeenThing("shop_data", "1", project="shop"),
        SeenThing("shop_data", "1", THERE, "shop"),
        SeenThing("shop_data", "1", f"{HERE}/", "shop"),
        SeenThing("shop_data", "1", shared=THERE),
    ],
    ids=["no label", "somebody's project of that name", "another site's", "another folder's", "shared by another site"],
)
def test_what_is_not_the_site_s_stays_unmentioned(kind: str, thing: SeenThing) -> None:
    plan = plan_site_removal(seen(**{kind: [thing]}))
    assert (removed(plan), plan.left) == ([], ())


def test_what_is_the_site_s_goes_users_first() -> None:
    stopped = SeenContainer("c1", "shop-web-1", "i", directory=HERE, project="shop", volumes=frozenset({"shop_data"}))
    plan = plan_site_removal(seen(containers=[stopped], volumes=[VOLUME], networks=[NETWORK, EDGE]))
    assert removed(plan) == [
        "container shop-web-1", "network shop_default", "network here-edge", "volume shop_data",
    ]  # fmt: skip
    assert (plan.left, plan.running, plan.obstacles) == ((), (), ())


def test_a_label_with_a_project_that_the_folder_does_not_know_proves_nothing() -> None:
    plan = plan_site_removal(seen(projects=frozenset({"other"}), volumes=[VOLUME], networks=[NETWORK]))
    assert removed(plan) == []
    assert plan.left == (
        "network shop_default: the site's folder tells of no project 'shop'",
        "volume shop_data: the site's folder tells of no project 'shop'",
    )


def test_a_container_that_runs_is_named_also_of_an_unknown_project() -> None:
    web = SeenContainer("c1", "shop-web-1", "i", is_running=True, directory=HERE, project="shop")
    lost = SeenContainer("c2", "lost-1", "i", is_running=True, directory=HERE, project="lost")
    foreign = SeenContainer("c3", "foreign", "i", is_running=True, directory=THERE, project="shop")
    assert plan_site_removal(seen(containers=[web, lost, foreign])).running == (
        "container 'shop-web-1' of project 'shop' still runs",
        "container 'lost-1' of project 'lost' still runs",
    )


def test_foreign_containers_on_what_would_go_are_in_the_way_running_or_not() -> None:
    guest = SeenContainer("c", "guest", "i", networks=frozenset({"here-edge"}), volumes=frozenset({"shop_data"}))
    alien = SeenContainer("a", "alien", "i", is_running=True, networks=frozenset({"bridge"}))
    plan = plan_site_removal(seen(containers=[guest, alien], volumes=[VOLUME], networks=[EDGE]))
    assert plan.obstacles == (
        "container 'guest', which is no project's of the site, uses network 'here-edge' and volume 'shop_data'",
    )


def test_a_mount_below_the_folder_is_in_the_way_and_the_folder_s_own_is_not() -> None:
    assert plan_site_removal(seen(mounts=[HERE])).obstacles == ()
    assert plan_site_removal(seen(mounts=[HERE, f"{HERE}/projects/shop/data"])).obstacles == (
        f"a file system is mounted on {HERE}/projects/shop/data",
    )


def test_tags_of_kept_releases_go_and_those_of_a_namesake_stay() -> None:
    ours, theirs = kept_image(HERE, "shop", "web", 1), kept_image(THERE, "shop", "web", 1)
    image = Image("sha256:1", ("nginx:1", theirs, ours), {})
    assert removed(plan_site_removal(seen(images=[image]))) == [f"image {ours}"]
    assert removed(plan_site_removal(seen(images=[image], projects=frozenset()))) == []


def test_packaged_images_go_with_their_base_after_the_tags_of_releases() -> None:
    kept = kept_image(HERE, "shop", "web", 1)
    foreign = packaged("theirs", directory=THERE, base="modelyard/base:2")
    images = [packaged("base"), packaged("tool", kept), foreign]
    plan = plan_site_removal(seen(images=images))
    assert removed(plan) == [f"image {kept}", "image modelyard/tool:1", "image modelyard/base:1"]
    assert plan.left == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"needs": Needs({"modelyard/tool:1": f"release x 1 of {THERE}"}, {})}, f"needed by release x 1 of {THERE}"),
        ({"needs": Needs({}, {}, frozenset({"modelyard/tool:1"}))}, "the current one of its name"),
        ({"containers": [SeenContainer("c", "guest", "sha256:tool")]}, "used by container guest"),
        ({"images": [packaged("tool", "mine/tool:1")]}, "also tagged mine/tool:1"),
        ({"images": [packaged("tool", kept_image(THERE, "shop", "web", 1))]}, "also tagged modelyard.kept/"),
    ],
    ids=["a release elsewhere", "the record of another site", "a container", "a tag of somebody", "a kept tag"],
)
def test_a_packaged_image_that_somebody_needs_stays(change: dict[str, Any], reason: str) -> None:
    plan = plan_site_removal(seen(**{"images": [packaged("tool")], **change}))
    assert removed(plan) == []
    assert plan.left[0].startswith(f"image modelyard/tool:1: {reason}")


def test_a_base_that_an_image_of_another_site_starts_from_stays() -> None:
    plan = plan_site_removal(seen(images=[packaged("base"), packaged("theirs", directory=THERE)]))
    assert removed(plan) == []
    assert plan.left == ("image modelyard/base:1: base of modelyard/theirs",)


def test_packaged_images_stay_where_another_site_s_needs_cannot_be_read() -> None:
    kept = kept_image(HERE, "shop", "web", 1)
    plan = plan_site_removal(seen(images=[packaged("tool", kept)], needs=None, doubt="damaged"))
    assert removed(plan) == [f"image {kept}"]
    assert plan.left == ("images: damaged",)


def test_secrets_go_before_the_folder_and_stay_where_another_site_uses_them() -> None:
    secrets = SeenSecrets(STORE, (STORE, f"{STORE}.lock"), "/etc/here")
    assert removed(plan_site_removal(seen(secrets=secrets))) == [
        f"file {STORE}", f"file {STORE}.lock", "folder /etc/here",
    ]  # fmt: skip
    shared = plan_site_removal(seen(secrets=replace(secrets, needed_by=f"is also used by the site {THERE}")))
    assert removed(shared) == []
    assert shared.left == (f"secret store {STORE}: it is also used by the site {THERE}",)
    inside = replace(secrets, path=f"{HERE}/secrets.json", needed_by=f"is also used by the site {THERE}")
    assert plan_site_removal(seen(secrets=inside)).obstacles == (
        f"the secret store {HERE}/secrets.json in its folder is also used by the site {THERE}",
    )


def test_without_the_folder_nothing_is_proved_and_nothing_goes() -> None:
    site = seen(
        is_there=False, projects=frozenset(), volumes=[VOLUME], networks=[EDGE], images=[packaged("tool")],
        secrets=SeenSecrets(STORE, (STORE,)),
    )  # fmt: skip
    plan = plan_site_removal(site)
    assert plan.things == ()
    assert plan.left == (
        "volume shop_data: the site's folder tells of no project 'shop'",
        f"secret store {STORE}: without the folder {HERE} nobody knows whose it is",
    )


def test_other_sites_are_found_by_what_they_left_on_the_engine() -> None:
    label = "modelyard.directory"
    assert other_sites(HERE, [{label: THERE}, {label: HERE}, {}, {label: ""}, {label: THERE}], label) == [THERE]


def make_site(folder: Path) -> Path:
    for below in ("releases/shop", "projects/shop", "projects/web"):
        (folder / below).mkdir(parents=True)
    (folder / "site.json").write_text(json.dumps({"format": 1, "version": "0.1.0"}))
    return folder


def test_a_site_s_folder_is_known_by_its_stamp(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    assert check_folder(str(site))
    assert not check_folder(str(tmp_path / "nothing"))
    (site / "projects" / "link").symlink_to(tmp_path)
    (site / "projects" / "file").write_text("")
    assert known_projects(str(site)) == {"shop", "web"}


@pytest.mark.parametrize("directory", ["/", "relative"])
def test_what_is_no_path_of_a_folder_is_refused(directory: str) -> None:
    with pytest.raises(PlatformError) as refused:
        check_folder(directory)
    assert str(refused.value) == (
        f"Cannot remove the site {directory}: that is no absolute path of a folder; give the site's folder."
    )


def test_a_folder_that_is_no_site_a_link_and_a_newer_site_are_refused(tmp_path: Path) -> None:
    site, link = make_site(tmp_path / "site"), tmp_path / "link"
    link.symlink_to(site)
    with pytest.raises(PlatformError) as refused:
        check_folder(str(link))
    assert str(refused.value) == (
        f"Cannot remove the site {link}: it is a link or a file, and links are not followed; give the folder itself."
    )
    with pytest.raises(PlatformError) as refused:
        check_folder(str(tmp_path))
    assert str(refused.value) == (
        f"Cannot remove the site {tmp_path}: the folder has no site.json of modelyard.platform, so it is not known to "
        "be a site; give a site's folder, or remove this one by hand."
    )
    (site / "site.json").write_text(json.dumps({"format": 1, "version": "99.0.0"}))
    with pytest.raises(PlatformError, match=r"last written by modelyard\.platform 99\.0\.0"):
        check_folder(str(site))


def test_links_in_the_folder_go_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    site, outside = make_site(tmp_path / "site"), tmp_path / "outside"
    outside.mkdir()
    (outside / "row").write_text("precious")
    (site / "link").symlink_to(outside)
    (site / "projects" / "shop" / "data").symlink_to(outside)
    assert _remove_site_folder(str(site)) == ""
    assert not site.exists()
    assert (outside / "row").read_text() == "precious"


def make_store(folder: Path, value: str) -> str:
    folder.mkdir(mode=0o700)
    path = str(folder / "secrets.json")
    version = Version("value", {"value": value}, {}, "generated", {}, 1)
    with change_lock(path):
        write_store(SecretStore(path).with_secret("key", Secret("password", 1, {1: version})))
    return path


def test_a_store_is_shared_where_a_file_of_another_site_holds_a_value_of_it(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", "a-long-random-value")
    here = SeenSecrets(path, (path, f"{path}.lock"), os.path.dirname(path))
    other = make_site(tmp_path / "other")
    assert observe_secrets(path, [str(other)]) == here
    (other / "projects" / "web" / ".env").write_text("PASSWORD=another-random-value\n")
    assert observe_secrets(path, [str(other)]) == here
    (other / "projects" / "web" / ".env").write_text("PASSWORD=a-long-random-value\n")
    assert observe_secrets(path, [str(other)]).needed_by == f"is also used by the site {other}"


def test_a_store_s_folder_stays_with_what_is_not_ours_and_a_damaged_store_stays(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", "a-long-random-value")
    (tmp_path / "store" / "notes").write_text("mine")
    found = observe_secrets(path, [])
    assert (found.files, found.folder, found.needed_by) == ((path, f"{path}.lock"), "", "")
    Path(path).write_text("{")
    assert observe_secrets(path, []).needed_by.startswith("cannot be read: ")
    assert observe_secrets(str(tmp_path / "nothing" / "s.json"), []) == SeenSecrets(
        str(tmp_path / "nothing" / "s.json")
    )
