# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL that looks like service ``db`` of a project; what tests ask it goes through ``docker exec``."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from .modules import ModuleResult, RunningModule, run_module, start_module
from .site import Site

_HEALTHY_SECONDS = 60.0


@dataclass(frozen=True)
class PostgresServer:
    """The server, and the module's runs against it."""

    container: Container
    site: Site
    project: str
    store: str = field(default="")

    def params(self, **declared: Any) -> dict[str, Any]:
        own = {"project": self.project, "directory": str(self.site.directory), "secret_store": self.store}
        return {**own, **declared}

    def run(self, *, check: bool = False, diff: bool = False, **declared: Any) -> ModuleResult:
        """Run the module directly."""
        return run_module("postgres_objects", self.params(**declared), check=check, diff=diff)

    def start(self, **declared: Any) -> RunningModule:
        """Start the module and return while it works."""
        return start_module("postgres_objects", self.params(**declared))

    def apply(self, **declared: Any) -> ModuleResult:
        """Run the module as check mode first, which has to say the same; a failure fails the test."""
        checked = self.run(check=True, diff=True, **declared)
        assert checked.rc == 0, checked.msg or checked.stderr
        result = self.run(diff=True, **declared)
        assert result.rc == 0, result.msg or result.stderr
        for key in ("changed", "plan", "diff"):
            assert result[key] == checked[key], f"check mode and the run disagree on {key}"
        return result

    def sql(self, text: str, database: str = "postgres") -> str:
        """Return what the superuser's query gives, unaligned; an error fails the test."""
        return self._exec("psql", "-XAtq", "--set=ON_ERROR_STOP=1", "-d", database, "-c", text).strip()

    def sql_json(self, text: str, database: str = "postgres") -> Any:
        """Return what a query gives as one JSON value."""
        return json.loads(self.sql(text, database))

    def can_log_in(self, role: str, password: str, database: str = "postgres") -> bool:
        """Return whether the server lets a role in with a password, over TCP."""
        command = ["psql", "-XAtqw", "-h", "127.0.0.1", "-U", role, "-d", database, "-c", "SELECT 1"]
        code, _output = self.container.exec_run(command, environment={"PGPASSWORD": password})
        return bool(code == 0)

    def ask_for_passwords(self) -> None:
        """Let nobody in over TCP without the password; the socket stays open to all."""
        self.shell(
            r'sed -Ei "s/^(host .*)trust/\1scram-sha-256/" "$PGDATA/pg_hba.conf"'
            " && psql -XAtqc 'SELECT pg_reload_conf()'"
        )

    def shell(self, command: str) -> str:
        """Return what a script in the container prints; an error fails the test."""
        return self._exec("bash", "-ec", command)

    def _exec(self, *command: str) -> str:
        code, output = self.container.exec_run(list(command))
        assert isinstance(output, bytes), "exec_run without stream gives all at once"
        assert code == 0, output.decode()
        return output.decode()

    @contextlib.contextmanager
    def held_up(self, statement: str, database: str) -> Iterator[None]:
        """Keep a transaction open that has done ``statement``, so that whoever does the same has to wait."""
        sleep = "SELECT pg_sleep(600) AS held_up"
        self.container.exec_run(
            ["psql", "-XAtq", "-d", database, "-c", "BEGIN", "-c", statement, "-c", sleep], detach=True
        )
        self.wait_for(
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%AS held_up' AND wait_event = 'PgSleep'"
        )
        yield
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")

    def wait_for(self, question: str, *, seconds: float = 30.0) -> None:
        """Return when a query answers with true."""
        deadline = time.monotonic() + seconds
        while self.sql(question) != "t":
            assert time.monotonic() < deadline, f"never true: {question}"


def start_postgres(
    engine: docker.DockerClient, site: Site, image: str, *, environment: Mapping[str, str] | None = None
) -> PostgresServer:
    """Start a server and return when it is healthy; the site removes it."""
    project = site.name("data")
    labels = {"com.docker.compose.project": project, "com.docker.compose.service": "db"}
    container = engine.containers.run(
        image, name=f"{project}-db-1", detach=True, init=True, environment=dict(environment or {}),
        labels={**labels, "com.docker.compose.oneoff": "False"},
    )  # fmt: skip
    wait_healthy(container)
    return PostgresServer(container, site, project, str(Path(site.directory).parent / "secrets" / "secrets.json"))


def wait_healthy(container: Container) -> None:
    deadline = time.monotonic() + _HEALTHY_SECONDS
    while time.monotonic() < deadline:
        container.reload()
        if container.attrs["State"].get("Health", {}).get("Status") == "healthy":
            return
        time.sleep(0.1)
    raise AssertionError(f"{container.name} did not become healthy: {container.logs(tail=20)!r}")
