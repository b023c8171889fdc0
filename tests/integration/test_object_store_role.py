# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role object_store on an image that is not ours: no bash, no coreutils, root, and a data folder of root's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support import busybox_store
from support.declared import processes
from support.rclone_store import connect, failure
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site

KEY_ID, SECRET = "maps0001", "not-a-secret-but-long-enough"
SECRETS = [{"name": "maps", "kind": "password", "value": SECRET}]
USERS = [
    {
        "name": "maps", "access_key_id": KEY_ID, "secret_access_key": "@@secret:maps@@",
        "buckets": [{"name": "tiles"}, {"name": "public", "access": "read_only"}],
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def roles(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteOfRoles]:
    folder = tmp_path_factory.mktemp("store")
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    values: dict[str, Any] = {
        "site_images": "registry", "object_store_image": busybox_store.ensure_image(), "site_domain": "store.test",
        "site_ports": {"http": 80, "https": 443, "postgres": 5432, "edge_api": 9}, "object_store_users": USERS,
        "object_store_buckets": [{"name": "tiles"}, {"name": "public"}],
    }  # fmt: skip
    try:
        yield SiteOfRoles(site, folder, values)
    finally:
        site.remove()


@pytest.fixture(scope="module")
def first(roles: SiteOfRoles) -> RoleRun:
    done = roles.run("object_store", secrets=SECRETS)
    assert done.rc == 0, done.output[-4000:]
    return done


def container(roles: SiteOfRoles, service: str) -> Container:
    return roles.site.engine.containers.get(f"{roles.site.name('object-store')}-{service}-1")


def client(roles: SiteOfRoles, key_id: str, secret: str) -> Any:
    address = container(roles, "s3").attrs["NetworkSettings"]["Networks"][roles.site.name("data")]["IPAddress"]
    return connect(f"http://{address}:9000", key_id, secret)


def test_the_store_runs_without_root_and_is_healthy(first: RoleRun, roles: SiteOfRoles) -> None:
    store = container(roles, "s3")
    assert store.attrs["State"]["Health"]["Status"] == "healthy"
    assert {process["Uid"].split()[0] for process in processes(store)} == {"10002"}
    code, said = store.exec_run(["sh", "-c", "command -v bash; stat -c %u:%g /data"])
    assert (code, bytes(said)) == (0, b"10002:10002\n")
    assert container(roles, "storage").attrs["State"]["ExitCode"] == 0


def test_a_key_sees_its_buckets_and_no_other_key_does(first: RoleRun, roles: SiteOfRoles) -> None:
    own = client(roles, KEY_ID, SECRET)
    own.put_object(Bucket="tiles", Key="a/b", Body=b"tile")
    assert own.get_object(Bucket="tiles", Key="a/b")["Body"].read() == b"tile"
    assert "Contents" not in own.list_objects_v2(Bucket="public")
    assert failure(own.put_object, Bucket="public", Key="a", Body=b"") == "InternalError"
    assert failure(client(roles, KEY_ID, "another").list_objects_v2, Bucket="tiles") == "AccessDenied"
    assert failure(client(roles, "nobody01", SECRET).list_objects_v2, Bucket="tiles") == "AccessDenied"


def test_the_health_check_fails_where_nothing_answers(first: RoleRun, roles: SiteOfRoles) -> None:
    store = container(roles, "s3")
    [_kind, *probe] = store.attrs["Config"]["Healthcheck"]["Test"]
    assert store.exec_run(probe)[0] == 0
    elsewhere = [text.replace(":9000", ":9001") for text in probe]
    assert elsewhere != probe
    assert store.exec_run(elsewhere)[0] != 0


def test_a_second_run_changes_nothing(first: RoleRun, roles: SiteOfRoles) -> None:
    before = container(roles, "s3").id
    again = roles.run("object_store", secrets=SECRETS)
    assert again.rc == 0, again.output[-4000:]
    assert again.changed == []
    assert container(roles, "s3").id == before
