# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way back over a migration: dump a PostgreSQL database before, bring the dump back after a failure.

The programs are those inside the database's own container, so dump and server are of one version, and no password
leaves it. A dump holds owners, grants and settings of the database; roles belong to the whole server and are neither
dumped nor removed. Needs PostgreSQL 13 or newer (``DROP DATABASE ... WITH (FORCE)``).
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import time
from collections.abc import Mapping
from typing import IO
from urllib.parse import quote

from .._errors import PlatformError
from .._files import TEMPORARY_SUFFIX, sync_directory
from .engine import Engine
from .postgres_server import (
    READY_POLL_SECONDS,
    conninfo,
    find_server,
    refuse_failure,
    run_beside_server,
    wait_ready,
)
from .project import Migration

#: A custom-format archive begins so. Source: PostgreSQL's pg_backup_archiver.c.
_MAGIC = b"PGDMP"
# Follows the dump in the stream, not in the file: the engine gives up on a reader that is slow for two seconds at a
# program's end, and says that the program ended well all the same.
_END = b"modelyard: this dump is whole"
_WITH_END = f'"$@" && printf %s "{_END.decode()}"'

# Answers in any case: no answer at all is none, and a database that was missed would be migrated without a dump.
_SIZE_SQL = (
    "SELECT coalesce((SELECT pg_database_size(datname)::text FROM pg_database WHERE datname = :'database'), 'none');\n"
)

# A restore that was killed here may still work in the container: it ends first. Then nobody may connect any more, for
# with FORCE alone a quick client could come back before the removal. A limit of -2 marks a database whose removal was
# broken off: it takes nothing but another removal (PostgreSQL's manual, "DROP DATABASE").
_DROP_SQL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :'application';\n"
    "SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS false', datname) FROM pg_database"
    " WHERE datname = :'database' AND datconnlimit <> -2 \\gexec\n"
    'DROP DATABASE IF EXISTS :"database" WITH (FORCE);\n'
)
_DROP_TRIES = 3


def migration_to_record(migration: Migration, path: str) -> dict[str, str]:
    """Return what must be known to bring the dump at ``path`` back."""
    return {
        "project": migration.project,
        "service": migration.service,
        "database": migration.database,
        "user": migration.user,
        "path": path,
    }


def migration_from_record(record: Mapping[str, str]) -> tuple[Migration, str]:
    """The inverse of :func:`migration_to_record`."""
    migration = Migration(
        database=record["database"], service=record["service"], project=record["project"], user=record["user"]
    )
    return migration, record["path"]


def dump_path(migration: Migration, folder: str) -> str:
    """Return where in ``folder`` the dump lies; databases of all projects and services differ."""
    parts = (migration.project, migration.service, migration.database)
    return os.path.join(folder, ".".join(quote(part, safe="") for part in parts) + ".dump")


def dump_database(engine: Engine, migration: Migration, folder: str) -> str | None:
    """Dump the database into a file of root's in ``folder`` and return its path.

    None where the database, or the container that would hold it, was not made yet. A finished dump that is there
    already is kept: when a second try comes, the database may be half migrated.

    :raises PlatformError: it cannot be dumped whole; no file is left.
    """
    path = dump_path(migration, folder)
    if os.path.exists(path):
        return path
    doing = f"Cannot dump database {migration.database!r}"
    container_id = _find_container(engine, migration, doing)
    if container_id is None:
        return None
    _wait_ready(engine, container_id, migration, doing)
    size = _database_size(engine, container_id, migration, doing)
    if size is None:
        return None
    free = shutil.disk_usage(folder).free
    if free < size:
        raise PlatformError(
            f"{doing}: it has {_mebibytes(size)} MiB and {folder} has {_mebibytes(free)} MiB free; make room there."
        )
    _write_dump(engine, container_id, migration, path)
    return path


def restore_database(engine: Engine, migration: Migration, path: str) -> None:
    """Bring the database back to what it was when the dump at ``path`` was made; every connection to it ends.

    Safe to repeat when it was killed in between: it begins with the removal of the database.

    :raises PlatformError: the dump is gone, the service does not run, or PostgreSQL refuses; the dump stays.
    """
    doing = f"Cannot restore database {migration.database!r} from {path}"
    try:
        with open(path, "rb") as dump:
            _restore(engine, migration, dump, doing)
    except OSError as error:
        raise PlatformError(f"{doing}: {error.strerror}; look for a copy of the dump.") from error


def _restore(engine: Engine, migration: Migration, dump: IO[bytes], doing: str) -> None:
    if dump.read(len(_MAGIC)) != _MAGIC:
        raise PlatformError(f"{doing}: the file is no dump of PostgreSQL; look for a copy of the dump.")
    dump.seek(0)
    container_id = _find_container(engine, migration, doing)
    if container_id is None:
        raise PlatformError(
            f"{doing}: service {migration.service!r} of project {migration.project!r} has no container; start it "
            "and run again."
        )
    _wait_ready(engine, container_id, migration, doing)
    _drop(engine, container_id, migration, doing)
    argv = ["env", f"PGAPPNAME={_application(migration)}", "pg_restore", "--create", "--exit-on-error"]
    refuse_failure(run_beside_server(engine, container_id, [*argv, *_login(migration)], stdin=dump), doing)


def _drop(engine: Engine, container_id: str, migration: Migration, doing: str) -> None:
    for left in reversed(range(_DROP_TRIES)):
        try:
            _psql(engine, container_id, migration, _DROP_SQL, doing)
            return
        except PlatformError:
            # What a killed restore began may end between our look and our command.
            if not left:
                raise
            time.sleep(READY_POLL_SECONDS)


def _application(migration: Migration) -> str:
    """Return the name by which the server knows our restore of this database; it keeps 63 bytes of it."""
    return f"modelyard-restore-{hashlib.sha256(migration.database.encode()).hexdigest()[:16]}"


def _find_container(engine: Engine, migration: Migration, doing: str) -> str | None:
    return find_server(engine, project=migration.project, service=migration.service, doing=doing)


def _wait_ready(engine: Engine, container_id: str, migration: Migration, doing: str) -> None:
    wait_ready(engine, container_id, project=migration.project, service=migration.service, doing=doing)


def _database_size(engine: Engine, container_id: str, migration: Migration, doing: str) -> int | None:
    """Return the bytes of the database on the server's disk, which its compressed dump stays below."""
    text = _psql(engine, container_id, migration, _SIZE_SQL, doing).strip()
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise PlatformError(f"{doing}: PostgreSQL told no size but {text!r}; run again.") from None


def _write_dump(engine: Engine, container_id: str, migration: Migration, path: str) -> None:
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}{TEMPORARY_SUFFIX}")
    doing = f"Cannot dump database {migration.database!r}"
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as stream:
            _stream_dump(engine, container_id, migration, stream)
            os.fsync(descriptor)
        os.rename(temporary, path)
        sync_directory(folder)
    except OSError as error:
        raise PlatformError(f"{doing} to {path}: {error.strerror}; make room there, or correct its rights.") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _stream_dump(engine: Engine, container_id: str, migration: Migration, stream: IO[bytes]) -> None:
    doing = f"Cannot dump database {migration.database!r}"
    argv = ["sh", "-c", _WITH_END, "sh", "pg_dump", "--format=custom", "--create", "--username", migration.user]
    argv += ["--no-password", "--dbname", conninfo(migration.database)]
    refuse_failure(run_beside_server(engine, container_id, argv, stdout=stream), doing)
    size = stream.tell() - len(_END)
    stream.seek(max(size, 0))
    if stream.read() != _END:
        raise PlatformError(f"{doing}: its end did not come, though pg_dump ended well; run again.")
    stream.truncate(size)
    stream.seek(0)
    if stream.read(len(_MAGIC)) != _MAGIC:
        raise PlatformError(f"{doing}: pg_dump wrote no dump though it ended well; run again.")


def _psql(engine: Engine, container_id: str, migration: Migration, sql: str, doing: str) -> str:
    """Run ``sql``, in which ``:'database'`` is the quoted name; return what it prints."""
    argv = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
    argv += [f"--set=database={migration.database}", f"--set=application={_application(migration)}"]
    output = io.BytesIO()
    done = run_beside_server(
        engine, container_id, [*argv, *_login(migration)], stdin=io.BytesIO(sql.encode()), stdout=output
    )
    refuse_failure(done, doing)
    return output.getvalue().decode(errors="replace")


def _server(migration: Migration) -> list[str]:
    """Return the options that lead to another database than the one that is worked on."""
    other = "template1" if migration.database == "postgres" else "postgres"
    return ["--username", migration.user, "--dbname", other]


def _login(migration: Migration) -> list[str]:
    """Return the same for programs that would ask for a password; pg_isready never does and has no such option."""
    return ["--no-password", *_server(migration)]


def _mebibytes(size: int) -> int:
    return size // 2**20
