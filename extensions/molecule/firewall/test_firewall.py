# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Published ports that obey, tried from two networks beyond the host: one of them may reach HTTPS, the other not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from support.stand_ins import HOMEPAGE

if TYPE_CHECKING:
    from conftest import Server

HTTP, HTTPS, SSH, UNDECLARED, THEIRS = 80, 443, 22, 8800, 8090
PORTS = (HTTP, HTTPS, SSH, UNDECLARED, THEIRS)
#: Name of each machine to the network between it and the host.
NETWORKS = {"near": "10.215.1", "far": "10.215.2"}
FROM_NEAR, FROM_FAR = {HTTP, HTTPS, SSH, THEIRS}, {HTTP, SSH, THEIRS}
_MACHINE = (
    "ip netns add {0} && ip link add to-{0} type veth peer name eth0 netns {0} && ip addr add {1}.1/24 dev to-{0} && "
    "ip link set to-{0} up && ip -n {0} addr add {1}.2/24 dev eth0 && ip -n {0} link set eth0 up && "
    "ip -n {0} route add default via {1}.1"
)


@pytest.fixture(scope="module", autouse=True)
def _theirs(server: Server) -> Iterator[None]:
    """Run a container of somebody else, which is not the site's to remove."""
    server.must(
        "docker rm --force theirs >/dev/null 2>&1; docker run --detach --init --restart=unless-stopped --name theirs "
        f"--publish {THEIRS}:8000 {HOMEPAGE.reference} python3 -m http.server 8000"
    )
    yield
    server.must("docker rm --force --volumes theirs")


def make_machines(server: Server) -> None:
    """Have two machines beyond the host; a restart of it takes them away."""
    for name, network in NETWORKS.items():
        server.must(f"ip netns list | grep -qw {name} || {{ {_MACHINE.format(name, network)}; }}")


def reached(server: Server, machine: str) -> set[int]:
    """Return the ports of the host at which a machine is let in."""
    make_machines(server)
    address = server.must("ip -4 -o addr show eth0 | awk '{print $4}' | cut -d / -f 1")
    tries = "; ".join(f"timeout 2 bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo {port}" for port in PORTS)
    said = server.must(f'ip netns exec {machine} bash -c "{tries}; true"')
    return set(map(int, said.split()))


def test_what_a_role_declares_is_open_to_everybody(server: Server) -> None:
    assert HTTP in reached(server, "far")


def test_a_changed_option_lets_one_network_in_and_no_other(server: Server) -> None:
    assert reached(server, "near") == FROM_NEAR
    assert reached(server, "far") == FROM_FAR


def test_the_host_itself_reaches_what_others_may_not(server: Server) -> None:
    assert server.ask("https://traefik.molecule.test/dashboard/").status == 401
    assert server.ask(f"http://127.0.0.1:{UNDECLARED}/").status in (301, 308, 404)


def test_what_nobody_declared_is_closed_and_told(server: Server) -> None:
    assert UNDECLARED not in reached(server, "near")
    done = server.play("--check")
    assert f"Closed is {UNDECLARED}/tcp of modelyard-traefik-traefik-1, which no role declares" in done.stdout


def test_it_outlives_a_restart_of_the_engine(server: Server) -> None:
    server.must("systemctl restart docker")
    server.soon(f"</dev/tcp/127.0.0.1/{THEIRS} && docker ps | grep traefik-1 | grep healthy")
    assert reached(server, "far") == FROM_FAR


def test_off_opens_everything_and_on_closes_it(server: Server) -> None:
    before = server.must("iptables --list-rules | sort")
    off = server.play("--extra-vars", json.dumps({"firewall_enabled": False}))
    assert off.returncode == 0, off.stdout
    assert reached(server, "far") == set(PORTS)
    assert "SITE-" not in server.must("iptables --list-rules; ip6tables --list-rules")
    again = server.play()
    assert again.returncode == 0, again.stdout
    assert server.must("iptables --list-rules | sort") == before
    assert reached(server, "far") == FROM_FAR


def test_after_a_restart_of_the_host_it_is_there_before_the_engine(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    restarted()
    assert reached(server, "near") == FROM_NEAR
    assert reached(server, "far") == FROM_FAR
    shown = "systemctl show --value --property"
    guarded = server.must(f"{shown} ActiveEnterTimestampMonotonic modelyard-firewall")
    assert 0 < int(guarded) < int(server.must(f"{shown} ExecMainStartTimestampMonotonic docker"))
