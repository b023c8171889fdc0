# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PostgreSQL with PostGIS, the objects that were asked for, and data that stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server


def sql(server: Server, statement: str, database: str = "maps") -> str:
    """Return what the superuser is answered on the server's own socket."""
    return server.inside("postgres/db", f'psql -XAtq -v ON_ERROR_STOP=1 -d {database} -c "{statement}"')


def test_postgis_measures(server: Server) -> None:
    assert sql(server, "SELECT ST_Area('POLYGON((0 0,0 2,3 2,3 0,0 0))'::geometry)") == "6"


def test_the_database_belongs_to_the_role_that_was_asked_for(server: Server) -> None:
    query = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'maps'"
    assert sql(server, query) == "ada"
    assert sql(server, "SET ROLE ada; CREATE TABLE hers (n int); SELECT 'made'; DROP TABLE hers") == "made"


def test_a_changed_option_reaches_the_server(server: Server) -> None:
    assert sql(server, "SHOW work_mem") == "7MB"


def test_nobody_reaches_the_server_from_outside_without_a_route(server: Server) -> None:
    assert server.run("timeout 3 bash -c '</dev/tcp/127.0.0.1/5432'").rc != 0


def test_without_the_password_nobody_is_let_in_by_the_network(server: Server) -> None:
    own = "modelyard-postgres-db-1"
    asked = server.run(f"docker exec -e PGPASSWORD=wrong {own} psql -h {own} -U postgres -c 'SELECT 1'")
    assert asked.rc != 0
    assert "password authentication failed" in asked.stderr


def test_a_container_that_ends_is_started_again(server: Server) -> None:
    server.must("kill -9 $(docker inspect --format '{{.State.Pid}}' modelyard-postgres-db-1)")
    server.soon("docker exec modelyard-postgres-db-1 pg_isready --quiet")
    assert sql(server, "SELECT 1") == "1"


def test_after_a_restart_of_the_host_data_is_there(server: Server, restarted: Callable[[], dict[str, str]]) -> None:
    sql(server, "CREATE TABLE kept AS SELECT 41 + 1 AS n")
    before = restarted()
    assert server.containers() == before
    assert sql(server, "SELECT n FROM kept") == "42"
    sql(server, "DROP TABLE kept")
