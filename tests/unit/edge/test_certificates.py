# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What authorities have given, from Traefik's files and its log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._edge.certificates import (
    find_volume,
    is_certified,
    parse_names,
    read_certificates,
    refusals_in,
)

STORED = {
    "acme": {
        "Account": {"Email": "admin@example.org", "PrivateKey": "secret"},
        "Certificates": [
            {"domain": {"main": "web.example.org"}, "certificate": "LS0=", "key": "secret", "Store": "default"},
            {"domain": {"main": "a.example.org", "sans": ["b.example.org"]}, "certificate": "LS0=", "key": "secret"},
        ],
    }
}
#: Recorded with Traefik 3.7.15 and Pebble 2.4.0.
LOG = (
    '{"level":"info","message":"Starting provider *acme.Provider"}\n'
    '{"level":"error","providerName":"acme.acme","acmeCA":"https://ca.example.org/dir","routerName":"traefik@file",'
    '"rule":"Host(`web.example.org`)","error":"unable to generate a certificate for the domains [web.example.org]: '
    "error: one or more domains had a problem:\\n[web.example.org] invalid authorization: acme: error: 400 :: "
    'urn:ietf:params:acme:error:connection :: no route\\n","domains":["web.example.org"],'
    '"message":"Unable to obtain ACME certificate for domains"}\n'
    "cut off {\n"
)


def test_each_file_tells_its_names_and_no_key(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(STORED), encoding="utf-8")
    (tmp_path / "new.json").write_text("", encoding="utf-8")
    (tmp_path / "other").write_text("no", encoding="utf-8")
    assert read_certificates(str(tmp_path)) == {
        "new.json": [],
        "one.json": ["a.example.org", "b.example.org", "web.example.org"],
    }
    assert read_certificates(f"{tmp_path}/none") == {}


NAMES = [("web.example.org", True), ("a.web.example.org", True), ("example.org", False), ("b.a.web.example.org", False)]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_wildcard_certifies_the_names_right_below_it(name: str, expected: bool) -> None:
    assert is_certified(name, ["web.example.org", "*.web.example.org"]) is expected


def test_a_file_that_is_being_written_has_none() -> None:
    assert parse_names(json.dumps(STORED)[:-5]) == []
    assert parse_names('{"acme": {"Account": null, "Certificates": null}}') == []


def test_the_reason_of_a_refusal_is_told_by_name() -> None:
    assert refusals_in(LOG, ["web.example.org", "a.example.org"]) == {
        "web.example.org": [(
            "unable to generate a certificate for the domains [web.example.org]: error: one or more "
            "domains had a problem: [web.example.org] invalid authorization: acme: error: 400 :: "
            "urn:ietf:params:acme:error:connection :: no route"
        )]
    }  # fmt: skip


def test_a_host_without_an_engine_has_no_volume(tmp_path: Path) -> None:
    assert find_volume(Engine(f"{tmp_path}/none.sock"), "modelyard-traefik_acme") == ""
