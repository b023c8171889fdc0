# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles would hand to ``compose_project``: their own tasks' options, templated as Ansible does, without any host.

Ansible's own loader of collections does not live beside Python's, so templating is done by a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.modules import ROOT, controller_environment
from support.role_run import ALONE

PROJECT = "modelyard.platform.compose_project"
IMAGE = "modelyard.platform.image"


@dataclass(frozen=True)
class RenderedProject:
    """The options of a role's project."""

    options: Mapping[str, Any]

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """Map service to its definition, of the first layer that has one."""
        found: dict[str, dict[str, Any]] = {}
        for layer in reversed(self.options["layers"]):
            found |= layer.get("services") or {}
        return found

    @property
    def files(self) -> dict[str, str]:
        """Map path to content, with references to secrets."""
        return {entry["path"]: entry["content"] for entry in self.options.get("files") or ()}

    @property
    def rules(self) -> dict[str, str]:
        """Map router of the project's routes, HTTP and TCP, to its rule."""
        config = (self.options.get("edge") or {}).get("config") or {}
        routers = {**config.get("http", {}).get("routers", {}), **config.get("tcp", {}).get("routers", {})}
        return {name: router["rule"] for name, router in routers.items()}


def render(roles: Iterable[str], variables: Mapping[str, Any], folder: Path) -> dict[str, RenderedProject]:
    """Return what each role applies, with ``variables``, as an inventory has them, over all defaults.

    :param folder: for Ansible's own files.
    """
    asked = json.dumps({"roles": list(roles), "variables": variables})
    environment = {**controller_environment(str(folder)), "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [sys.executable, "-m", "support.rendered"],
        input=asked, check=False, capture_output=True, text=True, env=environment, cwd=folder,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"Cannot render: {done.stderr[-3000:]}")
    return {role: RenderedProject(options) for role, options in json.loads(done.stdout).items()}


def _render(role: str, variables: Mapping[str, Any]) -> Any:
    folder = ROOT / "roles" / role
    known = {**_read(ROOT / "roles/site", "defaults"), **_read(folder, "defaults"), **_read(folder, "vars")}
    # Where lookups of a role's own task would look for files.
    known |= {
        "site_needs": {}, "site_place": ALONE,
        "inventory_hostname": "localhost", "ansible_search_path": [str(folder)], **variables,
    }  # fmt: skip
    # The files that the first one imports have their turn after it.
    paths = sorted(folder.glob("tasks/*.yml"), key=lambda path: (path.name != "main.yml", path.name))
    tasks = [task for path in paths for task in _load(path)]
    for task in tasks:
        # One that says nothing of it is built whatever it is: nobody else makes that image.
        if (
            IMAGE in task
            and "loop" not in task
            and (known["site_images"] == "packages" or "site_images" not in str(task["when"]))
        ):
            known[task["register"]] = {"image": f"{_template(task[IMAGE]['name'], known)}:packaged"}
    project = next(task[PROJECT] for task in tasks if PROJECT in task)
    return _template(project, known)


def _template(value: Any, known: Mapping[str, Any]) -> Any:
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar

    return Templar(loader=DataLoader(), variables=dict(known)).template(value)


def _read(role: Path, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted([*role.glob(f"{kind}/main.yml"), *role.glob(f"{kind}/main/*.yml")]):
        found |= _load(path) or {}
    return found


def _load(path: Path) -> Any:
    from ansible.parsing.dataloader import DataLoader

    return DataLoader().load_from_file(str(path), trusted_as_template=True)


def main() -> None:
    """Read roles and variables from standard input, write the options of their projects."""
    from ansible.parsing.ajson import AnsibleJSONEncoder
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader
    from ansible.template import trust_as_template

    init_plugin_loader()
    asked = json.load(sys.stdin)
    variables = DataLoader().load(trust_as_template(yaml.safe_dump(asked["variables"])))
    rendered = {role: _render(role, variables) for role in asked["roles"]}
    json.dump(rendered, sys.stdout, cls=AnsibleJSONEncoder)


if __name__ == "__main__":
    main()
