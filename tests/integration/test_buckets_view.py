# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role object_store with a view of all buckets for web browsers, from its packaged image."""

from __future__ import annotations

import http.client
from pathlib import Path

import docker
from support.ports import free_ports
from support.role_run import SiteOfRoles
from support.site import Site


def ask(address: str, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, 8080, timeout=20)
    connection.request(method, path, body=b"x" if method == "PUT" else None)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_the_view_comes_beside_the_store_shows_its_objects_and_changes_nothing(
    engine: docker.DockerClient, site: Site, tmp_path: Path
) -> None:
    values = {
        "site_domain": "lab.test", "site_ports": {"edge_api": free_ports(1)[0]},
        "object_store_buckets": [{"name": "maps"}],
    }  # fmt: skip
    roles = SiteOfRoles(site, tmp_path, values)
    assert roles.run("object_store", secrets=[]).rc == 0
    store = engine.containers.get(f"{site.name('object-store')}-s3-1")
    store.exec_run(["bash", "-c", "echo here > /data/maps/there.txt"])

    done = roles.run("object_store", secrets=[], object_store_browser_host="files.lab.test")
    assert done.rc == 0, done.output[-3000:]
    steps = {step["service"]: step["action"] for step in done.results["Apply the project"]["plan"]}
    assert steps == {"browser": "create"}
    assert engine.containers.get(f"{site.name('object-store')}-s3-1").id == store.id
    view = engine.containers.get(f"{site.name('object-store')}-browser-1")
    address = view.attrs["NetworkSettings"]["Networks"][site.name("edge")]["IPAddress"]
    assert "maps/" in ask(address, "GET", "/")[1]
    assert ask(address, "GET", "/maps/there.txt") == (200, "here\n")
    assert ask(address, "PUT", "/maps/there.txt")[0] in (400, 403, 405)
    assert view.exec_run(["bash", "-c", "echo no > /data/maps/there.txt"]).exit_code == 1
    assert ask(address, "GET", "/maps/there.txt") == (200, "here\n")
    route = (site.directory / "edge/routes" / f"{site.name('object-store')}.yml").read_text(encoding="utf-8")
    assert "Host(`files.lab.test`)" in route
    assert "admin@file" in route

    gone = roles.run("object_store", secrets=[])
    assert {step["service"]: step["action"] for step in gone.results["Apply the project"]["plan"]} == {
        "browser": "remove"
    }
