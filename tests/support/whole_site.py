# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One whole site, brought up by the playbook that a user types, beside whatever else this machine runs.

It has a prefix, a folder, ports, a secret store and names of its own, and is removed by the playbook that a user types.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.models.containers import Container

from support.modules import HOST_PYTHON, ROOT, controller_environment
from support.role_run import QUICK_HEALTH_CHECK
from support.stored_secret import current_value

#: What a client verifies with, the site's CA among them.
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PORTS = {"http": 18080, "https": 18443, "postgres": 15432, "edge_api": 18099}


@dataclass(frozen=True)
class Play:
    """What a run of a playbook did: tasks that changed something, with their results, and all that it wrote."""

    rc: int
    changed: Mapping[str, Mapping[str, Any]]
    results: Mapping[str, Mapping[str, Any]]
    output: str


@dataclass
class WholeSite:
    """The site, as its operator has it: an inventory, a few variables, the playbooks of the collection."""

    engine: docker.DockerClient
    folder: Path
    prefix: str = field(default_factory=lambda: f"mytest{secrets.token_hex(3)}")
    ports: Mapping[str, int] = field(default_factory=lambda: PORTS)
    #: What its operator's ansible.cfg says besides, as variables of the environment.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Groups of the inventory that this machine is in.
    groups: Sequence[str] = ("edge", "data", "tracking", "clients")

    @property
    def domain(self) -> str:
        return f"{self.prefix}.test"

    @property
    def directory(self) -> Path:
        return self.folder / "site"

    @property
    def secret_store(self) -> Path:
        return self.folder / "private/secrets.json"

    def url(self, name: str) -> str:
        return f"https://{name}.{self.domain}:{self.ports['https']}"

    def write_inventory(self, **variables: Any) -> None:
        """Write what an operator would: this machine in its groups, and the site's variables; None leaves one out."""
        here: dict[str, Any] = {"localhost": {}}
        host = {"ansible_connection": "local", "ansible_python_interpreter": HOST_PYTHON, "ansible_become": False}
        groups = {name: {"hosts": dict(here)} for name in self.groups}
        values = {
            "site_domain": self.domain, "site_prefix": self.prefix, "site_directory": str(self.directory),
            "site_secret_store": str(self.secret_store), "site_images": "packages", "site_tls": "local_ca",
            "site_ports": dict(self.ports), "site_address": "127.0.0.1", "postgres_route_enabled": True,
            "site_health_check": QUICK_HEALTH_CHECK,
        }  # fmt: skip
        given = {name: value for name, value in {**values, **variables}.items() if value is not None}
        inventory = {"all": {"hosts": {"localhost": host}, "children": groups, "vars": given}}
        (self.folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")

    def play(self, *arguments: str, playbook: str = "site.yml") -> Play:
        """Run a playbook of the collection."""
        done = subprocess.run(
            self._command(playbook, *arguments), check=False, capture_output=True, text=True, timeout=900, cwd=ROOT,
            stdin=subprocess.DEVNULL, env=self._environment(),
        )  # fmt: skip
        return _parse(done)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start what ``make up`` starts, and return while it works. What it says is in ``started.log``."""
        with (self.folder / "started.log").open("wb") as log:
            return subprocess.Popen(
                self._command("site.yml", *arguments), stdout=log, stderr=log, cwd=ROOT, stdin=subprocess.DEVNULL,
                env=self._environment(),
            )  # fmt: skip

    def _command(self, playbook: str, *arguments: str) -> list[str]:
        inventory = str(self.folder / "inventory.yml")
        return [f"{ROOT}/build/venv/bin/ansible-playbook", playbook, "-i", inventory, *arguments]

    def _environment(self) -> dict[str, str]:
        return {
            **controller_environment(str(self.folder)), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl",
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"), **self.settings,
        }  # fmt: skip

    def up(self, *arguments: str) -> Play:
        done = self.play(*arguments)
        assert done.rc == 0, done.output[-6000:]
        return done

    def destroy(self) -> None:
        """Remove the site as its operator would."""
        done = self.play("-e", f"site_destroy_confirmed={self.prefix}", playbook="playbooks/destroy.yml")
        assert done.rc == 0, done.output[-4000:]

    def secret(self, name: str) -> str:
        """Return a secret as an operator sees it: by the command on the host."""
        done = subprocess.run(
            [f"/usr/local/sbin/modelyard-{self.prefix}", "secrets", "show", name],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def stored(self, name: str) -> str:
        """Return a secret as the store's file has it at this moment."""
        return current_value(self.secret_store.read_text(encoding="utf-8"), name)

    def containers(self) -> dict[str, Container]:
        """Return the site's containers by project and service, such as ``mlflow/server``."""
        listed = self.engine.containers.list(all=True, filters={"label": f"modelyard.directory={self.directory}"})
        return {
            f"{found.labels['com.docker.compose.project'].removeprefix(self.prefix + '-')}/"
            f"{found.labels['com.docker.compose.service']}": found
            for found in listed
        }

    def ids(self) -> dict[str, str]:
        return {name: str(container.id) for name, container in self.containers().items()}

    def starts(self) -> dict[str, tuple[str, str]]:
        """Return id and time of the last start of each container."""
        return {name: (str(found.id), found.attrs["State"]["StartedAt"]) for name, found in self.containers().items()}

    def mtimes(self) -> dict[str, int]:
        """Return when each file of the site was written, and when its secret store was."""
        paths = [*self.directory.rglob("*"), self.secret_store, self.secret_store.parent]
        return {str(path): path.lstat().st_mtime_ns for path in paths}


def is_running(container: Container) -> bool:
    container.reload()
    return bool(container.status == "running")


def _parse(done: subprocess.CompletedProcess[str]) -> Play:
    results: dict[str, Mapping[str, Any]] = {}
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for event in events:
        if event.get("_event") in ("v2_runner_on_ok", "v2_runner_on_failed"):
            task = event["task"]
            name = f"{task['path'].split('/roles/')[-1].split('/')[0]}: {task['name'].split(' : ')[-1]}"
            # Of several hosts, one that changed something is what counts.
            known = [results[name]] if name in results else []
            results[name] = min([*event["hosts"].values(), *known], key=_is_unchanged)
    changed = {name: found for name, found in results.items() if found.get("changed")}
    return Play(done.returncode, changed, results, done.stdout + done.stderr)


def _is_unchanged(result: Mapping[str, Any]) -> bool:
    return not result.get("changed")
