# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scripts for psql in the container of a server, which may have been started a moment ago."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass

from .._compose.engine import Engine
from .._compose.exec_stream import Ended
from .._compose.postgres_server import find_server, refuse_failure, run_beside_server, wait_ready

_DATABASE = "postgres"
#: psql's exit code when it gets no connection, or loses it. Source: its manual, "Exit Status".
_NO_CONNECTION = 2
# A database or a role could give a session settings that change what a statement means, or whether it ends: these win.
_OPTIONS = {
    "client_min_messages": "warning",
    "default_transaction_read_only": "off",
    "lock_timeout": "60s",
    "standard_conforming_strings": "on",
    "statement_timeout": "0",
}


@dataclass(frozen=True)
class Server:
    """One server, reached through the engine. ``doing`` is *Cannot ...*, for errors."""

    engine: Engine
    project: str
    service: str
    user: str
    doing: str

    def find(self) -> str | None:
        """Return the id of its container; None where it was never started.

        :raises PlatformError: it is there and does not run.
        """
        return find_server(self.engine, project=self.project, service=self.service, doing=self.doing)

    def ask(self, container_id: str, script: str, *, application: str, deadline: float) -> str:
        """Return what a script prints; it is run again where the server was not ready for it, so it may change nothing.

        :raises PlatformError: PostgreSQL refuses something, or was not ready in time.
        """
        while True:
            done, output = self.run(container_id, script, application=application)
            if not lost_connection(done) or time.monotonic() >= deadline:
                refuse_failure(done, self.doing)
                return output
            self.wait_ready(container_id, deadline)
            if "FATAL" in done.stderr and not _is_passing(done.stderr):
                refuse_failure(done, self.doing)

    def run(self, container_id: str, script: str, *, application: str) -> tuple[Ended, str]:
        """Run a script; return how psql ended and what it printed."""
        options = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
        environment = [f"PGOPTIONS={options}", "PGCLIENTENCODING=UTF8", f"PGAPPNAME={application}"]
        argv = ["env", *environment, "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        argv += ["--set=ON_ERROR_STOP=1", "--no-password", "--username", self.user, "--dbname", _DATABASE]
        output = io.BytesIO()
        done = run_beside_server(self.engine, container_id, argv, stdin=io.BytesIO(script.encode()), stdout=output)
        return done, output.getvalue().decode(errors="replace")

    def wait_ready(self, container_id: str, deadline: float) -> None:
        """Return when the server takes connections."""
        wait_ready(
            self.engine,
            container_id,
            project=self.project,
            service=self.service,
            doing=self.doing,
            login=["--username", self.user, "--dbname", _DATABASE],
            wait_seconds=max(0.0, deadline - time.monotonic()),
        )


def lost_connection(done: Ended) -> bool:
    """Tell whether psql ended because the server went away, or was not there."""
    # A script that changes to another database ends like any failing script when the server refuses that.
    return done.returncode == _NO_CONNECTION or (done.returncode != 0 and "the database system is" in done.stderr)


def _is_passing(said: str) -> bool:
    """Tell whether a refused connection is one of a server that starts or stops."""
    return "the database system is" in said or "terminating connection" in said
