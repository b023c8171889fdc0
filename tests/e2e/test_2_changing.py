# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A running site is changed: by its data, by hand, and by hand of somebody who ends what changes it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.clients import count_runs, database, database_lets_in, s3
from support.modules import kill_tree
from support.waiting import wait_until
from support.whole_site import BUNDLE, Play, WholeSite

OBJECTS = "postgres: Make databases and roles on the running server"
STORE = "object_store: Make buckets and access keys"
SECRETS = "site: Make the secrets of all roles"
PASSWORD = "mlflow_database_password"

ADDED: dict[str, Any] = {
    "postgres_roles": [
        {"name": "maps", "password": "@@secret:maps_password@@"},
        {"name": "drafts", "login": False},
    ],
    "postgres_databases": [
        {"name": "maps", "owner": "maps", "extensions": ["postgis"]},
        {"name": "drafts", "owner": "drafts"},
    ],
    "object_store_buckets": [{"name": "tiles"}, {"name": "drafts"}],
    "object_store_users": [
        {
            "name": "maps",
            "access_key_id": "@@secret:maps_key_id@@",
            "secret_access_key": "@@secret:maps_key@@",
            "buckets": [{"name": "tiles"}],
        },
        {
            "name": "reader",
            "access_key_id": "@@secret:reader_key_id@@",
            "secret_access_key": "@@secret:reader_key@@",
            "buckets": [{"name": "tiles", "access": "read_only"}],
        },
    ],
    "site_secrets": [
        {"name": "maps_password", "kind": "password", "length": 24},
        {"name": "maps_key_id", "kind": "hex", "length": 40},
        {"name": "maps_key", "kind": "hex", "length": 80},
        {"name": "reader_key_id", "kind": "hex", "length": 40},
        {"name": "reader_key", "kind": "hex", "length": 80},
    ],
}
ROLES, DATABASES, USERS = ADDED["postgres_roles"], ADDED["postgres_databases"], ADDED["object_store_users"]
CHANGED: dict[str, Any] = {
    **ADDED,
    "postgres_roles": [{**ROLES[0], "connection_limit": 5}, ROLES[1]],
    "postgres_databases": [
        {**DATABASES[0], "extensions": ["postgis", "pg_trgm"]},
        {**DATABASES[1], "owner": "maps", "settings": {"timezone": "UTC"}},
    ],
    "object_store_users": [
        {**USERS[0], "buckets": [{"name": "tiles"}, {"name": "drafts"}]},
        {**USERS[1], "buckets": [{"name": "tiles"}]},
    ],
}


def apply_as_planned(site: WholeSite) -> Play:
    """Bring the site up as check mode says that it will be brought up, and no container anew."""
    before = site.starts()
    planned = site.up("--check", "--diff")
    assert site.starts() == before
    done = site.up("--diff")
    assert set(planned.changed) == set(done.changed), "check mode said something else"
    for task in {OBJECTS, STORE} & set(done.changed):
        assert planned.results[task]["plan"] == done.results[task]["plan"]
        # A key id that is made by the same run cannot be shown before.
        assert SECRETS in done.changed or planned.results[task]["diff"] == done.results[task]["diff"]
    assert site.starts() == before, "a container was made anew or started again"
    return done


def steps(done: Play, task: str) -> set[tuple[str, str]]:
    return {(step["object"], step["action"]) for step in done.results[task]["plan"]}


def test_objects_are_added_changed_and_brought_back_on_a_running_site(site: WholeSite) -> None:
    site.write_inventory(**ADDED)
    added = apply_as_planned(site)
    assert set(added.changed) == {OBJECTS, STORE, SECRETS}
    s3(site, site.secret("maps_key_id"), site.secret("maps_key")).put_object(Bucket="tiles", Key="a", Body=b"tile")

    site.write_inventory(**CHANGED)
    changed = apply_as_planned(site)
    assert steps(changed, OBJECTS) == {
        ("role maps", "change"), ("database drafts", "change"), ("extension pg_trgm in maps", "create"),
    }  # fmt: skip
    assert steps(changed, STORE) == {("user maps", "change"), ("user reader", "change")}

    drop_by_hand(site)
    back = apply_as_planned(site)
    assert steps(back, OBJECTS) == {
        ("role drafts", "create"), ("database drafts", "create"), ("settings of database drafts", "change"),
        ("privileges of everybody on database drafts", "revoke"), ("extension pg_trgm in maps", "create"),
    }  # fmt: skip
    assert steps(back, STORE) == {("bucket drafts", "create"), ("user maps", "create"), ("user reader", "change")}
    assert set(back.changed) == {OBJECTS, STORE}
    assert site.up().changed == {}


def drop_by_hand(site: WholeSite) -> None:
    """Drop one of each kind."""
    for text in ("DROP EXTENSION pg_trgm", "DROP DATABASE drafts", "DROP ROLE drafts"):
        run_inside(site, "postgres/db", "psql", "-U", "postgres", "-d", "maps", "-c", text)
    run_inside(site, "object-store/s3", "rmdir", "/data/drafts")
    keys = site.directory / f"projects/{site.prefix}-object-store/keys"
    (keys / site.secret("maps_key_id")).unlink()
    (keys / f"{site.secret('reader_key_id')}.buckets/tiles").unlink()


def run_inside(site: WholeSite, name: str, *command: str) -> None:
    code, output = site.containers()[name].exec_run(list(command))
    assert code == 0, output


def test_what_is_not_declared_any_more_is_told_and_stays(site: WholeSite) -> None:
    ids = {name: site.secret(f"{name}_key_id") for name in ("maps", "reader")}
    site.write_inventory(postgres_roles=CHANGED["postgres_roles"][:1], postgres_databases=DATABASES[:1])
    after = apply_as_planned(site)
    assert after.changed == {}
    told = after.results[OBJECTS]["unmanaged"]
    assert (told["databases"], told["roles"], told["extensions"]) == (["drafts"], ["drafts"], ["pg_trgm in maps"])
    assert set(after.results[STORE]["unmanaged"]) == {
        "bucket drafts", "bucket tiles", f"key {ids['maps']}", f"key {ids['reader']}",
    }  # fmt: skip

    site.write_inventory()
    after = site.up()
    assert after.changed == {}
    told = after.results[OBJECTS]["unmanaged"]
    assert (told["databases"], told["roles"]) == (["drafts", "maps"], ["drafts", "maps"])
    tiles = s3(site, ids["reader"], site.secret("reader_key"))
    assert tiles.get_object(Bucket="tiles", Key="a")["Body"].read() == b"tile"


def test_a_new_route_leaves_the_edge_and_what_goes_on_through_it(site: WholeSite, own_key: tuple[str, str]) -> None:
    before, body = site.starts(), os.urandom(6 * 2**20)
    router = {"rule": f"Host(`new.{site.domain}`)", "service": "api@internal", "middlewares": ["admin"]}
    store = s3(site, *own_key)
    assert status_of_name(site, "new") == 404
    with contextlib.closing(database(site, site.secret(PASSWORD))) as session, slow_upload(site, store) as upload:
        cursor = session.cursor()
        cursor.execute("CREATE TEMP TABLE held AS SELECT pg_backend_pid() AS pid")
        upload.send(body[: len(body) // 2])
        site.write_inventory(traefik_routes_configuration={"http": {"routers": {"new": router}}})
        assert set(site.up().changed) == {"traefik: Apply the project"}
        wait_until(lambda: status_of_name(site, "new") == 401, "the new route is served")
        upload.send(body[len(body) // 2 :])
        assert upload.getresponse().status == 200
        cursor.execute("SELECT pid = pg_backend_pid() FROM held")
        assert cursor.fetchone() == (True,)
    assert store.get_object(Bucket="mlflow", Key="slow")["Body"].read() == body
    store.delete_object(Bucket="mlflow", Key="slow")
    site.write_inventory()
    assert set(site.up().changed) == {"traefik: Apply the project"}
    wait_until(lambda: status_of_name(site, "new") == 404, "the route is gone")
    assert site.starts() == before


def test_without_its_route_nothing_listens_for_postgresql(
    site: WholeSite, logged: Any, client_environment: dict[str, str]
) -> None:
    address = ("127.0.0.1", site.ports["postgres"])
    site.write_inventory(postgres_route_enabled=False)
    assert {"traefik: Apply the project", "postgres: Apply the project"} <= set(site.up().changed)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=10)
    assert count_runs(client_environment) >= 1
    site.write_inventory()
    site.up()
    assert database_lets_in(site, site.secret(PASSWORD))
    assert site.up().changed == {}


def status_of_name(site: WholeSite, name: str) -> int:
    """Return the status of a name below the domain that this machine's hosts file does not know."""
    host = f"{name}.{site.domain}"
    with contextlib.closing(http.client.HTTPSConnection(host, timeout=10)) as connection:
        plain = socket.create_connection(("127.0.0.1", site.ports["https"]), timeout=10)
        connection.sock = ssl.create_default_context(cafile=BUNDLE).wrap_socket(plain, server_hostname=host)
        connection.request("GET", "/dashboard/")
        return connection.getresponse().status


@contextlib.contextmanager
def slow_upload(site: WholeSite, store: Any) -> Iterator[http.client.HTTPSConnection]:
    """Yield a connection that has announced an object of 6 MiB and waits for its body."""
    address = store.generate_presigned_url("put_object", {"Bucket": "mlflow", "Key": "slow"})
    parts = urllib.parse.urlsplit(address)
    context = ssl.create_default_context(cafile=BUNDLE)
    connection = http.client.HTTPSConnection(str(parts.hostname), site.ports["https"], timeout=60, context=context)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("Content-Length", str(6 * 2**20))
    connection.endheaders()
    with contextlib.closing(connection):
        yield connection


def test_a_rotated_password_reaches_the_database_and_its_user(
    site: WholeSite, logged: Any, client_environment: dict[str, str]
) -> None:
    old = site.secret(PASSWORD)
    done = site.up("-e", json.dumps({"site_rotate": [PASSWORD]}))
    assert {OBJECTS, "mlflow: Apply the project"} <= set(done.changed)
    assert site.secret(PASSWORD) != old
    assert not database_lets_in(site, old)
    assert count_runs(client_environment) >= 1
    assert site.up().changed == {}


@dataclass(frozen=True)
class Rotation:
    """A rotation under way: the site, the password that it ends, and the container that it makes anew."""

    site: WholeSite
    old: str
    user: str

    def is_in_store(self) -> bool:
        return self.site.stored(PASSWORD) != self.old

    def is_in_database(self) -> bool:
        return self.is_in_store() and database_lets_in(self.site, self.site.stored(PASSWORD))

    def is_at_user(self) -> bool:
        """Tell whether the old container is gone, or has stopped."""
        project = f"com.docker.compose.project={self.site.prefix}-mlflow"
        running = self.site.engine.api.containers(filters={"label": [project, "com.docker.compose.service=server"]})
        return self.user not in [container["Id"] for container in running]

    def state(self) -> tuple[bool, bool, bool]:
        return self.is_in_store(), self.is_in_database(), self.is_at_user()


#: What is waited for, and how the site stands then: in the store, in the database, at its user.
MOMENTS: dict[str, tuple[Callable[[Rotation], bool], tuple[bool, bool, bool]]] = {
    "before its owner": (Rotation.is_in_store, (True, False, False)),
    "before its user": (Rotation.is_in_database, (True, True, False)),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_rotation_that_is_killed_is_finished_by_the_next_run(
    moment: str, site: WholeSite, logged: Any, client_environment: dict[str, str]
) -> None:
    has_come, expected = MOMENTS[moment]
    runs = count_runs(client_environment)
    rotation = Rotation(site, site.secret(PASSWORD), site.ids()["mlflow/server"])
    started = site.start("-e", json.dumps({"site_rotate": [PASSWORD]}))
    try:
        wait_until(lambda: started.poll() is not None or has_come(rotation), moment, seconds=300, pause=0.01)
    finally:
        kill_tree(started.pid)
        ended = started.wait()
    assert (ended, rotation.state()) == (-signal.SIGKILL, expected)

    done = site.up()
    assert "mlflow: Apply the project" in done.changed
    assert (database_lets_in(site, rotation.old), database_lets_in(site, site.secret(PASSWORD))) == (False, True)
    assert count_runs(client_environment) == runs
    assert site.up().changed == {}
