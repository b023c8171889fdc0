# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role rustdesk on a site of its own, with an image that stands for RustDesk's."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support import images
from support.modules import run_module
from support.ports import free_ports
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site
from support.stand_ins import RUSTDESK

HOST = "rustdesk.lab.test"
SECRETS = [{"name": "rustdesk_key", "kind": "rustdesk_key"}]
TASK = "Apply the project"


@dataclass(frozen=True)
class Server:
    """The running server, and how to change it and speak to it."""

    roles: SiteOfRoles
    port: int

    @property
    def folder(self) -> Path:
        return self.roles.site.directory / "projects" / self.roles.site.name("rustdesk")

    def container(self, service: str) -> Container:
        return self.roles.site.engine.containers.get(f"{self.roles.site.name('rustdesk')}-{service}-1")

    def ids(self) -> dict[str, str]:
        return {service: str(self.container(service).id) for service in ("hbbs", "hbbr")}

    def apply(self, *, check: bool = False, **variables: Any) -> RoleRun:
        done = self.roles.run("rustdesk", secrets=SECRETS, check=check, **variables)
        assert done.rc == 0, done.output[-3000:]
        return done

    def key(self, part: str) -> str:
        """Return the half that counts now, as the store has it."""
        stored = json.loads(self.roles.secret_store.read_text(encoding="utf-8"))["secrets"]["rustdesk_key"]
        version = stored["versions"][str(stored["current"])]
        return str({**version["secret"], **version["public"]}[part])

    def say(self, number: int, text: str) -> str:
        """Return the answer to a line, by a published port."""
        with socket.create_connection(("127.0.0.1", number), timeout=10) as connection:
            connection.sendall(f"{text}\n".encode())
            return connection.recv(1024).decode()


def ports_in_a_row(count: int) -> int:
    """Return the first of so many numbers that are free."""
    for first in free_ports(50):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for number in range(first, first + count):
                held.enter_context(socket.create_server(("127.0.0.1", number)))
            return first
    raise AssertionError(f"no {count} free ports in a row")


@pytest.fixture(scope="module")
def server(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("rustdesk")
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    port = ports_in_a_row(3) + 1
    values = {
        "site_domain": "lab.test", "site_address": "127.0.0.1", "site_ports": {"edge_api": free_ports(1)[0]},
        "rustdesk_image": images.ensure(RUSTDESK), "rustdesk_port": port,
    }  # fmt: skip
    found = Server(SiteOfRoles(site, folder, values), port)
    try:
        found.apply()
        yield found
    finally:
        site.remove()


def test_a_second_run_changes_nothing(server: Server) -> None:
    before = server.ids()
    assert server.apply().changed == []
    assert server.ids() == before


def test_both_work_with_the_pair_of_the_store_and_the_relay_has_its_public_half_alone(server: Server) -> None:
    public, private = server.key("public"), server.key("private")
    assert (server.folder / "id_ed25519.pub").read_text(encoding="ascii") == public
    assert (server.folder / "id_ed25519").read_text(encoding="ascii") == private
    status = (server.folder / "id_ed25519").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (10005, 0o400)
    read = ["cat", "id_ed25519.pub"]
    assert {server.container(service).exec_run(read).output.decode() for service in ("hbbs", "hbbr")} == {public}
    assert server.container("hbbs").exec_run(["cat", "id_ed25519"]).output.decode() == private
    assert server.container("hbbr").exec_run(["test", "-e", "id_ed25519"]).exit_code == 1
    for service in ("hbbs", "hbbr"):
        container = server.container(service)
        assert private not in json.dumps(container.attrs)
        assert private not in json.dumps(container.top(ps_args="-eo pid,args")["Processes"])


def test_the_id_server_signs_with_the_key_and_the_relay_asks_for_it(server: Server) -> None:
    assert server.say(server.port, "who") == server.key("public")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(10)
        datagrams.sendto(b"who", ("127.0.0.1", server.port))
        assert datagrams.recv(1024).decode() == server.key("public")
    assert server.say(server.port + 1, server.key("public")) == "relayed"
    assert server.say(server.port + 1, "another key") == ""


@pytest.mark.parametrize("program", ["hbbs", "hbbr"])
def test_without_a_key_neither_starts(server: Server, program: str) -> None:
    attributes = server.container(program).attrs["Config"]
    done = subprocess.run(
        ["docker", "run", "--rm", "--name", server.roles.site.name(f"bare-{program}"), "--network=none", "--entrypoint",
         attributes["Entrypoint"][0], attributes["Image"], *attributes["Entrypoint"][1:], *attributes["Cmd"]],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr


def test_what_is_published_is_what_has_no_way_through_the_edge(server: Server) -> None:
    bindings = {
        (inside, bound["HostIp"], int(bound["HostPort"]))
        for service in ("hbbs", "hbbr")
        for inside, published in server.container(service).attrs["HostConfig"]["PortBindings"].items()
        for bound in published
    }
    numbers = [(f"{number}/tcp", "127.0.0.1", number) for number in range(server.port - 1, server.port + 2)]
    assert bindings == {*numbers, (f"{server.port}/udp", "127.0.0.1", server.port)}
    text = (server.roles.site.directory / "edge/routes" / f"{server.roles.site.name('rustdesk')}.yml").read_text()
    for service, path, number in (("hbbs", "/ws/id", server.port + 2), ("hbbr", "/ws/relay", server.port + 3)):
        container = server.container(service)
        assert f"Host(`{HOST}`) && PathPrefix(`{path}`)" in text
        assert f"http://{container.name}:{number}" in text, text
        opened = f"exec 3<>/dev/tcp/127.0.0.1/{number}"
        assert container.exec_run(["bash", "-c", opened]).exit_code == 0


def test_they_are_confined_and_the_relay_is_found_by_its_public_name(server: Server) -> None:
    for service in ("hbbs", "hbbr"):
        attributes = server.container(service).attrs
        assert attributes["Config"]["User"] == "10005:10005"
        assert attributes["HostConfig"]["ReadonlyRootfs"]
        assert attributes["HostConfig"]["CapDrop"] == ["ALL"]
        assert attributes["State"]["Health"]["Status"] == "healthy"
    volumes = [mount["Type"] for mount in server.container("hbbr").attrs["Mounts"]]
    assert "volume" not in volumes, "the relay keeps nothing"
    assert f"relay-servers {HOST} " in server.container("hbbs").logs().decode()
    assert server.container("hbbs").exec_run(["test", "-e", "/data/db_v2.sqlite3"]).exit_code == 0


def test_a_rotated_key_reaches_both(server: Server) -> None:
    before, old = server.ids(), server.key("public")
    rotated = run_module(
        "secrets",
        {"path": str(server.roles.secret_store), "site_directory": str(server.roles.site.directory), "secrets": SECRETS,
         "rotate": ["rustdesk_key"]},
    )  # fmt: skip
    assert not rotated.failed, rotated.msg
    new = server.key("public")
    assert new != old
    done = server.apply()
    assert {step["service"]: step["action"] for step in done.results[TASK]["plan"]} == {
        "hbbs": "recreate", "hbbr": "recreate",
    }  # fmt: skip
    assert not set(before.values()) & set(server.ids().values())
    assert server.say(server.port, "who") == new
    assert (server.say(server.port + 1, new), server.say(server.port + 1, old)) == ("relayed", "")


def test_always_by_relay_is_a_new_id_server_and_the_same_relay(server: Server) -> None:
    before = server.ids()
    server.apply(rustdesk_always_use_relay=True)
    after = server.ids()
    assert after["hbbr"] == before["hbbr"]
    assert after["hbbs"] != before["hbbs"]
    assert "ALWAYS_USE_RELAY=Y" in server.container("hbbs").attrs["Config"]["Env"]
