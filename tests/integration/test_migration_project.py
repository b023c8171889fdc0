# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project whose new version migrates its database, and fails: both serve as before."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support.modules import ModuleResult, run_module, start_module
from support.proxy import RecordingProxy, Request
from support.site import Site

DATABASE = "shop"
SCHEMA = (
    "CREATE ROLE keeper; CREATE TABLE orders (id int PRIMARY KEY, note text);"
    " ALTER TABLE orders OWNER TO keeper; INSERT INTO orders SELECT n, 'sentinel' FROM generate_series(1, 500) AS n"
)
# Like those of real tools, it may run twice.
MIGRATION = "ALTER TABLE orders ADD IF NOT EXISTS paid boolean; UPDATE orders SET note = 'changed'"


class Shop:
    """The project: ``db``, ``migrate`` that must end, and ``web`` that comes after it."""

    def __init__(self, engine: docker.DockerClient, site: Site, postgres: str, apps: dict[str, str]) -> None:
        self._engine, self._site, self._postgres, self._apps = engine, site, postgres, apps
        self.name = site.name("shop")

    def apply(self, version: str, *, migrate: str) -> ModuleResult:
        """Apply with ``migrate`` as the one-shot's command."""
        return run_module("compose_project", self.declared(version, migrate=migrate))

    def declared(self, version: str, *, migrate: str) -> dict[str, Any]:
        # A failed command must fail the one-shot, not the session alone.
        command = ["psql", "-h", "db", "-U", "postgres", "-d", DATABASE, "--set=ON_ERROR_STOP=1", "-c", migrate]
        services: dict[str, Any] = {
            "db": {"image": self._postgres, "volumes": ["data:/var/lib/postgresql/data"]},
            "migrate": {
                "image": self._postgres,
                "command": command,
                "healthcheck": {"disable": True},
                "tmpfs": ["/var/lib/postgresql/data"],
                "depends_on": {"db": {"condition": "service_healthy"}},
                "x-modelyard": {"migrates": {"database": DATABASE, "service": "db"}},
            },
            "web": {
                "image": self._apps[version],
                "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
            },
        }
        return {
            "name": self.name,
            "directory": str(self._site.directory),
            "layers": [{"services": services, "volumes": {"data": {}}}],
            "pull": "never",
            "wait_seconds": 90,
        }

    def go_back(self, number: int, *, check: bool = False, restore_databases: bool = True) -> ModuleResult:
        """Bring a release back."""
        options = {**self.way_back(number), "restore_databases": restore_databases}
        done = run_module("compose_release", options, check=check)
        assert not done.failed, done.msg
        return done

    def way_back(self, number: int) -> dict[str, Any]:
        directory = str(self._site.directory)
        return {"name": self.name, "directory": directory, "state": "rolled_back", "release": number}

    def kill(self, module: str, options: dict[str, Any], proxy: RecordingProxy, *, before: str) -> None:
        """Run a module and kill it, with Compose, when it has made a service's container and is about to start it."""

        def is_start(request: Request) -> bool:
            found = re.fullmatch(r"/v[0-9.]+/containers/([0-9a-f]{64})/start", request.path)
            if found is None:
                return False
            labels: dict[str, str] = self._engine.containers.get(found[1]).labels
            return labels["com.docker.compose.project"] == self.name and labels["com.docker.compose.service"] == before

        proxy.hold = is_start
        running = start_module(module, options, environment={"DOCKER_HOST": proxy.docker_host})
        try:
            assert proxy.held.wait(60), "it never came so far"
        finally:
            running.kill(with_children=True)
            running.wait()
        assert self.container(before).status == "created"

    @property
    def releases(self) -> Path:
        return self._site.directory / "releases" / self.name

    def container(self, service: str) -> Container:
        labels = [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]
        [found] = self._engine.containers.list(all=True, filters={"label": labels})
        return found

    def all_of_it(self) -> str:
        code, output = self.container("db").exec_run(["pg_dump", "-U", "postgres", "--create", DATABASE])
        assert code == 0, output.decode()
        lines = output.decode().splitlines()
        return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))

    def read_dump(self, path: Path) -> str:
        """Return a dump of ours as SQL; the program is the server's own."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(path, "shop.dump")
        db = self.container("db")
        db.put_archive("/var/tmp", packed.getvalue())
        code, output = db.exec_run(["pg_restore", "--file=-", "/var/tmp/shop.dump"], user="root")
        assert code == 0, output.decode()
        text: str = output.decode()
        return text

    def sql(self, text: str, database: str = DATABASE) -> None:
        code, output = self.container("db").exec_run(["psql", "-U", "postgres", "-d", database, "-c", text])
        assert code == 0, output.decode()


@pytest.fixture
def shop(engine: docker.DockerClient, site: Site, postgres_image: str, app_images: dict[str, str]) -> Shop:
    """Return the project at its first version, with a row of sentinels in its database."""
    made = Shop(engine, site, postgres_image, app_images)
    first = made.apply("v1", migrate="SELECT 1")
    assert first.failed, "there is nothing to dump or to connect to yet: no obstacle to begin, but the one-shot fails"
    made.sql(f"CREATE DATABASE {DATABASE}", "postgres")
    second = made.apply("v1", migrate="SELECT 1")
    assert not second.failed, second.msg
    for statement in SCHEMA.split(";"):
        made.sql(statement)
    return made


def test_a_migration_that_fails_leaves_the_database_as_it_was(shop: Shop) -> None:
    before, db = shop.all_of_it(), shop.container("db").id
    failed = shop.apply("v2", migrate=f"{MIGRATION}; COMMIT; SELECT 1 / 0")
    assert failed.failed
    assert "service 'migrate'" in failed.msg
    assert "division by zero" in failed.msg
    assert shop.all_of_it() == before
    assert shop.container("db").id == db
    assert shop.container("web").image.labels["modelyard-test.version"] == "v1"
    assert shop.container("web").status == "running"


def test_a_migration_that_succeeds_is_undone_when_a_later_service_fails(shop: Shop) -> None:
    before, db = shop.all_of_it(), shop.container("db").id
    failed = shop.apply("broken", migrate=MIGRATION)
    assert failed.failed
    assert "service 'web'" in failed.msg
    assert "cannot read the schema" in failed.msg
    assert shop.all_of_it() == before
    assert shop.container("db").id == db
    assert shop.container("web").image.labels["modelyard-test.version"] == "v1"
    assert shop.container("web").status == "running"


def test_a_migration_that_succeeds_stays(shop: Shop) -> None:
    before = shop.all_of_it()
    done = shop.apply("v2", migrate=MIGRATION)
    assert not done.failed, done.msg
    assert "changed" in shop.all_of_it()
    assert "paid boolean" in shop.all_of_it()
    assert "sentinel" in before


def test_going_back_over_a_migration_brings_the_old_content_back_and_forward_again_the_new(shop: Shop) -> None:
    before = shop.all_of_it()
    assert shop.apply("v2", migrate=MIGRATION).rc == 0
    shop.sql("INSERT INTO orders VALUES (501, 'changed', true)")
    after = shop.all_of_it()

    planned = shop.go_back(2, check=True)
    assert f"restore database {DATABASE}, what it holds now is kept as a dump" in planned["other_changes"]
    assert shop.all_of_it() == after, "check mode changed the database"

    assert shop.go_back(2)["release"] == 4
    assert shop.all_of_it() == before
    assert not shop.go_back(2).changed, "nothing lies between now and the release"
    assert shop.go_back(3)["release"] == 5
    assert shop.all_of_it() == after


def test_going_back_leaves_databases_alone_where_that_is_asked_for(shop: Shop) -> None:
    assert shop.apply("v2", migrate=MIGRATION).rc == 0
    after = shop.all_of_it()
    assert not shop.go_back(2, restore_databases=False).failed
    assert shop.all_of_it() == after


def test_a_migration_that_was_made_and_never_begun_when_its_apply_was_killed_runs_with_the_next(
    shop: Shop, proxy: RecordingProxy
) -> None:
    wanted = shop.declared("v2", migrate=MIGRATION)
    shop.kill("compose_project", wanted, proxy, before="migrate")
    planned = run_module("compose_project", wanted, check=True)
    assert {step["service"]: step["action"] for step in planned["plan"]} == {"migrate": "recreate", "web": "recreate"}
    assert f"restore database {DATABASE}" in planned["other_changes"]

    done = shop.apply("v2", migrate=MIGRATION)
    assert not done.failed, done.msg
    assert "paid boolean" in shop.all_of_it()
    assert not shop.apply("v2", migrate=MIGRATION).changed


def test_an_apply_that_was_killed_after_its_migration_takes_no_way_back_away(shop: Shop, proxy: RecordingProxy) -> None:
    before = shop.all_of_it()
    shop.kill("compose_project", shop.declared("v2", migrate=MIGRATION), proxy, before="web")
    migrated = shop.container("migrate").id
    done = shop.apply("v2", migrate=MIGRATION)
    assert not done.failed, done.msg
    assert shop.container("migrate").id == migrated, "what had ended well ran twice"

    shop.go_back(2)
    assert shop.all_of_it() == before


def test_a_way_back_that_was_killed_is_gone_again_and_what_came_between_is_kept(
    shop: Shop, proxy: RecordingProxy
) -> None:
    before = shop.all_of_it()
    assert shop.apply("v2", migrate=MIGRATION).rc == 0
    after = shop.all_of_it()
    shop.kill("compose_release", shop.way_back(2), proxy, before="web")
    shop.sql("INSERT INTO orders VALUES (501, 'between')")

    number = shop.go_back(2)["release"]
    assert shop.all_of_it() == before
    [kept] = (shop.releases / f"{number:04}" / "before-restore").iterdir()
    assert "between" in shop.read_dump(kept)
    shop.go_back(3)
    assert shop.all_of_it() == after
