# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.settings import (
    merge_settings,
    needs_restart,
    parse_settings,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

OURS = {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": True}

MERGED: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("nothing there", {}, {}, OURS),
    ("another MTU", {}, {"mtu": 1400}, {**OURS, "mtu": 1400}),
    ("a setting of somebody's stays", {"data-root": "/data"}, {}, {"data-root": "/data", **OURS}),
    ("an MTU of somebody's stays", {"mtu": 1300}, {"mtu": 1400}, {**OURS, "mtu": 1300}),
    ("live-restore that is off stays off", {"live-restore": False}, {}, {**OURS, "live-restore": False}),
    (
        "a log size of somebody's stays",
        {"log-opts": {"max-size": "1g", "tag": "x"}},
        {},
        {**OURS, "log-opts": {"max-size": "1g", "max-file": "3", "tag": "x"}},
    ),
    (
        "a driver that rotates nothing gets no rotation",
        {"log-driver": "journald"},
        {},
        {"log-driver": "journald", "live-restore": True},
    ),
    ("a Swarm gets no live-restore", {}, {"is_swarm": True}, {k: v for k, v in OURS.items() if k != "live-restore"}),
    (
        "options win, inner ones too",
        {"log-opts": {"max-size": "1g"}, "debug": True},
        {"options": {"log-opts": {"max-size": "5m"}, "debug": False}},
        {**OURS, "log-opts": {"max-size": "5m", "max-file": "3"}, "debug": False},
    ),
]


@pytest.mark.parametrize(("found", "more", "expected"), [case[1:] for case in MERGED], ids=[case[0] for case in MERGED])
def test_merging(found: dict[str, Any], more: dict[str, Any], expected: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"mtu": 1500, "is_swarm": False, "options": {}, **more}
    merged = merge_settings(found, **arguments)
    assert merged == expected
    assert merge_settings(merged, **arguments) == merged


def test_an_empty_file_holds_no_settings() -> None:
    assert parse_settings(" \n", "/etc/docker/daemon.json") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            (
                "Cannot read the engine's settings in /d.json: Expecting property name enclosed in double quotes: line "
                "1 column 2 (char 1); correct the file, the engine cannot read it either."
            ),
        ),
        ("[]", "Cannot read the engine's settings in /d.json: it is no JSON object; make it one."),
    ],
    ids=["no JSON", "no object"],
)
def test_a_damaged_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_settings(text, "/d.json")
    assert str(caught.value) == message


def test_what_needs_a_restart() -> None:
    assert needs_restart(("live-restore", "log-opts", "mtu", "registry-mirrors")) == ("log-opts", "mtu")
