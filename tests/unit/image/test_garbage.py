# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which images go, and why the others stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.garbage import (
    Needs,
    decide,
    own_references,
    read_release_needs,
)
from ansible_collections.modelyard.platform.plugins.module_utils._image.images import (
    BASE_LABEL,
    DIRECTORY_LABEL,
    NAME_LABEL,
    Image,
    parse_time,
)

SITE = "/opt/site"
NOTHING = Needs({}, {})


def tool(number: int, *references: str, name: str = "mytest/tool", site: str = SITE, base: str = "b1") -> Image:
    labels = {NAME_LABEL: name, DIRECTORY_LABEL: site, BASE_LABEL: f"modelyard/base:{base}"}
    return Image(f"sha256:{number}", references or (f"{name}:{number}",), labels, tagged_ns=number)


def untagged(number: int) -> Image:
    made = tool(number)
    return Image(made.id, (), made.labels, number)


def base(tag: str, *, site: str = SITE) -> Image:
    labels = {NAME_LABEL: "modelyard/base", DIRECTORY_LABEL: site}
    return Image(f"sha256:{tag}", (f"modelyard/base:{tag}",), labels, tagged_ns=1)


def verdicts(
    images: list[Image], needs: Needs = NOTHING, *, keep: int = 1, name: str | None = None
) -> list[tuple[str, str, str]]:
    found = decide(images, directory=SITE, needs=needs, keep=keep, name=name)
    return [(verdict.action, verdict.title, verdict.reason) for verdict in found]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (NOTHING, ("remove", "no kept release needs it")),
        (Needs({"mytest/tool:1": "release web 3"}, {}), ("keep", "needed by release web 3")),
        (Needs({"sha256:1": "release web 3"}, {}), ("keep", "needed by release web 3")),
        (Needs({}, {"sha256:1": "container web-1"}), ("keep", "used by container web-1")),
        (Needs({}, {}, frozenset({"mytest/tool:1"})), ("keep", "the current one of its name")),
    ],
    ids=["nobody", "release by reference", "release by id", "container", "current"],
)
def test_an_image_stays_where_somebody_needs_it(needs: Needs, expected: tuple[str, str]) -> None:
    action, _reference, reason = verdicts([tool(1)], needs, keep=0)[0]
    assert (action, reason) == expected


def test_the_newest_of_each_name_stay() -> None:
    images = [tool(1), tool(3), tool(2), tool(4, name="mytest/other")]
    assert verdicts(images, keep=2) == [
        ("keep", "mytest/other:4", "one of the 2 newest of its name"),
        ("keep", "mytest/tool:3", "one of the 2 newest of its name"),
        ("keep", "mytest/tool:2", "one of the 2 newest of its name"),
        ("remove", "mytest/tool:1", "no kept release needs it"),
    ]


def test_the_current_one_counts_before_newer_ones() -> None:
    # A recipe that went back to what it was: its image is older than the one that was left.
    assert verdicts([tool(1), tool(2)], Needs({}, {}, frozenset({"mytest/tool:1"}))) == [
        ("keep", "mytest/tool:1", "the current one of its name"),
        ("remove", "mytest/tool:2", "no kept release needs it"),
    ]


def test_a_tag_of_somebody_else_keeps_an_image_and_one_of_a_push_does_not() -> None:
    kept = tool(1, "mytest/tool:1", "web:3")
    pushed = tool(2, "mytest/tool:2", "127.0.0.1:5000/a/mytest/tool:2")
    assert verdicts([kept, pushed], keep=0) == [
        ("remove", "mytest/tool:2", "no kept release needs it"),
        ("keep", "mytest/tool:1", "also tagged web:3"),
    ]
    assert own_references(kept) == ("mytest/tool:1",)
    assert own_references(pushed) == pushed.references


def test_what_an_interrupted_build_left_goes_unless_a_container_uses_it() -> None:
    assert verdicts([untagged(1), untagged(2)], Needs({}, {"sha256:2": "container x"}), keep=5) == [
        ("remove", "sha256:1", "left by an interrupted build"),
        ("keep", "sha256:2", "used by container x"),
    ]


def test_another_site_is_not_looked_at_but_keeps_its_base() -> None:
    images = [tool(1, site="/opt/other", base="b2"), tool(2, base="b1"), base("b1"), base("b2")]
    images.append(base("b3", site="/opt/other"))
    assert verdicts(images, keep=0) == [
        ("remove", "mytest/tool:2", "no kept release needs it"),
        ("remove", "modelyard/base:b1", "no image that is left starts from it"),
        ("keep", "modelyard/base:b2", "base of mytest/tool"),
    ]


def test_a_base_that_a_container_uses_stays() -> None:
    assert verdicts([base("b1")], Needs({}, {"sha256:b1": "container x"})) == [
        ("keep", "modelyard/base:b1", "used by container x")
    ]


def test_with_a_name_only_its_images_are_looked_at() -> None:
    images = [tool(1), tool(2, name="mytest/other", base="b2"), base("b2")]
    assert verdicts(images, keep=0, name="mytest/tool") == [
        ("remove", "mytest/tool:1", "no kept release needs it"),
        ("keep", "modelyard/base:b2", "base of mytest/other"),
    ]


def write_release(folder: Path, project: str, number: int, text: str) -> Path:
    path = folder / "releases" / project / str(number) / "release.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_releases_need_their_images_by_reference_and_id(tmp_path: Path) -> None:
    services = {"web": {"image": "mytest/tool:1", "image_id": "sha256:1"}, "job": {"image": "mytest/job:1"}}
    write_release(tmp_path, "shop", 3, json.dumps({"format": 1, "services": services}))
    (tmp_path / "releases" / "shop" / "4").mkdir()
    assert read_release_needs(str(tmp_path)) == {
        "mytest/tool:1": "release shop 3",
        "sha256:1": "release shop 3",
        "mytest/job:1": "release shop 3",
    }


def test_a_site_without_releases_needs_nothing(tmp_path: Path) -> None:
    assert read_release_needs(str(tmp_path)) == {}


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"services": {"web": null}}', '{"services": []}'],
    ids=["cut", "list", "empty", "null", "services as list"],
)  # fmt: skip
def test_a_release_that_cannot_be_read_stops_the_pruning(tmp_path: Path, text: str) -> None:
    path = write_release(tmp_path, "shop", 3, text)
    with pytest.raises(PlatformError) as caught:
        read_release_needs(str(tmp_path))
    assert str(caught.value) == (
        f"Cannot prune images: the release {path} cannot be read, and an image that it needs might go; "
        "restore it from a backup, or remove its folder if that release is not wanted."
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:01.46Z", 1_460_000_000),
        ("1970-01-01T00:00:01.463613495Z", 1_463_613_495),
        ("1970-01-01T01:30:01.5+01:30", 1_500_000_000),
        ("1969-12-31T23:00:01-01:00", 1_000_000_000),
        ("", 0),
        (None, 0),
    ],
)
def test_time_stamps_of_the_engine_are_exact(text: str | None, expected: int) -> None:
    assert parse_time(text) == expected
