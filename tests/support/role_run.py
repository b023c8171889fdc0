# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One role of the collection on this machine, by a real ``ansible-playbook``, as a part of a site of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.modules import ROOT, controller_environment
from support.site import Site

PACKAGES_BASE = ROOT / "roles/site/defaults/main/images.yml"
#: What a role knows of other hosts where the site has none.
#: Tests wait for many starts, so that theirs are asked often.
QUICK_HEALTH_CHECK = {"interval": "2s", "timeout": "5s", "retries": 90}
ALONE = {"is_inner": False, "edge": "localhost", "routed": ["localhost"], "admitted": {}, "addresses": {}}


@dataclass(frozen=True)
class RoleRun:
    """What a play did: the tasks that changed something, and all that Ansible wrote."""

    rc: int
    changed: list[str]
    results: Mapping[str, Mapping[str, Any]]
    output: str


@dataclass(frozen=True)
class SiteOfRoles:
    """A site's values, and the folder for playbooks and Ansible's own files."""

    site: Site
    folder: Path
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def secret_store(self) -> Path:
        return self.folder / "private" / "secrets.json"

    def run(
        self,
        role: str,
        *,
        secrets: list[dict[str, Any]],
        check: bool = False,
        first: Sequence[Mapping[str, Any]] = (),
        **variables: Any,
    ) -> RoleRun:
        """Run the tasks ``first``, make the secrets, then apply the role."""
        play = {
            "name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False,
            "vars": {**self._site_values(), **self.variables, **variables},
            "tasks": [
                *first,
                {
                    "name": "Make the secrets",
                    "modelyard.platform.secrets": {
                        "path": str(self.secret_store), "site_directory": str(self.site.directory), "secrets": secrets,
                    },
                },
                {"name": "Apply the role", "ansible.builtin.include_role": {"name": f"modelyard.platform.{role}"}},
            ],
        }  # fmt: skip
        playbook = self.folder / "play.yml"
        playbook.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
        command = [str(Path(sys.prefix) / "bin" / "ansible-playbook"), "--inventory", "localhost,", str(playbook)]
        done = subprocess.run(
            [*command, *(["--check", "--diff"] if check else [])], check=False, capture_output=True, text=True,
            timeout=600, cwd=self.folder, stdin=subprocess.DEVNULL, env=controller_environment(str(self.folder)),
        )  # fmt: skip
        return _parse(done)

    def _site_values(self) -> dict[str, Any]:
        self.secret_store.parent.mkdir(mode=0o700, exist_ok=True)
        base = yaml.safe_load(PACKAGES_BASE.read_text(encoding="utf-8"))
        return {
            "site_prefix": self.site.prefix, "site_directory": str(self.site.directory), "site_images": "packages",
            "site_secret_store": str(self.secret_store), "site_state": "present", "site_timezone": "UTC",
            "site_private_address": "", "site_place": ALONE, "site_health_check": QUICK_HEALTH_CHECK, **base,
        }  # fmt: skip


def _parse(done: subprocess.CompletedProcess[str]) -> RoleRun:
    start = done.stdout.find("{\n")
    if start < 0:
        raise RuntimeError(f"Cannot run the play: it answered with no JSON.\n{done.stdout}\n{done.stderr}")
    tasks = json.JSONDecoder().raw_decode(done.stdout[start:])[0]["plays"][0]["tasks"]
    results = {task["task"]["name"].partition(" : ")[2] or task["task"]["name"]: task["hosts"]["localhost"]
               for task in tasks if "localhost" in task["hosts"]}  # fmt: skip
    changed = [name for name, result in results.items() if result.get("changed")]
    return RoleRun(done.returncode, changed, results, done.stdout + done.stderr)
