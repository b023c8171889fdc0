# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A secret whose content is a variable: it reaches its container, and a new value makes a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
from support.applied import AppliedProject, sleeper
from support.site import Site


def seen(project: AppliedProject) -> list[str]:
    return [project.read("web", "cat", f"/run/secrets/{name}") for name in ("stored", "filed")]


def test_secrets_from_variables(engine: docker.DockerClient, site: Site, base_image: str, tmp_path: Path) -> None:
    env_file = tmp_path / "more.env"
    env_file.write_text("FILED=one\n", encoding="utf-8")
    definition: dict[str, Any] = {
        "services": {"web": sleeper(base_image, secrets=["stored", "filed"]), "beside": sleeper(base_image)},
        "secrets": {"stored": {"environment": "STORED"}, "filed": {"environment": "FILED"}},
    }
    project = AppliedProject(
        engine,
        site,
        layers=[definition],
        env={"STORED": "@@secret:token@@"},
        env_files=[str(env_file)],
        secrets_in_env=["STORED"],
    )
    project.keep_secrets({"name": "token", "kind": "password", "value": "first-value"})
    project.apply()
    assert seen(project) == ["first-value", "one"]
    assert not project.apply()["changed"]

    beside = project.ids()["beside"]
    project.keep_secrets({"name": "token", "kind": "password", "value": "second-value"})
    assert project.apply()["changed"]
    assert seen(project) == ["second-value", "one"]

    env_file.write_text("FILED=two\n", encoding="utf-8")
    assert project.apply()["changed"]
    assert seen(project) == ["second-value", "two"]
    assert project.ids()["beside"] == beside
    assert not project.apply()["changed"]
