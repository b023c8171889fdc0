# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases on a disk: their life, what interrupted runs leave, and what damaged files say."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import (
    Target,
    target_from_record,
    target_to_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import (
    Edge,
    ProjectFile,
    SharedNetwork,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.release import (
    Progress,
    ReleaseStore,
    image_ids_of,
    kept_image,
    kept_images_of,
    secret_versions,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site, parse_json_object
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._version import STATE_FORMAT, VERSION
from hypothesis import given
from hypothesis import strategies as st
from support.compose_cases import make_desired

SERVICES = {
    "db": {"image": "postgres:17", "volumes": ["data:/data"]},
    "migrate": {"x-modelyard": {"migrates": {"database": "app", "service": "db"}}, "depends_on": ["db"]},
    "web": {"network_mode": "service:db", "volumes": ["/site/web:/etc/web"], "deploy": {"replicas": 2}},
}
FILES = {
    "/site/web/a": "x",
    "/site/web/b": {"content": "@@secret:t@@", "on_change": "reload", "reload_command": ["kill", "1"]},
}


def make_target() -> Target:
    services = make_desired({"services": SERVICES, "files": FILES, "secrets": {"t": "value"}})
    return Target(
        name="shop",
        folder="/site/projects/shop",
        model={"name": "shop", "services": {"web": {"labels": {"ü": "\U0001f600", "$": "$$"}}}},
        services=services,
        files=(ProjectFile("/site/web/b", "@@secret:t@@", 0o400, 1, 2, "reload", None, ("kill", "1")),),
        networks=(SharedNetwork("edge", internal=True),),
        edge=Edge("/site/edge/shop.json", {"http": {"services": {"web": {"servers": [{"url": "http://web"}]}}}}),
        env={"A": "b"},
        writes_env=True,
        secrets={"t": 3},
        secrets_in_env=("A",),
    )


TARGET = make_target()


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    site = Site(str(tmp_path))
    site.prepare("shop", b"key")
    return ReleaseStore(site, "shop")


def test_a_target_survives_its_record() -> None:
    assert target_from_record(json.loads(json.dumps(target_to_record(TARGET)))) == TARGET


@given(
    env=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    content=st.text(max_size=9),
    mode=st.none() | st.integers(0, 0o777),
    config=st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=3)), max_size=2),
)
def test_any_target_survives_its_record(env: Any, content: str, mode: int | None, config: Any) -> None:
    file = ProjectFile("/site/a", content, mode)
    target = Target(name="a", folder="/", model=config, services={}, files=(file,), env=env, edge=Edge("/x", config))
    assert target_from_record(json.loads(json.dumps(target_to_record(target)))) == target


def test_on_a_bare_host_there_is_nothing(tmp_path: Path) -> None:
    store = ReleaseStore(Site(str(tmp_path / "none")), "shop")
    store.sweep()
    assert store.numbers() == []
    assert store.progress() == Progress()
    assert store.recorded(None)[0].services == {}
    assert list(tmp_path.iterdir()) == []


def test_a_good_apply(store: ReleaseStore) -> None:
    release = store.begin(TARGET, inputs="abc")
    assert (release.number, release.result, release.secrets) == (1, "applying", {"t": 3})
    assert store.progress() == Progress(in_progress=1)
    services = {"web": {"image": "web:1", "image_id": "sha256:1", "kept_as": "k"}, "db": {"image": "postgres:17"}}
    done = store.finish(release, "ok", services=services, config_hashes={"c1": "h1"})
    assert store.progress() == Progress(current=1)
    assert store.load(1) == done
    assert done.finished_at is not None
    assert done.finished_at >= done.started_at
    recorded, target = store.recorded(1)
    assert target == TARGET
    assert recorded.services == TARGET.services
    assert recorded.image_ids == {"web": "sha256:1"}
    assert recorded.config_hashes == {"c1": "h1"}


def test_a_failed_apply_stays_in_progress_until_the_last_good_one_serves_again(store: ReleaseStore) -> None:
    store.finish(store.begin(TARGET), "ok")
    failed = store.finish(store.begin(TARGET), "failed", cause="service 'web': it is unhealthy")
    assert store.progress() == Progress(current=1, in_progress=2)
    store.settle()
    assert store.progress() == Progress(current=1)
    assert store.load(2) == failed


def test_an_interrupted_apply_is_told(store: ReleaseStore) -> None:
    store.begin(TARGET)
    store.mark_interrupted()
    assert store.load(1).result == "interrupted"
    assert store.progress().in_progress == 1
    assert store.begin(TARGET).number == 2


def test_an_apply_killed_before_it_was_in_progress_is_told_by_the_next(store: ReleaseStore) -> None:
    store.begin(TARGET)
    store.save_progress(Progress())
    store.begin(TARGET)
    assert [store.load(number).result for number in store.numbers()] == ["interrupted", "applying"]


def test_an_apply_that_failed_is_not_told_as_interrupted(store: ReleaseStore) -> None:
    store.finish(store.begin(TARGET), "failed")
    store.mark_interrupted()
    assert store.load(1).result == "failed"


def test_progress_keeps_what_the_next_run_must_know(store: ReleaseStore) -> None:
    guests = {"front": {"shop-web-1": {"Aliases": ["web"]}}}
    progress = Progress(current=1, in_progress=2, blocked=("c1",), restore=({"dump": "a.dump"},), guests=guests)
    store.save_progress(progress)
    assert store.progress() == progress


def fill(store: ReleaseStore, count: int) -> None:
    for _number in range(count):
        store.finish(store.begin(TARGET), "ok")


@pytest.mark.parametrize(
    ("keep", "current", "removed", "left"),
    [
        (3, 5, [1, 2], [3, 4, 5]),
        (1, 2, [1, 3, 4], [2, 5]),
        (9, 5, [], [1, 2, 3, 4, 5]),
        (0, 5, [1, 2, 3, 4], [5]),
    ],
)
def test_prune_never_takes_the_current_one(
    store: ReleaseStore, keep: int, current: int, removed: list[int], left: list[int]
) -> None:
    fill(store, 5)
    store.save_progress(Progress(current=current))
    assert store.prune(keep) == removed
    assert store.numbers() == left
    assert sorted(name for name in os.listdir(store.folder) if name.isdigit()) == [f"{number:04d}" for number in left]


def test_prune_never_takes_the_one_under_way(store: ReleaseStore) -> None:
    fill(store, 3)
    store.save_progress(Progress(current=3, in_progress=1))
    assert store.prune(1) == [2]


def test_sweep_takes_half_folders_and_nothing_else(store: ReleaseStore) -> None:
    fill(store, 2)
    for name in ("0003", "notes", "7"):
        (Path(store.folder) / name).mkdir()
    (Path(store.path(3)) / "target.json").write_text("{")
    (Path(store.path(2)) / ".snapshot.json.modelyard-tmp").write_text("{")
    assert store.numbers() == [1, 2]
    store.sweep()
    assert sorted(os.listdir(store.folder)) == ["0001", "0002", "7", "notes", "state.json"]
    assert sorted(os.listdir(store.path(2))) == ["release.json", "target.json"]


def test_a_number_is_never_given_twice_while_it_is_current(store: ReleaseStore) -> None:
    store.save_progress(Progress(current=7))
    assert store.begin(TARGET).number == 8


def test_no_release_holds_a_secret_and_only_root_reads_it(store: ReleaseStore) -> None:
    fill(store, 1)
    for name in ("release.json", "target.json"):
        path = Path(store.path(1)) / name
        assert path.stat().st_mode & 0o7777 == 0o600
        assert "value" not in json.loads(path.read_text()).values()
    assert "@@secret:t@@" in (Path(store.path(1)) / "target.json").read_text()
    assert Path(store.path(1)).stat().st_mode & 0o7777 == 0o700


def test_a_release_that_is_gone(store: ReleaseStore) -> None:
    fill(store, 2)
    with pytest.raises(PlatformError) as caught:
        store.load(9)
    assert str(caught.value) == "Cannot find release 9 of project 'shop': kept are 1, 2; choose one of these."


def test_a_release_without_its_target(store: ReleaseStore) -> None:
    fill(store, 1)
    os.unlink(f"{store.path(1)}/target.json")
    with pytest.raises(PlatformError) as caught:
        store.load_target(1)
    assert str(caught.value) == (
        "Cannot read release 1 of project 'shop': its target.json is gone; choose another release."
    )


READERS: dict[str, Callable[[ReleaseStore], object]] = {
    "state.json": lambda store: store.progress(),
    "0001/release.json": lambda store: store.load(1),
    "0001/target.json": lambda store: store.load_target(1),
}
DAMAGED = {
    "cut in half": '{"format": 1, "curr',
    "empty": "",
    "another kind": "[]",
    "without its keys": '{"format": 1}',
    "with other keys": '{"format": 1, "number": 1, "planet": "mars", "target": {"planet": "mars"}}',
    "with other kinds": '{"format": 1, "target": [], "current": 1, "in_progress": 2, "blocked": 3, "restore": 4}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_said_to_be(store: ReleaseStore, name: str, content: str) -> None:
    fill(store, 1)
    path = f"{store.folder}/{name}"
    Path(path).write_text(content)
    with pytest.raises(PlatformError) as caught:
        READERS[name](store)
    assert str(caught.value) == f"Cannot read {path}: it is damaged; restore it from a backup, or remove it."


@pytest.mark.parametrize("name", READERS)
def test_a_newer_format_is_refused(store: ReleaseStore, name: str) -> None:
    fill(store, 1)
    path = f"{store.folder}/{name}"
    Path(path).write_text('{"format": 99}')
    with pytest.raises(PlatformError) as caught:
        READERS[name](store)
    assert str(caught.value) == (
        f"Cannot read {path}: it has format 99, modelyard.platform {VERSION} knows up to {STATE_FORMAT}; "
        "a newer version wrote it, install that version."
    )


@pytest.mark.parametrize("name", READERS)
def test_a_link_in_the_place_of_a_file_is_refused(store: ReleaseStore, name: str) -> None:
    fill(store, 1)
    path = Path(store.folder) / name
    path.rename(f"{path}.moved")
    path.symlink_to(f"{path}.moved")
    with pytest.raises(PlatformError, match=r"it is no plain file \(Too many levels of symbolic links\); move it away"):
        READERS[name](store)


def test_what_releases_refer_to(store: ReleaseStore) -> None:
    release = store.finish(store.begin(TARGET), "ok", services={"web": {"image_id": "sha256:1"}, "db": {}})
    assert image_ids_of(release) == {"web": "sha256:1"}
    assert secret_versions([release]) == {("t", 3)}


#: The grammar of image references (distribution/reference), lower case after the domain.
TAG = re.compile(r"modelyard\.kept(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*){2}:r[0-9]+")
NAMES = ("web", "Web", "WEB", "web_", "_web", "a.-b", "a--b", "a-b", "_", "-", "x" * 200, "x" * 201)


def test_a_kept_tag_is_valid_and_no_other_names_whatever_compose_allows() -> None:
    tags = [
        kept_image(directory, project, service, 7)
        for directory in ("/site", "/other")
        for project in ("shop", "shop-", "shop_", "s")
        for service in NAMES
    ]
    assert [tag for tag in tags if not TAG.fullmatch(tag)] == []
    assert len(set(tags)) == len(tags)


def test_a_kept_tag_can_be_read_and_is_found_by_its_project() -> None:
    tag = kept_image("/site", "shop", "Web", 7)
    assert re.fullmatch(r"modelyard\.kept/shop-[0-9a-f]{8}/web-[0-9a-f]{8}:r7", tag)
    assert tag.startswith(kept_images_of("/site", "shop"))
    assert not tag.startswith(kept_images_of("/other", "shop"))


def stamp(site: Site, **facts: object) -> None:
    Path(site.directory, "site.json").write_text(json.dumps({"format": STATE_FORMAT, "version": VERSION, **facts}))


@pytest.mark.parametrize(
    ("written", "exactly", "refused"),
    [
        (VERSION, False, False),
        (VERSION, True, False),
        ("0.0.9", False, False),
        ("0.0.9", True, True),
        ("99.0.0", False, True),
        ("99.0.0", True, True),
        ("0.1.0.1", False, True),
    ],
)
def test_versions_do_not_mix(tmp_path: Path, written: str, exactly: bool, refused: bool) -> None:
    site = Site(str(tmp_path))
    stamp(site, version=written)
    if not refused:
        site.check_version(program="modelyard", exactly=exactly)
        return
    with pytest.raises(PlatformError) as caught:
        site.check_version(program="modelyard", exactly=exactly)
    assert str(caught.value) == (
        f"Cannot use modelyard {VERSION} on {tmp_path}: the site was last written by modelyard.platform {written}; "
        f"install version {written} of modelyard."
    )


@given(st.text(max_size=8) | st.integers() | st.none())
def test_whatever_version_is_written_it_is_compared_or_refused(tmp_path_factory: Any, version: object) -> None:
    site = Site(str(tmp_path_factory.getbasetemp()))
    stamp(site, version=version)
    with contextlib.suppress(PlatformError):
        site.check_version(program="modelyard", exactly=False)


def test_a_site_without_a_stamp_is_anybodys(tmp_path: Path) -> None:
    Site(str(tmp_path)).check_version(program="modelyard", exactly=True)


def test_preparing_a_site_twice_moves_nothing(tmp_path: Path) -> None:
    site = Site(str(tmp_path))
    site.prepare("shop", b"first")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    site.prepare("shop", b"second")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert site.read_key() == b"first"
    site.check_version(program="modelyard", exactly=True)


@given(st.binary(max_size=40) | st.just(b"[" * 100_000) | st.just(b'{"a":' + b"9" * 5000 + b"}"))
def test_whatever_bytes_a_state_file_has_it_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(PlatformError):
        assert isinstance(parse_json_object(content, "/a"), dict)


def test_prune_keeps_as_many_good_ones_as_asked_for_however_many_failed(store: ReleaseStore) -> None:
    for result in ("ok", "failed", "failed", "failed", "ok"):
        store.finish(store.begin(TARGET), result)
    assert store.prune(2) == [2]
    assert store.numbers() == [1, 3, 4, 5]


def test_prune_keeps_the_dumps_that_a_database_waits_for(store: ReleaseStore) -> None:
    fill(store, 4)
    waiting = {"project": "p", "service": "db", "database": "d", "user": "u", "path": f"{store.path(2)}/p.db.d.dump"}
    store.save_progress(Progress(current=4, restore=(waiting,)))
    assert store.prune(1) == [1, 3]
