# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What we write for Compose is what Compose reads: ``.env``, layers and models, value by value. It asks no engine."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.cli import ComposeCli, find_plugin
from ansible_collections.modelyard.platform.plugins.module_utils._compose.dotenv import render_dotenv
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: What one parser or another treats in a way of its own, and plain letters between.
PIECES = [
    "$", "$$", "${X}", "$X", "${X:-y}", "\\", "\\n", "\\$", "'", '"', "`", "\n", "\r", "\t", " ", "#", " #", "=", ":",
    "{", "}", "[", "]", "!", "%", "&", "*", ",", "-", "~", "a", "Z", "1", "true", "null", "export ", "é", "ß", "日本",
    "\U0001f600", "\x85", "\u2028", "\x7f", "\x01", "\ufeff", "\xa0", "@", "/", "|", ">", "?",
]  # fmt: skip
VALUES = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
#: A process start for each, so few of them with many values.
FEW = settings(max_examples=5, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck))
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")}


def compose() -> ComposeCli:
    return ComposeCli(find_plugin(os.environ), "mytest-reads-back", "/mytest-reads-back")


def project(**options: Any) -> Project:
    return Project(name="mytest-reads-back", directory="/mytest", folder="/mytest-reads-back", **options)


def labels_of(model: dict[str, Any]) -> dict[str, str]:
    """Return the labels of the one service; Compose doubles ``$`` in all that it writes."""
    labels: dict[str, str] = model["services"]["web"]["labels"]
    return {key: value.replace("$$", "$") for key, value in labels.items()}


def read_dotenv(path: Path, names: list[str]) -> dict[str, str]:
    """Return the variables as Compose reads them from an env file."""
    model = {"services": {"web": {"image": "x", "labels": {name: f"${{{name}}}" for name in names}}}}
    done = subprocess.run(
        [find_plugin(os.environ), "-p", "mytest", "--env-file", str(path), "-f", "-", "config", "--format", "json"],
        input=json.dumps(model).encode(),
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stderr.decode()
    return labels_of(json.loads(done.stdout))


@FEW
@given(values=st.lists(VALUES, min_size=150, max_size=300))
def test_dotenv_reads_back_as_it_was_given(values: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    env = {f"K{number}": value for number, value in enumerate([*PIECES, *values])}
    path = tmp_path_factory.mktemp("env") / ".env"
    path.write_text(render_dotenv(env), encoding="utf-8", newline="")
    assert read_dotenv(path, list(env)) == env


@FEW
@given(values=st.lists(VALUES, min_size=150, max_size=300))
def test_layers_read_back_as_they_were_given(values: list[str]) -> None:
    # In keys Compose replaces nothing, but doubles $ when it writes them: there it does not read back its own.
    labels = {f"k{number}{value.replace('$', '')}": value for number, value in enumerate([*PIECES, *values])}
    layer = {"services": {"web": {"image": "x", "labels": {k: v.replace("$", "$$") for k, v in labels.items()}}}}
    assert labels_of(compose().resolve(project(layers=(layer,))).model) == labels


@FEW
@given(values=st.lists(VALUES, min_size=150, max_size=300))
def test_models_read_back_as_they_were_given(values: list[str]) -> None:
    labels = {f"k{number}": value for number, value in enumerate([*PIECES, *values])}
    layer = {"services": {"web": {"image": "x", "labels": {k: v.replace("$", "$$") for k, v in labels.items()}}}}
    model = compose().resolve(project(layers=(layer,))).model
    assert compose().normalize(model) == model


def test_env_reaches_interpolation_as_it_was_given() -> None:
    env = {f"K{number}": value for number, value in enumerate(PIECES)}
    layer = {"services": {"web": {"image": "x", "labels": {name: f"${{{name}}}" for name in env}}}}
    assert labels_of(compose().resolve(project(layers=(layer,), env=env)).model) == env


def test_reset_and_override_remove_what_another_layer_declares() -> None:
    below = {
        "services": {"web": {"image": "x", "ports": ["80"], "volumes": ["a:/a"], "environment": {"A": "1", "B": "2"}}},
        "volumes": {"a": {}},
    }
    above = {
        "services": {
            "web": {
                "ports": {"__reset__": True},
                "volumes": {"__override__": ["/srv:/b"]},
                "environment": {"A": {"__reset__": True}},
            }
        }
    }
    web = compose().resolve(project(layers=(below, above))).model["services"]["web"]
    assert "ports" not in web
    assert [volume["target"] for volume in web["volumes"]] == ["/b"]
    assert web["environment"] == {"B": "2"}
