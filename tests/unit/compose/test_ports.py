# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import DesiredService
from ansible_collections.modelyard.platform.plugins.module_utils._compose.ports import (
    PublishedPort,
    published_ports,
    refuse_taken_ports,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

EVERYWHERE = "0.0.0.0"  # noqa: S104
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


class Host:
    """A ``/proc`` with sockets and the processes that hold them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._inode = 1000
        (root / "proc/net").mkdir(parents=True)
        self.listed: list[dict[str, Any]] = []

    def hold(self, address: str, port: int, *, by: str, protocol: str = "tcp", pid: int = 812) -> None:
        """Let a process listen; the address as people write it."""
        self._inode += 1
        table = self.root / "proc/net" / (f"{protocol}6" if ":" in address else protocol)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        raw = socket.inet_pton(family, address)
        words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
        text = "".join((word[::-1] if sys.byteorder == "little" else word).hex().upper() for word in words)
        state = "0A" if protocol == "tcp" else "07"
        row = f"0: {text}:{port:04X} {'0' * len(text)}:0000 {state} 0:0 0:0 0 0 0 {self._inode} 1 0\n"
        before = table.read_text(encoding="ascii") if table.exists() else HEAD
        table.write_text(before + row, encoding="ascii")
        if by:
            folder = self.root / f"proc/{pid}/fd"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / str(self._inode)).symlink_to(f"socket:[{self._inode}]")
            (folder.parent / "comm").write_text(f"{by}\n", encoding="ascii")

    def publish(self, name: str, port: int, *, project: str = "", address: str = EVERYWHERE, kind: str = "tcp") -> None:
        """Let a container publish a port, a proxy of the engine holding it."""
        self.hold(address, port, by="docker-proxy", protocol=kind, pid=900 + len(self.listed))
        self.listed.append(
            {
                "Names": [f"/{name}"],
                "Labels": {"com.docker.compose.project": project} if project else {},
                "Ports": [{"IP": address, "PrivatePort": 1, "PublicPort": port, "Type": kind}, {"PrivatePort": 2}],
            }
        )

    def refusal(self, *wanted: PublishedPort, free: Sequence[int] = ()) -> str:
        """Return what is refused; empty when nothing is."""
        try:
            refuse_taken_ports(
                wanted,
                project="shop",
                listed=self.listed,
                root=str(self.root),
                is_free=lambda _address, port, _protocol: port in free,
            )
        except PlatformError as error:
            return str(error)
        return ""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def want(
    port: int, *, service: str = "db", ip: str = "", last: int | None = None, protocol: str = "tcp"
) -> PublishedPort:
    return PublishedPort(service, ip, range(port, (last or port) + 1), protocol)


PUBLISHED = [
    pytest.param({"target": 80, "published": "8080", "protocol": "tcp"}, ["", range(8080, 8081), "tcp"], id="a port"),
    pytest.param(
        {"target": 80, "published": "8000-8010", "host_ip": "127.0.0.1", "protocol": "udp"},
        ["127.0.0.1", range(8000, 8011), "udp"],
        id="a range of choices on one address",
    ),
    pytest.param({"target": 80, "published": 8080}, ["", range(8080, 8081), "tcp"], id="a number, no protocol"),
]


@pytest.mark.parametrize(("port", "wanted"), PUBLISHED)
def test_published_ports_are_read_from_the_definition(port: dict[str, Any], wanted: list[Any]) -> None:
    service = DesiredService("web", "web:1", "", {"ports": [port]})
    assert published_ports([service]) == [PublishedPort("web", *wanted)]


@pytest.mark.parametrize("ports", [None, [], [{"target": 80}], [{"target": 80, "published": ""}], [{"published": "0"}]])
def test_where_the_engine_chooses_nothing_is_asked_for(ports: Any) -> None:
    assert published_ports([DesiredService("web", "web:1", "", {"ports": ports})]) == []


def test_a_process_is_named_with_its_number(host: Host) -> None:
    host.hold("127.0.0.1", 5432, by="postgres", pid=812)
    assert host.refusal(want(5432)) == (
        "Cannot start service 'db': port 5432 is already used by 'postgres' (pid 812); "
        "stop it, or publish another port."
    )


def test_a_container_of_another_project_is_named_instead_of_its_proxy(host: Host) -> None:
    host.publish("other-db-1", 5432, project="other")
    assert host.refusal(want(5432)) == (
        "Cannot start service 'db': port 5432 is already used by container 'other-db-1' of project 'other'; "
        "stop it, or publish another port."
    )


def test_a_container_without_a_project_is_named(host: Host) -> None:
    host.publish("lonely", 5432)
    assert "already used by container 'lonely'; stop it" in host.refusal(want(5432))


def test_a_holder_that_cannot_be_seen_is_said_to_be_so(host: Host) -> None:
    host.hold(EVERYWHERE, 5432, by="")
    assert "already used by a process that cannot be seen from here; stop it" in host.refusal(want(5432))


def test_all_findings_are_in_one_text(host: Host) -> None:
    host.hold(EVERYWHERE, 80, by="nginx", pid=10)
    host.hold(EVERYWHERE, 53, by="unbound", protocol="udp", pid=11)
    found = host.refusal(want(80, service="web"), want(443, service="web"), want(53, service="dns", protocol="udp"))
    assert found == (
        "Cannot start service 'web': port 80 is already used by 'nginx' (pid 10); stop it, or publish another port.\n"
        "Cannot start service 'dns': port 53/udp is already used by 'unbound' (pid 11); stop it, or publish another "
        "port."
    )


def test_the_projects_own_containers_may_hold_what_they_hold(host: Host) -> None:
    host.publish("shop-db-1", 5432, project="shop")
    assert host.refusal(want(5432)) == ""


def test_the_projects_own_port_on_one_address_does_not_excuse_another_address(host: Host) -> None:
    host.publish("shop-db-1", 5432, project="shop", address="127.0.0.1")
    host.hold("10.0.0.1", 5432, by="postgres")
    assert host.refusal(want(5432, ip="127.0.0.1")) == ""
    assert "'postgres' (pid 812)" in host.refusal(want(5432, ip="10.0.0.1"))


ADDRESSES = [
    pytest.param(EVERYWHERE, "", True, id="everything against everything"),
    pytest.param(EVERYWHERE, "127.0.0.1", True, id="everything holds one address too"),
    pytest.param("127.0.0.1", EVERYWHERE, True, id="one address stands against everything"),
    pytest.param("127.0.0.1", "127.0.0.1", True, id="the same address"),
    pytest.param("127.0.0.1", "10.0.0.1", False, id="another address"),
    pytest.param("::", "10.0.0.1", True, id="IPv6 everything includes IPv4"),
    pytest.param("::1", "::1", True, id="the same IPv6 address"),
    pytest.param("::1", "[::1]", True, id="written with brackets"),
    pytest.param("::1", "127.0.0.1", False, id="IPv6 loopback is not IPv4 loopback"),
    pytest.param("::ffff:127.0.0.1", "127.0.0.1", True, id="IPv4 written as IPv6"),
]


@pytest.mark.parametrize(("held", "wanted", "clash"), ADDRESSES)
def test_addresses_clash_where_the_kernel_says_so(host: Host, held: str, wanted: str, clash: bool) -> None:
    host.hold(held, 80, by="nginx")
    assert bool(host.refusal(want(80, ip=wanted))) is clash


def test_the_kernel_has_the_last_word(host: Host) -> None:
    host.hold("::", 80, by="only-ipv6")
    assert host.refusal(want(80), free=[80]) == ""


def test_protocols_do_not_clash(host: Host) -> None:
    host.hold(EVERYWHERE, 53, by="unbound", protocol="udp")
    assert host.refusal(want(53, protocol="tcp")) == ""


def test_a_range_is_refused_only_when_all_of_it_is_taken(host: Host) -> None:
    host.hold(EVERYWHERE, 8000, by="first")
    assert host.refusal(want(8000, last=8001), free=[8001]) == ""
    host.hold(EVERYWHERE, 8001, by="second", pid=813)
    assert host.refusal(want(8000, last=8001)) == (
        "Cannot start service 'db': every port of 8000-8001 is taken; 8000 is already used by 'first' (pid 812); "
        "stop it, or publish another port."
    )


@pytest.mark.parametrize(
    ("kind", "protocol"), [(socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")], ids=["tcp", "udp"]
)
def test_a_real_socket_is_found_with_its_process(kind: int, protocol: str) -> None:
    with socket.socket(socket.AF_INET, kind) as held:
        held.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            held.listen()
        port = held.getsockname()[1]
        with pytest.raises(PlatformError, match=rf"is already used by '.+' \(pid {os.getpid()}\); stop it"):
            refuse_taken_ports([want(port, ip="127.0.0.1", protocol=protocol)], project="shop", listed=[])
        refuse_taken_ports([want(port, ip="127.0.0.2", protocol=protocol)], project="shop", listed=[])
    refuse_taken_ports([want(port, ip="127.0.0.1", protocol=protocol)], project="shop", listed=[])
