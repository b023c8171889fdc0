# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A database that a migration changed is afterwards as it was before, whatever went wrong.

Compared is all that PostgreSQL itself writes about it: definitions, owners, grants, settings and every row.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker
import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose import migration
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.exec_stream import Ended
from ansible_collections.modelyard.platform.plugins.module_utils._compose.migration import (
    dump_database,
    migration_from_record,
    migration_to_record,
    restore_database,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.postgres_server import run_beside_server
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Migration
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from docker.models.containers import Container
from support.modules import HOST_PYTHON, host_environment
from support.site import Site

#: A name that each place has to quote: the shell, SQL, a connection string, a file's name.
DATABASE = "my 'odd\" d\\b=x/y"

SCHEMA = """
CREATE ROLE keeper; CREATE ROLE reader;
CREATE TABLE plants (id int PRIMARY KEY, name text);
INSERT INTO plants SELECT number, md5(number::text) FROM generate_series(1, {rows}) AS number;
CREATE VIEW few AS SELECT * FROM plants WHERE id < 10;
ALTER TABLE plants OWNER TO keeper;
GRANT SELECT ON plants TO reader;
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
COMMENT ON TABLE plants IS 'kept';
"""
OF_THE_DATABASE = """
ALTER DATABASE {name} OWNER TO keeper;
ALTER DATABASE {name} SET work_mem = '7MB';
GRANT CONNECT ON DATABASE {name} TO reader;
"""
MIGRATE = "ALTER TABLE plants ADD colour text; UPDATE plants SET name = 'gone'; DROP FUNCTION twice; DROP VIEW few;"


class Server:
    """A PostgreSQL that looks like service ``db`` of a project; what is asked goes through ``docker exec``."""

    def __init__(self, container: Container, project: str) -> None:
        self.container = container
        self.migration = Migration(database=DATABASE, service="db", project=project, user="postgres")

    def sql(self, text: str, database: str) -> str:
        return self._run("psql", "-XAtq", "--set=ON_ERROR_STOP=1", "-c", text, "-d", conninfo(database))

    def all_of_it(self, database: str = DATABASE) -> str:
        """Return the database as SQL; a key that is drawn anew for each dump is left out."""
        lines = self._run("pg_dump", "--create", "-d", conninfo(database)).splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def make(self, rows: int = 1000) -> str:
        quoted = '"' + DATABASE.replace('"', '""') + '"'
        self.sql(f"CREATE DATABASE {quoted}", "postgres")
        self.sql(SCHEMA.format(rows=rows) + OF_THE_DATABASE.format(name=quoted), DATABASE)
        return self.all_of_it()

    def _run(self, *command: str) -> str:
        code, output = self.container.exec_run(list(command))
        assert code == 0, output.decode()
        return str(output.decode())


def conninfo(database: str) -> str:
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


@pytest.fixture
def server(engine: docker.DockerClient, site: Site, postgres_image: str) -> Iterator[Server]:
    project = site.name("data")
    labels = {"com.docker.compose.project": project, "com.docker.compose.service": "db"}
    container = engine.containers.run(
        postgres_image, name=f"{project}-db-1", detach=True, init=True,
        labels={**labels, "com.docker.compose.oneoff": "False"},
    )  # fmt: skip
    wait_healthy(container)
    yield Server(container, project)
    container.remove(force=True, v=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "dumps"
    made.mkdir(mode=0o700)
    return made


def wait_healthy(container: Container) -> None:
    for _number in range(300):
        container.reload()
        if container.attrs["State"].get("Health", {}).get("Status") == "healthy":
            return
        time.sleep(0.1)
    raise AssertionError(f"{container.name} did not become healthy: {container.logs(tail=20)!r}")


def test_a_database_comes_back_as_it_was(server: Server, folder: Path) -> None:
    before = server.make()
    path = dump_database(Engine(), server.migration, str(folder))
    assert path is not None
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.listdir(folder) == [os.path.basename(path)]
    server.sql(MIGRATE, DATABASE)
    assert server.all_of_it() != before

    migration, kept = migration_from_record(migration_to_record(server.migration, path))
    restore_database(Engine(), migration, kept)

    assert server.all_of_it() == before


def test_a_restore_ends_connections_that_are_open(server: Server, folder: Path) -> None:
    before = server.make(10)
    path = dump_database(Engine(), server.migration, str(folder))
    assert path is not None
    server.container.exec_run(["psql", "-d", conninfo(DATABASE), "-c", "SELECT pg_sleep(600)"], detach=True)
    deadline = time.monotonic() + 10
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    while server.sql(busy, "postgres").strip() != "1":
        assert time.monotonic() < deadline
    restore_database(Engine(), server.migration, path)
    assert server.all_of_it() == before
    assert server.sql(busy, "postgres").strip() == "0"


def test_the_maintenance_database_itself_comes_back(server: Server, folder: Path) -> None:
    migration = Migration(database="postgres", service="db", project=server.migration.project, user="postgres")
    server.sql("CREATE TABLE kept (id int)", "postgres")
    path = dump_database(Engine(), migration, str(folder))
    assert path is not None
    server.sql("DROP TABLE kept", "postgres")
    restore_database(Engine(), migration, path)
    assert server.sql("SELECT count(*) FROM kept", "postgres").strip() == "0"


def test_a_finished_dump_is_kept(server: Server, folder: Path) -> None:
    """A second try of the same release may find a database that is half migrated."""
    before = server.make(10)
    path = dump_database(Engine(), server.migration, str(folder))
    assert path is not None
    server.sql(MIGRATE, DATABASE)
    assert dump_database(Engine(), server.migration, str(folder)) == path
    restore_database(Engine(), server.migration, path)
    assert server.all_of_it() == before


def test_what_is_not_there_yet_needs_no_dump(server: Server, folder: Path) -> None:
    assert dump_database(Engine(), server.migration, str(folder)) is None
    nowhere = Migration(database="x", service="nobody", project=server.migration.project, user="postgres")
    assert dump_database(Engine(), nowhere, str(folder)) is None
    assert os.listdir(folder) == []


def test_no_answer_is_not_taken_for_a_database_that_is_not_there(server: Server, folder: Path) -> None:
    server.make(10)
    code, output = server.container.exec_run(["sh", "-c", 'ln -sf /bin/true "$(command -v psql)"'], user="root")
    assert code == 0, output.decode()
    with pytest.raises(PlatformError, match="PostgreSQL told no size but ''"):
        dump_database(Engine(), server.migration, str(folder))


def test_a_stopped_server_is_named(server: Server, folder: Path) -> None:
    server.make(10)
    server.container.stop(timeout=5)
    with pytest.raises(PlatformError) as failure:
        dump_database(Engine(), server.migration, str(folder))
    assert str(failure.value) == (
        f"Cannot dump database {DATABASE!r}: its container '{server.container.name}' is exited; start service 'db' of "
        f"project '{server.migration.project}' and run again."
    )


def test_a_folder_without_room_is_named_and_left_empty(server: Server, folder: Path) -> None:
    server.make(10)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    try:
        with pytest.raises(PlatformError, match=r": it has \d+ MiB and .*/dumps has 1 MiB free; make room there\.$"):
            dump_database(Engine(), server.migration, str(folder))
        assert os.listdir(folder) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_dump_that_cannot_be_finished_leaves_nothing(server: Server, folder: Path) -> None:
    """The role may not read one table: pg_dump begins, then fails."""
    server.make(10)
    server.sql("CREATE ROLE guest LOGIN; GRANT USAGE ON SCHEMA public TO guest", DATABASE)
    guest = Migration(database=DATABASE, service="db", project=server.migration.project, user="guest")
    with pytest.raises(PlatformError, match=r"(?s)^Cannot dump database .*permission denied.*\(exit code 1\)"):
        dump_database(Engine(), guest, str(folder))
    assert os.listdir(folder) == []


def test_a_dump_of_which_the_end_is_missing_is_none(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """As where the disk stood still while the program ended: the engine cuts what was not read, and says nothing."""
    server.make(10)

    def cut(*args: Any, stdout: IO[bytes] | None = None, **more: Any) -> Ended:
        whole = io.BytesIO()
        done = run_beside_server(*args, stdout=whole, **more)
        if stdout is not None:
            content = whole.getvalue()
            stdout.write(content[:-400] if content.startswith(b"PGDMP") else content)
        return done

    monkeypatch.setattr(migration, "run_beside_server", cut)
    with pytest.raises(PlatformError, match="its end did not come, though pg_dump ended well; run again"):
        dump_database(Engine(), server.migration, str(folder))
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        pytest.param(None, "No such file or directory; look for a copy of the dump.", id="gone"),
        pytest.param(b"", "the file is no dump of PostgreSQL; look for a copy of the dump.", id="empty"),
        pytest.param(b"SELECT 1;", "the file is no dump of PostgreSQL; look for a copy of the dump.", id="foreign"),
    ],
)
def test_a_dump_that_is_none_drops_nothing(server: Server, folder: Path, content: bytes | None, cause: str) -> None:
    before = server.make(10)
    path = folder / "x.dump"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PlatformError) as failure:
        restore_database(Engine(), server.migration, str(path))
    assert str(failure.value) == f"Cannot restore database {DATABASE!r} from {path}: {cause}"
    assert server.all_of_it() == before


RESTORE = """
import sys
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.migration import restore_database
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import Migration
restore_database(Engine(), Migration(*sys.argv[1:5]), sys.argv[5])
"""


@pytest.mark.parametrize("kill_after", [0.2, 0.35, 0.5, 0.8])
def test_a_restore_that_was_killed_is_repeated(server: Server, folder: Path, kill_after: float) -> None:
    before = server.make(100_000)
    path = dump_database(Engine(), server.migration, str(folder))
    assert path is not None
    server.sql(MIGRATE, DATABASE)
    arguments = (DATABASE, "db", server.migration.project, "postgres", path)
    running = subprocess.Popen([HOST_PYTHON, "-c", RESTORE, *arguments], env=host_environment())
    time.sleep(kill_after)
    running.send_signal(signal.SIGKILL)
    running.wait()
    restore_database(Engine(), server.migration, path)
    assert server.all_of_it() == before
