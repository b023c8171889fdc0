# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects of a real server: made, found again, brought back one by one, and never dropped."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import docker
import pytest
from support.events import EventRecorder
from support.modules import run_by_ansible, run_module
from support.postgres_server import PostgresServer, start_postgres
from support.proxy import RecordingProxy
from support.site import Site

#: A name that each place has to quote: SQL, psql's own commands, a connection string.
ODD = "My 'odd\" d\\b=x/ü"
#: One that SASLprep changes too: a Roman nine, a no-break space, a soft hyphen.
PASSWORD = "it's \\ a pässword \u2168\u00a0\u00ad!"

DECLARED: dict[str, Any] = {
    "roles": [
        {"name": "shop", "password": "first-word", "settings": {"work_mem": "7MB", "search_path": ["app", "$user"]}},
        {"name": ODD, "password": PASSWORD, "connection_limit": 5, "member_of": ["readers"]},
        {"name": "readers", "login": False},
    ],
    "databases": [
        {
            "name": "shop", "owner": "shop", "encoding": "UTF8", "settings": {"statement_timeout": 60000},
            "schemas": [{"name": "app"}], "extensions": ["earthdistance", "cube", {"name": "hstore", "schema": "app"}],
            "grants": [
                {"role": "readers", "kind": "schema", "schema": "app", "privileges": ["USAGE"]},
                {"role": "readers", "kind": "tables", "schema": "app", "privileges": ["SELECT"]},
                {"role": "readers", "kind": "sequences", "schema": "app", "privileges": ["ALL"]},
            ],
        },
        {"name": ODD, "owner": ODD, "template": "template0"},
        {"name": "open", "public_connect": True},
    ],
}  # fmt: skip


@pytest.fixture
def server(engine: docker.DockerClient, site: Site, postgres_image: str) -> PostgresServer:
    return start_postgres(engine, site, postgres_image)


def planned(result: Any) -> list[str]:
    return [f"{step['action']} {step['object']}" for step in result["plan"]]


def test_all_is_made_and_found_again(server: PostgresServer, proxy: RecordingProxy) -> None:
    result = server.apply(**DECLARED)
    assert result.changed
    assert len(result["plan"]) == len(DECLARED["roles"]) + 1 + 3 + 1 + 1 + 3 + 4 + 2

    roles = "SELECT json_object_agg(rolname, rolcanlogin) FROM pg_roles WHERE rolname !~ '^(pg_|postgres)'"
    assert server.sql_json(roles) == {"shop": True, ODD: True, "readers": False}
    owners = "SELECT json_object_agg(datname, pg_get_userbyid(datdba)) FROM pg_database WHERE NOT datistemplate"
    assert server.sql_json(owners) == {"postgres": "postgres", "shop": "shop", ODD: ODD, "open": "postgres"}
    extensions = "SELECT json_object_agg(extname, extnamespace::regnamespace::text) FROM pg_extension"
    assert server.sql_json(extensions, "shop").items() >= {"hstore": "app", "cube": "public"}.items()
    may = f"SELECT has_database_privilege('{ODD.replace(chr(39), chr(39) * 2)}', datname, 'CONNECT')"
    assert server.sql(f"{may} FROM pg_database WHERE datname = 'shop'") == "t"
    assert server.sql(
        "SELECT has_database_privilege('shop', datname, 'CONNECT') FROM pg_database ORDER BY datname"
    ) == ("f\nt\nt\nt\nt\nt")

    again = run_module("postgres_objects", server.params(**DECLARED), environment={"DOCKER_HOST": proxy.docker_host})
    assert again.rc == 0, again.msg
    assert not again.changed
    assert again["plan"] == []
    assert again["diff"] == {"before": {}, "after": {}}
    # One look in one session: made, started, its end asked for.
    assert [request.path.rpartition("/")[2] for request in proxy.writes()] == ["exec", "start"]


def test_tables_that_the_owner_makes_later_are_granted_by_themselves(server: PostgresServer) -> None:
    server.apply(**DECLARED)
    server.sql("SET ROLE shop; CREATE TABLE app.plants (id serial); INSERT INTO app.plants DEFAULT VALUES", "shop")
    assert not server.apply(**DECLARED).changed
    assert server.sql("SET ROLE readers; SELECT count(*) FROM app.plants", "shop") == "1"


BY_HAND = {
    "DROP OWNED BY readers; REVOKE readers FROM {odd}; DROP ROLE readers": [
        "create role readers",
        f"grant membership of {ODD} in readers",
        "grant privileges of readers on database shop",
        "grant privileges of readers on schema app in shop",
        "grant privileges of readers on tables of schema app in shop",
        "grant privileges of readers on sequences of schema app in shop",
    ],
    "REVOKE readers FROM {odd}": [f"grant membership of {ODD} in readers"],
    "ALTER ROLE shop SUPERUSER": ["change role shop"],
    "ALTER ROLE shop PASSWORD NULL": ["change role shop"],
    "ALTER ROLE shop RESET work_mem": ["change role shop"],
    "ALTER ROLE shop SET search_path = public": ["change role shop"],
    "ALTER ROLE {odd} CONNECTION LIMIT 6": [f"change role {ODD}"],
    "DROP DATABASE open": ["create database open"],
    "DROP DATABASE {odd}": [f"create database {ODD}", f"revoke privileges of everybody on database {ODD}"],
    "ALTER DATABASE shop OWNER TO postgres": ["change database shop"],
    "ALTER DATABASE shop RESET ALL": ["change database shop"],
    "GRANT CONNECT ON DATABASE shop TO PUBLIC": ["revoke privileges of everybody on database shop"],
    "REVOKE CONNECT ON DATABASE shop FROM readers": ["grant privileges of readers on database shop"],
    "DROP EXTENSION cube CASCADE": ["create extension cube in shop", "create extension earthdistance in shop"],
    "DROP EXTENSION earthdistance": ["create extension earthdistance in shop"],
    "REVOKE USAGE ON SCHEMA app FROM readers": ["grant privileges of readers on schema app in shop"],
    "REVOKE SELECT ON app.plants FROM readers": ["grant privileges of readers on tables of schema app in shop"],
    "REVOKE USAGE ON SEQUENCE app.plants_id_seq FROM readers": [
        "grant privileges of readers on sequences of schema app in shop"
    ],
    "ALTER DEFAULT PRIVILEGES FOR ROLE shop IN SCHEMA app REVOKE SELECT ON TABLES FROM readers": [
        "grant privileges of readers on tables of schema app in shop"
    ],
}


def test_what_was_changed_by_hand_comes_back_alone(server: PostgresServer) -> None:
    server.apply(**DECLARED)
    server.sql("SET ROLE shop; CREATE TABLE app.plants (id serial)", "shop")
    quoted = '"' + ODD.replace('"', '""') + '"'
    for statement, expected in BY_HAND.items():
        for one in statement.replace("{odd}", quoted).split("; "):
            server.sql(one, "shop")
        # What one run would leave, the next one's plan would show.
        assert planned(server.apply(**DECLARED)) == expected, statement
    assert not server.run(**DECLARED).changed


def test_what_is_in_no_declaration_is_told_and_kept(server: PostgresServer) -> None:
    server.apply(**DECLARED)
    server.sql("CREATE EXTENSION pg_trgm", "shop")
    server.sql("GRANT CREATE ON DATABASE shop TO readers")
    less = {"roles": DECLARED["roles"][:1], "databases": DECLARED["databases"][:1]}
    result = server.apply(**less)
    assert not result.changed
    assert result["unmanaged"] == {
        "databases": sorted([ODD, "open"]),
        "roles": sorted([ODD, "readers"]),
        "extensions": ["pg_trgm in shop"],
        "memberships": [],
        "privileges": ["CREATE of readers on database shop"],
    }
    assert server.sql("SELECT count(*) FROM pg_database") == "6"


def test_a_rotated_password_is_found_without_a_login_and_works_at_once(server: PostgresServer) -> None:
    def secret(*, rotate: bool = False) -> str:
        params = {"path": server.store, "secrets": [{"name": "shop", "kind": "password"}]}
        made = run_module("secrets", {**params, "rotate": ["shop"] if rotate else []})
        assert made.rc == 0, made.msg
        versions = json.loads(Path(server.store).read_text(encoding="utf-8"))["secrets"]["shop"]
        return str(versions["versions"][str(versions["current"])]["secret"]["value"])

    server.ask_for_passwords()
    declared = {"roles": [{"name": "shop", "password": "@@secret:shop@@"}, {"name": ODD, "password": PASSWORD}]}
    first = secret()
    server.apply(**declared)
    assert server.can_log_in("shop", first)
    assert server.can_log_in(ODD, PASSWORD)

    second = secret(rotate=True)
    result = server.apply(**declared)
    assert result["plan"] == [
        {"object": "role shop", "action": "change", "reasons": ["its password is another one, or none"]}
    ]
    assert server.can_log_in("shop", second)
    assert not server.can_log_in("shop", first)
    assert not server.run(**declared).changed


def test_a_secret_that_is_made_later_is_no_obstacle_to_check_mode(server: PostgresServer) -> None:
    declared = {"roles": [{"name": "shop", "password": "@@secret:shop@@"}]}
    checked = server.run(check=True, **declared)
    assert planned(checked) == ["create role shop"]
    refused = server.run(**declared)
    assert refused.msg.startswith("Cannot use secret 'shop': it is not in the store")


def test_no_password_is_seen_by_anybody(
    server: PostgresServer, engine: docker.DockerClient, capfd: pytest.CaptureFixture[str]
) -> None:
    server.sql("ALTER SYSTEM SET log_statement = 'all'")
    server.sql("ALTER SYSTEM SET log_min_duration_statement = 0")
    server.sql("SELECT pg_reload_conf()")
    given, kept = "a-given-passw0rd-x", "a-kept-passw0rd-y"
    run_module("secrets", {"path": server.store, "secrets": [{"name": "kept", "kind": "token", "value": kept}]})
    declared = {
        "roles": [{"name": "one", "password": given}, {"name": "two", "password": "@@secret:kept@@"}],
        "databases": [{"name": "shop", "owner": "one"}],
    }
    with EventRecorder(engine) as recorder:
        result = run_by_ansible("postgres_objects", server.params(**declared), diff=True, verbosity=4)
        failing = {**declared, "databases": [{"name": "shop", "extensions": ["nothing-like-this"]}]}
        failed = run_by_ansible("postgres_objects", server.params(**failing), diff=True, verbosity=4)
    assert result.changed
    assert failed.failed
    log = server.container.logs().decode()
    assert "CREATE DATABASE" in log, "the server's log has no statements, so the test proves nothing"
    verifiers = server.sql("SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL").splitlines()
    assert len(verifiers) == 2
    server.container.reload()
    places = {
        "what Ansible writes": result.stdout + result.stderr + failed.stdout + failed.stderr,
        "the server's log": log,
        "docker inspect": json.dumps(server.container.attrs),
        "the engine's events": repr(recorder.events),
        "our own output": "".join(capfd.readouterr()),
    }
    for place, text in places.items():
        assert [word for word in (given, kept, *verifiers) if word in text] == [], place


def test_a_run_that_is_killed_in_the_middle_is_finished_by_the_next(server: PostgresServer) -> None:
    first = {"databases": [{"name": "shop"}]}
    server.apply(**first)
    with server.held_up("CREATE SCHEMA app", "shop"):
        running = server.start(**DECLARED)
        # All up to the schema is done, and there it waits.
        server.wait_for("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CREATE SCHEMA%app%AUTH%'")
        running.process.send_signal(signal.SIGKILL)
        assert running.wait().rc == -signal.SIGKILL
        assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'readers'") == "1"
        assert server.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'app'", "shop") == "0"
        left = server.run(check=True, **DECLARED)
        assert planned(left)[0] == "create schema app in shop"
        # What the dead run left at work is ended first, so that the two never work at once.
        orphan = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'modelyard-objects'")
        following = server.start(**DECLARED)
        server.wait_for(
            f"SELECT count(*) > 0 AND NOT bool_or(pid = {orphan}) FROM pg_stat_activity "
            "WHERE application_name = 'modelyard-objects'"
        )
    result = following.wait()
    assert result.rc == 0, result.msg
    assert planned(result) == planned(left)
    assert not server.apply(**DECLARED).changed


def test_a_session_that_is_lost_in_the_middle_is_gone_on_with(server: PostgresServer) -> None:
    server.apply(databases=[{"name": "shop"}])
    expected = planned(server.run(check=True, **DECLARED))
    with server.held_up("CREATE SCHEMA app", "shop"):
        running = server.start(**DECLARED)
        server.wait_for("SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'CREATE SCHEMA%app%AUTH%'")
        server.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'modelyard-objects'"
        )
    result = running.wait()
    assert result.rc == 0, result.msg
    assert planned(result) == expected
    assert not server.apply(**DECLARED).changed


def test_a_server_that_was_started_a_moment_ago_is_waited_for(server: PostgresServer) -> None:
    server.apply(**DECLARED)
    server.container.stop()
    server.container.start()
    result = server.run(**DECLARED)
    assert result.rc == 0, result.msg
    assert not result.changed


def test_a_server_that_asks_for_a_password_on_its_socket_too(
    engine: docker.DockerClient, site: Site, postgres_image: str
) -> None:
    server = start_postgres(engine, site, postgres_image, environment={"POSTGRES_PASSWORD": "of the superuser"})
    server.sql("ALTER ROLE postgres PASSWORD 'of the superuser'")
    server.shell(
        r'sed -Ei "s/^(local .*)trust/\1scram-sha-256/" "$PGDATA/pg_hba.conf"; psql -XAtqc "SELECT pg_reload_conf()"'
    )
    result = server.run(roles=[{"name": "shop"}], databases=[{"name": "shop"}])
    assert result.rc == 0, result.msg
    assert result.changed


def test_what_the_server_refuses_is_told_with_what_was_done_before(server: PostgresServer) -> None:
    roles = [{"name": "shop"}, {"name": "late", "settings": {"work_mem": "much"}}]
    result = server.run(roles=roles)
    assert result.failed
    assert result.changed
    assert planned(result) == ["create role shop"]
    assert result.msg == (
        'Cannot create role late: PostgreSQL says: ERROR:  invalid value for parameter "work_mem": "much" '
        "(exit code 3); 1 of 2 changes are done, mend that and run again."
    )
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'late'") == "0"


def test_what_stands_in_the_way_is_said_before_anything_is_touched(server: PostgresServer) -> None:
    result = server.run(
        roles=[{"name": "shop"}],
        databases=[{"name": "shop", "owner": "nobody", "extensions": ["nothing"]}, {"name": "template1"}],
    )
    assert result.msg.startswith("Cannot declare database 'template1'")
    result = server.run(
        roles=[{"name": "shop"}], databases=[{"name": "shop", "owner": "nobody", "extensions": ["nothing"]}]
    )
    assert result.failed
    assert not result.changed
    assert result.msg.split("\n")[0] == (
        f"Cannot apply the PostgreSQL objects of project '{server.project}', and nothing was touched, for 2 reasons:"
    )
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'shop'") == "0"


def test_a_role_that_is_no_superuser_is_refused(server: PostgresServer) -> None:
    server.sql("CREATE ROLE plain LOGIN")
    result = server.run(user="plain", roles=[{"name": "shop"}])
    assert result.msg == (
        f"Cannot apply the PostgreSQL objects of project '{server.project}': the role that the module works as is no "
        "superuser; name a superuser of the server in 'user'."
    )


def test_a_server_that_does_not_run_is_told_apart_from_none(server: PostgresServer, site: Site) -> None:
    nowhere = server.params(project=site.name("nothing"), roles=[{"name": "shop"}])
    assert run_module("postgres_objects", nowhere).msg == (
        f"Cannot apply the PostgreSQL objects of project '{site.name('nothing')}': service 'db' has no container; "
        "apply the project and run again."
    )
    assert planned(run_module("postgres_objects", nowhere, check=True)) == ["create role shop"]

    server.container.stop()
    said = (
        f"Cannot apply the PostgreSQL objects of project '{server.project}': its container "
        f"'{server.container.name}' is exited; start service 'db' of project '{server.project}' and run again."
    )
    assert server.run(roles=[{"name": "shop"}]).msg == said
    checked = server.run(check=True, roles=[{"name": "shop"}])
    assert not checked.changed
    assert said in json.dumps(checked["warnings"])


def test_the_password_of_the_superuser_itself_is_rotated(server: PostgresServer) -> None:
    server.ask_for_passwords()
    own = {"name": "postgres", "superuser": True, "createdb": True, "createrole": True, "replication": True}
    rotated = {**own, "bypassrls": True, "password": "of the superuser"}
    assert server.apply(roles=[rotated]).changed
    assert server.can_log_in("postgres", "of the superuser")
    assert not server.apply(roles=[rotated]).changed


def test_settings_of_a_database_do_not_change_what_is_seen_and_done(server: PostgresServer) -> None:
    server.apply(**DECLARED)
    server.sql("CREATE SCHEMA evil AUTHORIZATION shop", "shop")
    server.sql("CREATE FUNCTION evil.pg_get_userbyid(oid) RETURNS name RETURN 'mallory'::name", "shop")
    for setting in ("search_path = evil, pg_catalog", "role = 'shop'", "default_transaction_read_only = on"):
        server.sql(f"ALTER DATABASE shop SET {setting}")
    assert server.sql("SELECT session_user, current_user, pg_get_userbyid(10)", "shop") == "postgres|shop|mallory"
    assert not server.apply(**DECLARED).changed
    # No role but a superuser can install this one.
    declared = {"databases": [{**DECLARED["databases"][0], "extensions": ["file_fdw"]}]}
    assert planned(server.apply(**declared)) == ["create extension file_fdw in shop"]


def test_an_extension_sees_the_path_of_the_database_and_not_ours(server: PostgresServer) -> None:
    """As PostGIS's topology does, which writes that path, and itself behind it, into the database's settings."""
    script = """DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = %s, added', current_database(),
        (SELECT reset_val FROM pg_settings WHERE name = 'search_path')); END $$;"""
    folder = server.shell("pg_config --sharedir 2>/dev/null || echo /usr/share/postgresql/17").strip() + "/extension"
    for name, text in {
        "pathed.control": "default_version = '1'\nrelocatable = true\n",
        "pathed--1.sql": script,
    }.items():
        command = ["bash", "-c", f'printf %s "$TEXT" >{folder}/{name}']
        code, output = server.container.exec_run(command, user="root", environment={"TEXT": text})
        assert code == 0, output
    server.apply(databases=[{"name": "shop", "extensions": ["pathed"]}])
    kept = "SELECT array_to_json(setconfig) FROM pg_db_role_setting WHERE setrole = 0"
    assert server.sql_json(kept) == ['search_path="$user", public, added']
