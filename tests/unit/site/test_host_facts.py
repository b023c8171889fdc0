# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rules ask of a host."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.observe import find_plugin
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program
from ansible_collections.modelyard.platform.plugins.module_utils._site.host_facts import (
    find_url_and_port,
    read_facts,
)


def container(name: str, *labels: str) -> dict[str, Any]:
    return {"Names": [f"/{name}"], "Labels": dict.fromkeys(labels, "1")}


def test_labels_with_address_and_port_of_one_service_are_found() -> None:
    service = "traefik.http.services.{}.loadbalancer.server.{}"
    listed = [
        container("both", service.format("mlflow", "url"), service.format("mlflow", "port")),
        container("mixed", service.format("One", "URL"), service.format("one", "port")),
        container("one each", service.format("a", "url"), service.format("b", "port")),
        container("port", service.format("a", "port")),
        {"Names": ["/none"], "Labels": None},
    ]
    assert find_url_and_port(listed) == ["both", "mixed"]


def test_the_first_plugin_counts(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "docker-compose").write_text("", encoding="ascii")
    (tmp_path / "second/docker-compose").chmod(0o755)
    folders = [f"{tmp_path}/none", f"{tmp_path}/first", f"{tmp_path}/second"]
    assert find_plugin("docker-compose", folders) == f"{tmp_path}/second/docker-compose"
    assert find_plugin("docker-buildx", folders) == ""


def test_a_host_with_a_site_is_asked_for_less(tmp_path: Path) -> None:
    engine = Engine(f"{tmp_path}/none.sock")
    brief = read_facts(engine, run_program, [], is_brief=True)
    assert brief["python"] == platform.python_version()
    assert brief["engine"] == ""
    assert "compose" not in brief
    whole = read_facts(engine, run_program, [], is_brief=False)
    assert whole.keys() - brief.keys() == {"compose", "compose_path", "passlib", "bcrypt"}
