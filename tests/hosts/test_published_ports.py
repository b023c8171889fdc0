# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module published_ports on a server with systemd, tried by two other machines on its network.

The server has a site, whose container publishes five ports, and a container of somebody else. Its engine is that of its
distribution: 20.10 with Debian 12, 26.1 with Debian 13.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import docker
import pytest
from support import images
from support.host_modules import put_modules, run_module_on
from support.hosts import IMAGES, Host, running_host
from support.site import new_prefix

DIRECTORY = "/opt/shop"
PREFIX = "shop"
LABEL = f"--label modelyard.directory={DIRECTORY}"
OPEN, LIMITED, UNDECLARED, FOREIGN, LOOPBACK, CLOSED, UDP = 8081, 8082, 8083, 8090, 8084, 8085, 8086
PUBLISHED = (OPEN, LIMITED, UNDECLARED, FOREIGN, CLOSED)
#: Addresses of IPv6 that the machines get, where the engine rewrites nothing and its proxy listens.
SIX = {"server": "fd00:5::1", "near": "fd00:5::2", "far": "fd00:5::3"}
#: What the site's containers have is kept over a restart, so that rules can be compared.
NETWORK, WEB, ECHOING = "10.214.7.0/24", "10.214.7.2", "10.214.7.3"
SERVE = "python3 -m http.server --bind :: 8000"
ECHO = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 8000))\n"
    "while True: s.sendto(b'pong', s.recvfrom(9)[1])"
)
#: Prints a word for each place that it is told, all of them asked at once.
ASK = """
import concurrent.futures, socket, sys
def ask(place):
    address, port, protocol = place.split(',')
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if protocol == 'udp' else socket.SOCK_STREAM) as asking:
        asking.settimeout(2)
        try:
            asking.connect((address, int(port)))
            asking.send(b'ping' if protocol == 'udp' else b'GET / HTTP/1.0' + bytes([13, 10, 13, 10]))
            return 'yes' if asking.recv(9) else 'no'
        except OSError:
            return 'no'
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    print(*pool.map(ask, sys.argv[1:]))
"""
WAIT = """
for i in $(seq 100); do
    python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}')" 2>/dev/null && exit 0
    sleep 0.3
done
exit 1
"""


EVERYTHING = {"IPv4": set(PUBLISHED), "IPv6": set(PUBLISHED), "UDP": {UDP}}


def asking(places: Sequence[tuple[str, int, str]]) -> str:
    """Return the command that asks at places: address, port and protocol."""
    return f'python3 -c "{ASK}" ' + " ".join(",".join(map(str, place)) for place in places)


@dataclass
class Server:
    """The server, and two machines that try its ports."""

    host: Host
    clients: dict[str, str]

    def published_ports(self, *, check: bool = False, **params: Any) -> dict[str, Any]:
        """Run the module on the server, and return its answer."""
        given = {"prefix": PREFIX, "directory": DIRECTORY, "ports": self.ports(), **params}
        return run_module_on(self.host, "published_ports", given, check=check)

    def ports(self) -> list[dict[str, Any]]:
        near = [f"{self.address_of('near')}/32", f"{SIX['near']}/128"]
        return [
            {"number": OPEN}, {"number": LIMITED, "allowed_ranges": near}, {"number": CLOSED, "allowed_ranges": []},
            {"number": LOOPBACK, "address": "127.0.0.1"}, {"number": UDP, "protocol": "udp", "allowed_ranges": near},
        ]  # fmt: skip

    def address_of(self, client: str) -> str:
        return Host(self.clients[client], "").address()

    def run_at(self, client: str, command: str) -> str:
        return Host(self.clients[client], "").must(command)

    def reaches(self, client: str, port: int, *, address: str = "", protocol: str = "tcp") -> bool:
        """Tell whether a machine gets an answer at a port of the server."""
        return self.run_at(client, asking([(address or self.host.address(), port, protocol)])).strip() == "yes"

    def reached(self, client: str) -> dict[str, set[int]]:
        """Return at which ports of the server a machine gets an answer, by how it comes there."""
        ways = {
            "IPv4": (self.host.address(), "tcp"),
            "IPv6": (SIX["server"], "tcp"),
            "UDP": (self.host.address(), "udp"),
        }
        places = [(way, port) for way in ways for port in ((UDP,) if way == "UDP" else PUBLISHED)]
        said = self.run_at(client, asking([(ways[way][0], port, ways[way][1]) for way, port in places])).split()
        answered = [place for place, word in zip(places, said, strict=True) if word == "yes"]
        return {way: {port for found, port in answered if found == way} for way in ways}

    def rules(self) -> str:
        return self.host.must("iptables -S; ip6tables -S")

    def wait_open(self) -> None:
        """Wait until the containers serve again, as the server itself sees them."""
        for port in (OPEN, FOREIGN):
            self.host.must(WAIT.format(port=port))


@pytest.fixture(scope="module", params=["bookworm", pytest.param("trixie", marks=pytest.mark.long)])
def server(request: pytest.FixtureRequest, engine: docker.DockerClient) -> Iterator[Server]:
    """Yield a server with a site whose ports nobody guards yet."""
    prefix = new_prefix()
    clients = {name: f"{prefix}-{name}" for name in ("near", "far")}
    with running_host(request.param) as host:
        try:
            for name in clients.values():
                start_client(name, host, images.ensure(IMAGES[request.param]))
            found = Server(host, clients)
            prepare(found)
            yield found
        finally:
            for name in clients.values():
                subprocess.run(["docker", "rm", "--force", "--volumes", name], check=False, capture_output=True)


def start_client(name: str, host: Host, image: str) -> None:
    command = ["docker", "run", "--detach", "--init", "--name", name, "--network", host.name, "--cap-add=NET_ADMIN"]
    options = ["--sysctl=net.ipv6.conf.all.disable_ipv6=0", image, "sleep", "infinity"]
    subprocess.run([*command, *options], check=True, capture_output=True)


def prepare(server: Server) -> None:
    """Give the server an engine, the module, and what runs on it; and all three an address of IPv6."""
    host = server.host
    host.forgo_syncs()
    # The address and the setting are kept over a restart, as a server has them.
    host.put(
        "/etc/systemd/system/six.service",
        "[Unit]\nBefore=docker.service\n[Service]\nType=oneshot\nExecStart=sysctl -q net.ipv6.conf.all.disable_ipv6=0\n"
        f"ExecStart=-ip -6 addr add {SIX['server']}/64 dev eth0 nodad\n[Install]\nWantedBy=multi-user.target\n",
    )
    host.must("systemctl enable --now --quiet six")
    for name in server.clients:
        server.run_at(name, f"ip -6 addr add {SIX[name]}/64 dev eth0 nodad")
    programs = "docker.io iptables" + (" docker-cli" if host.release == "trixie" else "")
    host.must(
        f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends {programs}"
    )
    base = images.ensure(images.BASE)
    host.load_images([base])
    put_modules(host)
    host.must(f"docker network create {LABEL} --subnet {NETWORK} shop-edge")
    published = " ".join(f"-p {port}:8000" for port in (OPEN, LIMITED, UNDECLARED, CLOSED, f"127.0.0.1:{LOOPBACK}"))
    run = "docker run --detach --init --restart=unless-stopped"
    host.must(
        f"{run} --name web --network shop-edge --ip {WEB} {LABEL} {published} {base} {SERVE} && "
        f'{run} --name echo --network shop-edge --ip {ECHOING} {LABEL} -p {UDP}:8000/udp {base} python3 -c "{ECHO}" && '
        f"{run} --name theirs -p {FOREIGN}:8000 {base} {SERVE}"
    )
    server.wait_open()


@pytest.fixture(scope="module")
def before(server: Server) -> str:
    """Return the rules of the server before anything was done."""
    return server.rules()


@pytest.fixture(scope="module")
def guarded(server: Server, before: str) -> dict[str, Any]:
    """Return what the first run says."""
    done = server.published_ports()
    assert not done.get("failed"), done["msg"]
    return done


def check_ports(server: Server) -> None:
    """Find every port as it is declared, from everywhere."""
    assert server.reached("near") == {"IPv4": {OPEN, LIMITED, FOREIGN}, "IPv6": {OPEN, LIMITED, FOREIGN}, "UDP": {UDP}}
    assert server.reached("far") == {"IPv4": {OPEN, FOREIGN}, "IPv6": {OPEN, FOREIGN}, "UDP": set()}
    # SSH was never touched, and the server itself reaches all that it publishes.
    assert server.reaches("far", 22)
    own = [(server.host.address(), port, "tcp") for port in PUBLISHED]
    assert server.host.must(asking(own)).split() == ["yes"] * len(PUBLISHED)


def test_without_it_everybody_reaches_everything(server: Server, before: str) -> None:
    assert server.reached("far") == EVERYTHING
    # A neighbour comes to a container by its own address too, on whatever port it listens.
    server.run_at("far", f"ip route replace {NETWORK} via {server.host.address()}")
    assert server.reaches("far", 8000, address=WEB)


def test_check_mode_says_what_a_run_would_do_and_does_nothing(server: Server, before: str) -> None:
    told = server.published_ports(check=True)
    assert [step["action"] for step in told["plan"]] == ["script", "unit", "rules", "rules"]
    assert f"--ctorigdstport {LIMITED} -j DROP" in told["diff"]["after"]
    assert told["diff"]["before"] == ""
    assert server.rules() == before
    assert server.host.must(f"ls {DIRECTORY} 2>&1 || true").endswith("No such file or directory\n")


def test_each_port_is_open_to_those_who_may_reach_it(server: Server, guarded: dict[str, Any]) -> None:
    check_ports(server)
    server.run_at("far", f"ip route replace {NETWORK} via {server.host.address()}")
    assert not server.reaches("far", 8000, address=WEB)


def test_what_nobody_declared_is_told(server: Server, guarded: dict[str, Any]) -> None:
    assert guarded["undeclared"] == [f"{UNDECLARED}/tcp of web"]
    assert f"Closed is {UNDECLARED}/tcp of web, which no role declares" in json.dumps(guarded["warnings"])


def test_containers_of_the_site_reach_others_and_the_site_itself(server: Server, guarded: dict[str, Any]) -> None:
    server.run_at("near", f"(setsid {SERVE} >/dev/null 2>&1 &) && sleep 1")
    for address, port in ((server.address_of("near"), 8000), (server.host.address(), LIMITED)):
        assert server.host.must(f"docker exec web {asking([(address, port, 'tcp')])}").strip() == "yes"


def test_a_second_run_changes_nothing(server: Server, guarded: dict[str, Any]) -> None:
    rules = server.rules()
    assert server.published_ports(check=True)["plan"] == []
    again = server.published_ports()
    assert (again["changed"], again["diff"]["before"]) == (False, again["diff"]["after"])
    assert server.rules() == rules


def test_it_outlives_a_restart_of_the_engine(server: Server, guarded: dict[str, Any]) -> None:
    server.host.must("systemctl restart docker")
    server.wait_open()
    check_ports(server)
    assert server.published_ports()["plan"] == []


def test_it_is_there_before_the_engine_after_a_restart_of_the_host(server: Server, guarded: dict[str, Any]) -> None:
    server.host.restart()
    server.wait_open()
    check_ports(server)
    assert server.published_ports()["plan"] == []
    shown = "systemctl show --property {} --value {}"
    guarded_at = server.host.must(shown.format("ActiveEnterTimestampMonotonic", f"{PREFIX}-firewall"))
    engine_at = server.host.must(shown.format("ExecMainStartTimestampMonotonic", "docker"))
    assert 0 < int(guarded_at) < int(engine_at)


def test_what_somebody_threw_away_is_put_back(server: Server, guarded: dict[str, Any]) -> None:
    server.host.must("iptables -F DOCKER-USER && ip6tables -D INPUT -j SITE-shop-IN && iptables -D SITE-shop 2")
    assert server.reaches("far", LIMITED)
    done = server.published_ports()
    assert [step["reason"] for step in done["plan"]] == [
        "are not reached from DOCKER-USER",
        "are not reached from INPUT",
    ]
    check_ports(server)


def test_a_start_of_the_engine_puts_back_what_was_thrown_away(server: Server, guarded: dict[str, Any]) -> None:
    server.host.must("iptables -F SITE-shop && systemctl restart docker")
    server.wait_open()
    check_ports(server)


def test_a_changed_range_counts_at_once(server: Server, guarded: dict[str, Any]) -> None:
    far = [{"number": LIMITED, "allowed_ranges": [server.address_of("far")]}]
    changed = server.published_ports(instead=far)
    assert [step["action"] for step in changed["plan"]] == ["script", "rules", "rules"]
    assert (server.reaches("near", LIMITED), server.reaches("far", LIMITED)) == (False, True)
    assert server.published_ports()["changed"]
    check_ports(server)


def test_an_engine_without_iptables_is_refused(server: Server, guarded: dict[str, Any]) -> None:
    server.host.must("iptables -D FORWARD -j DOCKER-USER")
    said = server.published_ports()
    assert said["msg"].startswith("Cannot guard published ports: the engine has no rule in iptables that leads from ")
    server.host.must("systemctl restart docker")
    server.wait_open()


def test_off_takes_away_what_it_made_and_nothing_else(server: Server, guarded: dict[str, Any], before: str) -> None:
    told = server.published_ports(state="absent", check=True)
    assert server.published_ports(check=True)["plan"] == []
    gone = server.published_ports(state="absent")
    assert told["plan"] == gone["plan"]
    assert [step["subject"] for step in gone["plan"]] == [
        "rules of IPv4", "rules of IPv6", "shop-firewall.service", f"{DIRECTORY}/firewall/apply",
    ]  # fmt: skip
    assert sorted(server.rules().splitlines()) == sorted(before.splitlines())
    assert server.host.must(f"ls {DIRECTORY}; find /etc/systemd -name 'shop*'") == ""
    assert server.reached("far") == EVERYTHING
    assert server.published_ports(state="absent")["plan"] == []
