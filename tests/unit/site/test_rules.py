# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of role site: each holds for one case and not for one that is next to it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._site.rules import (
    Rule,
    is_below,
    judge,
    parse_rules,
    parse_version,
)
from support.tree import ROOT

RULES_FILE = ROOT / "roles/site/defaults/main/rules.yml"
RULES = {
    rule.name: rule for rule in parse_rules(yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["__site_rules"])
}

#: A host on which nothing is wrong.
GOOD: dict[str, Any] = {
    "distribution": "debian trixie", "architecture": "x86_64", "python": "3.13.5", "engine": "26.1.5+dfsg1",
    "compose": "2.26.1-4", "compose_path": "/usr/libexec/docker/cli-plugins/docker-compose", "is_docker_role": True,
    "passlib": "1.7.4", "bcrypt": "4.2.0", "url_and_port": [],
}  # fmt: skip

HOSTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("python-floor", {"python": "3.9.2"}, {"python": "3.10.12"}),
    ("architecture", {"architecture": "armv7l"}, {"architecture": "aarch64"}),
    (
        "distribution-without-docker",
        {"distribution": "fedora", "engine": ""},
        {"distribution": "ubuntu noble", "engine": ""},
    ),
    (
        "distribution-with-docker",
        {"distribution": "debian bullseye", "engine": "20.10.5"},
        {"distribution": "debian bookworm"},
    ),
    ("engine-floor", {"engine": "19.03.15"}, {"engine": "20.10.24+dfsg1"}),
    (
        "compose-floor",
        {"compose": "2.20.2+ds1-0ubuntu1~22.04.1", "is_docker_role": False},
        {"compose": "2.24.6+ds1-0ubuntu1~22.04.1", "is_docker_role": False},
    ),
    (
        "compose-by-hand",
        {"compose": "2.17.2", "compose_path": "/usr/local/lib/docker/cli-plugins/docker-compose"},
        {"compose": "2.17.2"},
    ),
    ("traefik-url-and-port", {"url_and_port": ["mlflow", "minio"]}, {"url_and_port": []}),
    ("bcrypt-5-passlib", {"passlib": "1.7.4", "bcrypt": "5.0.0"}, {"passlib": "1.9.4", "bcrypt": "5.0.0"}),
]

IMAGES: list[tuple[str, dict[str, Any], str, str]] = [
    ("engine-29-traefik", {"engine": "29.0.0"}, "traefik:v3.6.0", "traefik:v3.6.1"),
    ("engine-29-traefik", {"engine": "29.8.2"}, "docker.io/library/traefik:v3.0", "docker.io/library/traefik:v3.7.15"),
    ("traefik-floor", {}, "docker.io/library/traefik:v3.7.5", "docker.io/library/traefik:v3.7.6"),
    ("traefik-advisories", {}, "traefik:v3.7.12@sha256:" + "0" * 64, "traefik:v3.7.13"),
    ("postgres-18-volume", {}, "docker.io/postgis/postgis:18-3.6", "docker.io/postgis/postgis:17-3.5"),
    ("postgres-older", {}, "postgres:16.4", "postgres:17.2"),
    ("postgis-arm", {"architecture": "aarch64"}, "postgis/postgis:17-3.5", "imresamu/postgis:17-3.5"),
    ("minio-left", {}, "minio/minio:RELEASE.2025-04-22T22-12-26Z", "quay.io/minio/minio:RELEASE.2025-04-22T22-12-26Z"),
    ("rclone-floor", {}, "docker.io/rclone/rclone:1.74.3", "docker.io/rclone/rclone:1.75.2"),
    ("unpinned-image", {}, "registry.example.org:5000/team/mlflow", "registry.example.org:5000/team/mlflow:v3.17.2"),
]


def sentences(rule: Rule, facts: dict[str, Any], image: str = "") -> tuple[str, ...]:
    judged = judge([rule], {**GOOD, **facts}, {"role_image": image} if image else {})
    found, others = (judged.refused, judged.warned) if rule.verdict == "refuse" else (judged.warned, judged.refused)
    assert others == ()
    return found


@pytest.mark.parametrize(("name", "bad", "good"), HOSTS, ids=[case[0] for case in HOSTS])
def test_a_rule_of_hosts_holds_for_one_and_not_for_the_next(
    name: str, bad: dict[str, Any], good: dict[str, Any]
) -> None:
    assert len(sentences(RULES[name], bad)) == 1
    assert sentences(RULES[name], good) == ()


@pytest.mark.parametrize(("name", "facts", "bad", "good"), IMAGES, ids=[f"{case[0]} {case[2]}" for case in IMAGES])
def test_a_rule_of_images_holds_for_one_and_not_for_the_next(
    name: str, facts: dict[str, Any], bad: str, good: str
) -> None:
    [sentence] = sentences(RULES[name], facts, bad)
    assert bad in sentence
    assert "role_image" in sentence
    assert sentences(RULES[name], facts, good) == ()


def test_every_rule_has_a_case_and_a_public_source() -> None:
    assert {case[0] for case in HOSTS} | {case[0] for case in IMAGES} == set(RULES)
    assert all(rule.source.startswith("https://") for rule in RULES.values())


def test_a_good_host_with_the_images_of_the_roles_has_nothing_to_hear() -> None:
    images = {}
    for path in ROOT.glob("roles/*/defaults/**/*.yml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        images |= {key: value for key, value in values.items() if key.endswith("_image")}
    assert len(images) >= 5
    judged = judge(RULES.values(), GOOD, images)
    assert (judged.refused, judged.warned) == ((), ())


def test_the_compose_file_of_a_replaced_system_is_refused_with_the_fixes() -> None:
    images = {"traefik_image": "traefik:v3.0", "object_store_image": "minio/minio:RELEASE.2025-04-22T22-12-26Z"}
    judged = judge(RULES.values(), {**GOOD, "engine": "29.0.1"}, images)
    assert judged.refused == (
        (
            "Cannot run traefik:v3.0 with Docker Engine 29.0.1, Traefik before 3.6.1 asks for version 1.24 of its API, "
            "which Engine 29 has no longer; set traefik_image to Traefik 3.7.15 or newer (see "
            "https://github.com/traefik/traefik/issues/12253)."
        ),
        (
            "Cannot configure traefik:v3.0, Traefik before 3.7.6 keeps headers with underscores in a way that the role "
            "cannot change; set traefik_image to 3.7.15 or newer (see https://doc.traefik.io/traefik/migrate/v3)."
        ),
        (
            "Cannot pull minio/minio:RELEASE.2025-04-22T22-12-26Z, MinIO has taken its images off Docker Hub; set "
            "object_store_image to the image of another S3 store, which the page of role object_store names (see "
            "https://github.com/makeplane/plane/pull/9829)."
        ),
    )


def test_what_nobody_knows_fulfils_no_condition() -> None:
    judged = judge(RULES.values(), {"distribution": "debian trixie"}, {"own_image": "own/thing:2026-11"})
    assert (judged.refused, judged.warned) == ((), ())


VERSIONS = [
    ("v2.24.6+ds1-0ubuntu1~22.04.1", (2, 24, 6)), ("17-3.5", (17,)), ("29.1.3", (29, 1, 3)), ("latest", ()), ("", ()),
    ("\u0663.1", ()), ("3.\u0661", (3,)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "version"), VERSIONS)
def test_a_version_is_what_a_text_begins_with(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_versions_are_compared_in_the_places_of_the_floor() -> None:
    assert is_below("3.6", "3.6.1")
    assert is_below("18-3.6", "18") is False
    assert is_below("3.10.12", "3.10") is False
    assert is_below("stable", "3.10") is None


WRONG = [
    ({"name": "a", "all": []}, "Cannot read rule 'a': fix, reason, source, verdict is too much or missing"),
    (
        {"name": "a", "all": [], "verdict": "perhaps", "reason": "", "fix": "", "source": ""},
        "Cannot read rule 'a': its verdict is 'perhaps'; known are 'refuse' and 'warn'.",
    ),
    (
        {"name": "a", "all": [{"fact": "engine", "operator": "eval", "value": "1"}], "verdict": "warn", "reason": "",
         "fix": "", "source": ""},
        "Cannot read rule 'a': found condition {'fact': 'engine', 'operator': 'eval', 'value': '1'}",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "message"), WRONG)
def test_a_rule_of_another_form_is_refused_by_name(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_rules([entry])
    assert str(caught.value).startswith(message)
