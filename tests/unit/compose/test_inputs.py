# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that Compose reads moves the hash of a project's inputs, or makes us ask Compose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.inputs import (
    digest_inputs,
    has_hidden_inputs,
)

PARAMS: dict[str, Any] = {"name": "shop", "directory": "/site", "src": None, "env_files": None, "layers": []}


def params(service: Any, **more: Any) -> dict[str, Any]:
    return {**PARAMS, "layers": [{"services": {"db": {"image": "db:1"}}}, {"services": {"web": service}}], **more}


def digest(options: dict[str, Any]) -> str:
    return digest_inputs(options, key=b"key", versions=lambda _: {})


@pytest.mark.parametrize(
    "service",
    [
        {"extends": "db"},
        {"build": "."},
        {"label_file": "web.labels"},
        {"label_file": ["web.labels"]},
        {"env_file": "${WHERE}/web.env"},
        {"env_file": ["web.env", "$WHERE.env"]},
        {"env_file": [{"path": "$WHERE.env", "required": False}]},
        {"env_file": {"__override__": ["web.env"]}},
        {"__override__": {"build": "."}},
    ],
    ids=str,
)
def test_files_that_only_compose_knows(service: dict[str, Any]) -> None:
    assert has_hidden_inputs(params(service))


@pytest.mark.parametrize(
    "service",
    [None, {}, {"image": "web:$TAG"}, {"env_file": "web.env"}, {"env_file": [{"path": "web.env"}]}, {"build": None}],
    ids=str,
)
def test_no_file_beyond_those_we_know(service: dict[str, Any] | None) -> None:
    assert not has_hidden_inputs(params(service))


@pytest.mark.parametrize(
    "layer", [{"include": ["a.yaml"]}, {"services": {"__override__": {"web": {"build": "."}}}}, {"services": []}, {}]
)
def test_a_layer_that_brings_in_files(layer: dict[str, Any]) -> None:
    assert has_hidden_inputs({**PARAMS, "layers": [layer]})


def test_a_project_of_somebody_else_is_always_looked_at() -> None:
    assert has_hidden_inputs({**PARAMS, "src": "/srv/shop"})


@pytest.mark.parametrize(
    "service",
    [{"environment": ["HTTP_PROXY"]}, {"environment": {"HTTP_PROXY": None}}, {"command": "${HTTP_PROXY:-none}"}],
    ids=str,
)
def test_a_variable_that_compose_inherits(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    without = digest(params(service))
    monkeypatch.setenv("HTTP_PROXY", "http://a.test")
    first = digest(params(service))
    monkeypatch.setenv("HTTP_PROXY", "http://b.test")
    assert len({without, first, digest(params(service))}) == 3


def test_a_variable_that_an_env_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "web.env"
    path.write_text("PROXY=${HTTP_PROXY}\n")
    options = params({"env_file": str(path)})
    monkeypatch.setenv("HTTP_PROXY", "http://a.test")
    first = digest(options)
    monkeypatch.setenv("HTTP_PROXY", "http://b.test")
    assert digest(options) != first


def test_a_variable_that_nobody_names_or_compose_never_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    options = params({"environment": ["NO_SUCH", "MY_OWN"]})
    first = digest(options)
    monkeypatch.setenv("HTTP_PROXY", "http://a.test")
    monkeypatch.setenv("MY_OWN", "a")
    assert digest(options) == first


def test_the_inputs_do_not_show_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:password@a.test")
    options = params({"environment": ["HTTP_PROXY"]})
    assert digest_inputs(options, key=b"a", versions=lambda _: {}) != digest_inputs(
        options, key=b"b", versions=lambda _: {}
    )
