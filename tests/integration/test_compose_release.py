# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any kept release comes back, from what the host keeps; what is gone is told before anything is touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
from support.events import EventRecorder, derive_actions, take_snapshot
from support.modules import ModuleResult, run_module
from support.site import Site
from support.three_releases import Seen, Shop


@pytest.fixture
def shop(engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str) -> Shop:
    """Three good releases: v1, v2, and v1 again with other content."""
    made = Shop(engine, site, app_images, base_image)
    made.keep_secret()
    assert made.release(1, "v1")["release"] == 1
    made.keep_secret(rotate=True)
    assert made.release(2, "v2")["release"] == 2
    made.keep_secret(rotate=True)
    assert made.release(3, "v1")["release"] == 3
    return made


def go_back(shop: Shop, release: int | None = None, *, check: bool = False, **params: Any) -> ModuleResult:
    options = {**shop.options, "state": "rolled_back", "release": release, "wait_seconds": 30, **params}
    return run_module("compose_release", options, check=check, diff=check, timeout=120)


def touched(recorder: EventRecorder, shop: Shop) -> list[str]:
    """Return what happened to the project; its health checks go on all the time."""
    actions = [event.action for event in recorder.of_project(shop.name)]
    return [action for action in actions if not action.startswith(("exec_", "health_status"))]


def planned(result: ModuleResult) -> set[tuple[str, str, str]]:
    return {(s["service"], s["action"], reason["code"]) for s in result["plan"] for reason in s["reasons"]}


def test_two_back_and_one_forward_each_in_full(shop: Shop, engine: docker.DockerClient) -> None:
    secrets = version_values(shop)
    side = shop.container("side").id
    assert shop.seen() == Seen("v1", "3", "level 3", secrets[3])

    back = go_back(shop, 1)
    assert not back.failed, back.msg
    assert (back["release"], back["rolled_back_to"], back.changed) == (4, 1, True)
    assert shop.seen() == Seen("v1", "1", "level 1", secrets[1])

    forward = go_back(shop, 2)
    assert not forward.failed, forward.msg
    assert shop.seen() == Seen("v2", "2", "level 2", secrets[2])
    assert shop.container("side").id == side
    assert [entry["rolled_back_to"] for entry in forward["releases"]] == [None, None, None, 1, 2]
    assert [entry["number"] for entry in forward["releases"] if entry["current"]] == [5]


def version_values(shop: Shop) -> dict[int, str]:
    versions = json.loads(shop.store.read_text())["secrets"]["shop_password"]["versions"]
    return {int(number): version["secret"][version["main"]] for number, version in versions.items()}


def test_check_mode_tells_what_the_real_run_does_and_does_nothing(shop: Shop, engine: docker.DockerClient) -> None:
    with EventRecorder(engine) as idle:
        check = go_back(shop, 2, check=True)
    assert not check.failed, check.msg
    assert touched(idle, shop) == []
    assert (check.changed, check["release"], check["rolled_back_to"]) == (True, 3, 2)
    assert "level" not in json.dumps(check["diff"])
    before = take_snapshot(engine, shop.name)
    with EventRecorder(engine) as recorder:
        real = go_back(shop, 2)
    assert not real.failed, real.msg
    done = derive_actions(before, recorder.events, take_snapshot(engine, shop.name))
    assert {(service, action) for service, action, _rest in done} == {("app", "recreate")}
    assert planned(check) == planned(real)
    assert {("app", "recreate", code) for code in ("image", "definition", "content")} >= planned(check)


def test_next_apply_sees_that_a_tag_means_another_image_than_what_came_back(shop: Shop) -> None:
    assert shop.release(4, "v1")["release"] == 4
    assert shop.release(5, "v2")["release"] == 5
    assert not go_back(shop, 4).failed
    declared_again = run_module("compose_project", shop.declared(4), check=True)
    assert planned(declared_again) == {("app", "recreate", "image")}


def test_what_runs_already_is_no_change(shop: Shop) -> None:
    again = go_back(shop, 3)
    assert not again.failed, again.msg
    assert (again.changed, again["release"], again["plan"]) == (False, 3, [])
    assert again["services"] == {"app": "healthy", "side": "running"}
    assert not go_back(shop, 2).failed
    again = go_back(shop, 2)
    assert (again.changed, again["release"]) == (False, 4)


def test_default_goes_further_back_each_time(shop: Shop) -> None:
    assert go_back(shop)["rolled_back_to"] == 2
    assert go_back(shop)["rolled_back_to"] == 1
    end = go_back(shop)
    assert end.msg == (
        f"Cannot go back in project '{shop.name}': no good release before 1 is kept; good ones are 1, 2, 3, 4, 5, "
        "name one of these."
    )


def test_a_way_back_that_fails_ends_at_the_release_that_served(shop: Shop, site: Site) -> None:
    secrets = version_values(shop)
    # A release that was well once, until something outside of the project changed.
    broken = site.directory / "outside" / "broken"
    broken.parent.mkdir()
    check = {"test": ["CMD", "test", "!", "-e", "/outside/broken"], "interval": "1s", "retries": 2}
    volumes = ["./conf:/conf:ro", f"{broken.parent}:/outside:ro"]
    assert shop.release(4, "v1", volumes=volumes, healthcheck=check)["release"] == 4
    assert shop.release(5, "v2")["release"] == 5
    side = shop.container("side").id
    broken.touch()
    result = go_back(shop, 4, wait_seconds=20)
    assert result.failed
    assert "service 'app': it is unhealthy" in result.msg
    assert result.msg.endswith("Release 5 serves again.")
    assert shop.seen() == Seen("v2", "5", "level 5", secrets[3])
    assert shop.container("side").id == side
    never_served = go_back(shop, 6)
    assert never_served.msg == (
        f"Cannot go back to release 6 of project '{shop.name}': its result is 'failed', and only what served once "
        "comes back; good ones are 1, 2, 3, 4, 5, choose one of these."
    )


def test_a_release_that_is_gone_is_named(shop: Shop) -> None:
    assert go_back(shop, 9).msg == (
        f"Cannot go back to release 9 of project '{shop.name}': it is not kept; good ones are 1, 2, 3, choose one of "
        "these."
    )


def test_a_secret_version_that_is_gone_is_named_before_anything_is_touched(
    shop: Shop, engine: docker.DockerClient
) -> None:
    document = json.loads(shop.store.read_text())
    del document["secrets"]["shop_password"]["versions"]["1"]
    shop.store.write_text(json.dumps(document))
    with EventRecorder(engine) as recorder:
        result = go_back(shop, 1)
    assert touched(recorder, shop) == []
    assert result.msg == (
        f"Cannot go back to release 1 of project '{shop.name}': it needs version 1 of secret 'shop_password', which "
        f"the store {shop.store} does not keep; choose another release, or import the secret from a backup."
    )
    assert result.msg == go_back(shop, 1, check=True).msg


def test_an_image_that_was_removed_is_named_before_anything_is_touched(
    shop: Shop, site: Site, engine: docker.DockerClient
) -> None:
    own = engine.containers.create(shop.tag)
    own.commit(*site.name("app:own").split(":"))
    own.remove()
    engine.images.get(site.name("app:own")).tag(*shop.tag.split(":"))
    assert run_module("compose_project", shop.declared(4), timeout=120)["release"] == 4
    assert shop.release(5, "v2")["release"] == 5
    (kept,) = (tag for tag in shop.kept_names() if "/app-" in tag and tag.endswith(":r4"))
    for tag in (site.name("app:own"), kept):
        engine.images.remove(tag, force=True)
    with EventRecorder(engine) as recorder:
        result = go_back(shop, 4)
    assert touched(recorder, shop) == []
    assert result.msg.startswith(
        f"Cannot go back to release 4 of project '{shop.name}': the image of service 'app' ({shop.tag}, sha256:"
    )


def test_an_image_named_by_its_id_and_a_service_without_image_come_back(
    shop: Shop, site: Site, engine: docker.DockerClient, app_images: dict[str, str]
) -> None:
    by_id = engine.images.get(app_images["v1"]).id
    declared = shop.declared(4, image=by_id)
    declared["layers"][0]["services"]["later"] = {"image": site.name("nowhere:1"), "scale": 0}
    assert run_module("compose_project", declared, timeout=120)["release"] == 4
    assert shop.release(5, "v2")["release"] == 5
    back = go_back(shop, 4)
    assert not back.failed, back.msg
    assert (shop.seen().version, shop.seen().level) == ("v1", "4")


def test_pruning_gives_up_releases_and_their_images_only(shop: Shop) -> None:
    prune: Mapping[str, Any] = {**shop.options, "state": "pruned", "keep": 1}
    assert {tag.split(":")[1] for tag in shop.kept_tags()} == {"r1", "r2", "r3"}
    check = run_module("compose_release", prune, check=True)
    assert (check.changed, check["pruned"]) == (True, [1, 2])
    assert len(shop.kept_tags()) == 6
    done = run_module("compose_release", prune)
    assert (done.changed, done["pruned"], [entry["number"] for entry in done["releases"]]) == (True, [1, 2], [3])
    assert shop.kept_tags() == {"app:r3", "side:r3"}
    assert not run_module("compose_release", prune).changed


def test_pruning_spares_what_serves_and_refuses_to_keep_nothing(shop: Shop) -> None:
    assert not go_back(shop, 1).failed
    failed = shop.release(9, "broken")
    assert failed.failed
    done = run_module("compose_release", {**shop.options, "state": "pruned", "keep": 1})
    assert [entry["number"] for entry in done["releases"]] == [4, 5]
    refused = run_module("compose_release", {**shop.options, "state": "pruned", "keep": 0})
    assert refused.msg == (
        f"Cannot prune releases of project '{shop.name}' to 0: the one that serves is always kept; give 1 or more."
    )


def test_releases_are_listed_without_any_secret(shop: Shop) -> None:
    listed = run_module("compose_release", {**shop.options, "state": "listed"})
    assert not listed.changed
    assert [entry["secrets"] for entry in listed["releases"]] == [{"shop_password": number} for number in (1, 2, 3)]
    assert [entry["images"]["app"] for entry in listed["releases"]] == [shop.tag] * 3
    assert len({entry["image_ids"]["app"] for entry in listed["releases"]}) == 2
    assert not [value for value in version_values(shop).values() if value in listed.stdout]


def test_a_project_that_is_not_there_is_named(site: Site) -> None:
    params = {"name": site.name("nobody"), "directory": str(site.directory)}
    result = run_module("compose_release", params)
    assert result.msg == (
        f"Cannot find project '{site.name('nobody')}': nothing of that name was ever applied in {site.directory}; "
        "known are none; choose one of these, or give another directory."
    )
    assert not Path(site.directory / "locks").exists()


def test_a_site_of_a_newer_version_is_refused(shop: Shop) -> None:
    stamp = Path(shop.site.directory) / "site.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "version": "99.0.0"}))
    for module in ("compose_release", "compose_project_info", "compose_project"):
        params = {"name": shop.name, "directory": shop.options["directory"]}
        result = run_module(module, shop.declared(3) if module == "compose_project" else params)
        assert result.msg == (
            f"Cannot use {module} 0.1.0 on {shop.options['directory']}: the site was last written by "
            f"modelyard.platform 99.0.0; install version 99.0.0 of {module}."
        )
