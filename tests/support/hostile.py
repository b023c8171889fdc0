# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project in which every phase of an apply has something to do, from each *generation* to the next.

Odd and even generations differ in everything that can differ; two of the same parity differ only in the number that
the migration writes down. Its rows are the sentinel: a step that runs twice, or on top of half of another, fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from support.modules import run_module
from support.site import PROJECT_LABEL, Site
from support.traefik import Traefik, route_to

PROJECT = "shop"
DATABASE = "sentinel"
PORT = 8080
#: Long-running services without a health check are taken as good after this time.
SETTLE_SECONDS = 0.3

_MIGRATION = f"""
sql() {{ psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --host=db "$@"; }}
if [ -z "$(sql --dbname=postgres -c "SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'")" ]; then
    sql --dbname=postgres -c 'CREATE DATABASE {DATABASE}'
fi
sql --dbname={DATABASE} -c 'CREATE TABLE IF NOT EXISTS steps (name text PRIMARY KEY, at timestamptz DEFAULT now())'
done=$(sql --dbname={DATABASE} -c "SELECT 1 FROM steps WHERE name = '$GENERATION last'")
[ -z "$done" ] || exit 0
sql --dbname={DATABASE} -c "INSERT INTO steps VALUES ('$GENERATION first')"
sleep 0.3
sql --dbname={DATABASE} -c "INSERT INTO steps VALUES ('$GENERATION last')"
"""


@dataclass(frozen=True)
class HostileProject:
    """The project on one site. ``images`` are those of the app and, as ``base`` and ``postgres``, the others."""

    engine: docker.DockerClient
    site: Site
    traefik: Traefik
    images: dict[str, str]

    @property
    def name(self) -> str:
        return self.site.name(PROJECT)

    @property
    def folder(self) -> Path:
        return self.site.directory / "projects" / self.name

    @property
    def context(self) -> Path:
        """The folder that service ``built`` is built from."""
        return self.site.directory.parent / f"{self.site.directory.name}-context"

    def prepare(self) -> None:
        """Make what the project expects on its host: a secret and a build folder."""
        secret = {"name": "token", "kind": "hex", "value": "5ec2e7" * 4}
        made = run_module("secrets", {"path": self.secret_store, "secrets": [secret]})
        assert not made.failed, made.msg
        self.context.mkdir()
        dockerfile = f"FROM {self.images['base']}\nCOPY content /content\nUSER 65534\n"
        (self.context / "Dockerfile").write_text(dockerfile, encoding="utf-8")

    @property
    def secret_store(self) -> str:
        return str(self.site.directory.parent / f"{self.site.directory.name}-secrets" / "secrets.json")

    def params(self, generation: int, *, broken: bool = False) -> dict[str, Any]:
        """Return the options that declare a generation; a broken one has an app that does not start."""
        (self.context / "content").write_text(_parity(generation), encoding="utf-8")
        parity, shared = _parity(generation), self.site.name("shared")
        networks: dict[str, Any] = {"default": {}, "inner": {"labels": {"parity": parity}}}
        networks["shared"] = {"external": True, "name": shared}
        definition = {
            "services": self._services(generation, broken=broken),
            "networks": networks,
            "volumes": {"rows": {}, "files": {}},
        }
        return {
            "name": self.name,
            "directory": str(self.site.directory),
            "layers": [definition],
            "env": {"PARITY": parity},
            "files": _files(parity),
            "networks": [{"name": shared}, {"name": f"{shared}-{parity}"}],
            "edge": {
                "file": f"{self.traefik.folder}/shop.yml", "config": route_to("web", PORT), "api": self.traefik.api,
            },
            "pull": "never",
            "wait_seconds": 60,
            "lock_seconds": 120,
            "keep_releases": 3,
            "secret_store": self.secret_store,
        }  # fmt: skip

    def _services(self, generation: int, *, broken: bool) -> dict[str, Any]:
        version = ("v1", "v2")[generation % 2]
        quick = {"x-modelyard": {"settle_seconds": SETTLE_SECONDS}}
        migration = {"database": DATABASE, "service": "db", "user": "postgres"}
        healthy, migrated = {"condition": "service_healthy"}, {"condition": "service_completed_successfully"}
        idle = {"image": self.images["base"], "command": ["sleep", "infinity"], **quick}
        return {
            "db": {
                "image": self.images["postgres"], "volumes": ["rows:/var/lib/postgresql/data"],
                # The first start makes the cluster: a loaded machine may take its time.
                "healthcheck": {"test": ["CMD", "pg_isready", "--quiet"], "interval": "1s", "retries": 60},
            },
            "migrate": {
                "image": self.images["postgres"], "command": ["bash", "-euc", _MIGRATION.replace("$", "$$")],
                "environment": {"GENERATION": f"generation {generation:04}"}, "healthcheck": {"disable": True},
                "depends_on": {"db": healthy}, "x-modelyard": {"migrates": migration},
            },
            "app": {
                "image": self.images["broken" if broken else version],
                "environment": {"PARITY": "${PARITY}"}, "user": "65534:65534",
                "volumes": ["./app/settings.ini:/etc/settings.ini:ro", "./app/token:/run/token:ro"],
                "depends_on": {"migrate": migrated},
            },
            "reloader": {
                "image": self.images["v1"], "environment": {"FILE": "/etc/app/loaded"},
                "volumes": ["./reloader:/etc/app:ro"],
            },
            "watcher": {**idle, "volumes": ["./watcher:/etc/app:ro", "files:/files"]},
            "still": idle,
            "inner": {**idle, "networks": ["inner"]},
            "built": {
                "build": {"context": str(self.context)}, "image": f"{self.name}-built:latest",
                "command": ["sleep", "infinity"], **quick,
            },
            "web": {"image": self.images[version], "networks": ["shared"]},
            f"only-{_parity(generation)}": idle,
        }  # fmt: skip

    def disturb(self) -> None:
        """Stop what an apply must start again."""
        self.container("still").stop(timeout=0)

    def container(self, service: str) -> Container:
        """Return the one container of a service."""
        labels = [f"{PROJECT_LABEL}={self.name}", f"com.docker.compose.service={service}"]
        [found] = self.engine.containers.list(all=True, filters={"label": labels})
        return found

    def rows(self) -> list[str]:
        """Return the steps of all migrations that the database knows, in their order."""
        query = "SELECT name FROM steps ORDER BY at, name"
        command = ["psql", "-qtA", "--username=postgres", f"--dbname={DATABASE}", "-c", query]
        _code, output = self.container("db").exec_run(command)
        assert isinstance(output, bytes), "exec_run without stream gives all at once"
        return output.decode().split("\n")[:-1]


def expected_rows(generations: range) -> list[str]:
    """Return what :meth:`HostileProject.rows` gives after these generations."""
    return [f"generation {generation:04} {step}" for generation in generations for step in ("first", "last")]


def _parity(generation: int) -> str:
    return ("even", "odd")[generation % 2]


def _files(parity: str) -> list[dict[str, Any]]:
    return [
        {"path": "app/settings.ini", "content": f"parity = {parity}\n"},
        {"path": "app/token", "content": f"@@secret:token@@ {parity}\n"},
        {"path": "reloader/loaded", "content": f"{parity}\n", "on_change": "reload", "reload_signal": "HUP"},
        {"path": "watcher/seen", "content": f"{parity}\n", "on_change": "watch"},
        {"path": f"watcher/{parity}", "content": "here\n", "on_change": "watch"},
    ]
