# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL's programs inside the container of a server that is a service of a project.

They are of the server's own version, reach it over its socket, and no password leaves the container.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import IO

from .._errors import PlatformError
from .desired import PROJECT_LABEL, SERVICE_LABEL
from .engine import Engine
from .exec_stream import Ended, run_in_container

READY_SECONDS = 30.0
READY_POLL_SECONDS = 0.5

# A server may ask for a password on its socket too; the official image's variables name it. It stays in there.
_WITH_PASSWORD = (
    'given="${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:-/dev/null}")}"; '
    'export PGPASSWORD="${PGPASSWORD:-$given}"; exec "$@"'
)


def find_server(engine: Engine, *, project: str, service: str, doing: str) -> str | None:
    """Return the id of the running container of the service; None where there was never one.

    :raises PlatformError: it is there and does not run.
    """
    labels = [f"{PROJECT_LABEL}={project}", f"{SERVICE_LABEL}={service}", "com.docker.compose.oneoff=False"]
    listed = engine.get("/containers/json", {"all": "1", "filters": {"label": labels}})
    states = {entry["State"]: entry for entry in listed}
    if "running" in states:
        found: str = states["running"]["Id"]
        return found
    if states.keys() <= {"created"}:
        return None
    state, entry = next(iter(states.items()))
    raise PlatformError(
        f"{doing}: its container {entry['Names'][0].removeprefix('/')!r} is {state}; start service "
        f"{service!r} of project {project!r} and run again."
    )


def wait_ready(
    engine: Engine,
    container_id: str,
    *,
    project: str,
    service: str,
    doing: str,
    login: Sequence[str] = (),
    wait_seconds: float = READY_SECONDS,
) -> None:
    """Return when the server takes connections; it may have been started a moment ago.

    :raises PlatformError: it does not within the time.
    """
    deadline = time.monotonic() + wait_seconds
    while (done := run_beside_server(engine, container_id, ["pg_isready", "--quiet", *login])).returncode:
        # 1 and 2: not yet, or no answer. Beyond: the program itself has a problem.
        if done.returncode > 2:
            refuse_failure(done, doing)
        if time.monotonic() >= deadline:
            raise PlatformError(
                f"{doing}: its server takes no connection after {wait_seconds:g} s; see the log of service "
                f"{service!r} of project {project!r}."
            )
        time.sleep(READY_POLL_SECONDS)


def run_beside_server(
    engine: Engine,
    container_id: str,
    argv: Sequence[str],
    *,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> Ended:
    """Run one of PostgreSQL's programs with the password that the container itself knows, if it knows one."""
    return run_in_container(engine, container_id, ["sh", "-c", _WITH_PASSWORD, "sh", *argv], stdin=stdin, stdout=stdout)


def conninfo(database: str) -> str:
    """Return a connection string: as a plain name, one with ``=`` in it would be read as a string of settings."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def refuse_failure(done: Ended, doing: str) -> None:
    """Raise what a program said when it failed.

    :raises PlatformError: it failed.
    """
    if done.returncode:
        said = done.stderr or "nothing"
        raise PlatformError(f"{doing}: PostgreSQL says: {said} (exit code {done.returncode}); mend that and run again.")
