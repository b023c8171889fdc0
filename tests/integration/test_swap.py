# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a swap does to real containers and their networks, without Compose, an edge or a load."""

from __future__ import annotations

import dataclasses
import http.client
import time
from collections.abc import Callable, Sequence
from typing import Any

import docker
import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import DesiredService
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import ObservedContainer, observe
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import ServiceExtras
from ansible_collections.modelyard.platform.plugins.module_utils._compose.swap import Swap, reopen, swap_start_first
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed, run_program
from docker.models.containers import Container
from support.site import Site

PORT = 8080


class Copies:
    """Containers of service ``web`` as Compose would make them."""

    def __init__(self, engine: docker.DockerClient, site: Site, images: dict[str, str]) -> None:
        self.engine, self.images = engine, images
        self.project = site.name("shop")
        self.blocked: list[Sequence[str]] = []

    def make(self, number: int, version: str, **options: Any) -> Container:
        labels = {"com.docker.compose.project": self.project, "com.docker.compose.service": "web"}
        made = self.engine.containers.run(
            self.images[version], name=f"{self.project}-web-{number}", detach=True, init=True,
            labels={**labels, "com.docker.compose.oneoff": "False"}, **options,
        )  # fmt: skip
        wait_healthy(made)
        return made

    def swap(self, run: Callable[..., Completed] = run_program) -> Swap:
        return Swap(
            engine=Engine(), run=run, project=self.project, edge=None, write_edge=lambda _: None,
            bring_up=lambda _, count: None if len(self.observed()) >= count else self.make(2, "v2") and None,
            gate=lambda _: None, remember_blocked=self.blocked.append,
        )  # fmt: skip

    def observed(self) -> list[ObservedContainer]:
        return observe(Engine(), self.project, ()).of("web")


@pytest.fixture
def copies(engine: docker.DockerClient, site: Site, app_images: dict[str, str]) -> Copies:
    return Copies(engine, site, app_images)


def wait_healthy(container: Container) -> None:
    for _number in range(300):
        container.reload()
        if container.attrs["State"]["Health"]["Status"] == "healthy":
            return
        time.sleep(0.1)
    raise AssertionError(f"{container.name} did not become healthy: {container.logs(tail=20)!r}")


def connect(container: Container) -> http.client.HTTPConnection:
    """Return a connection that has been used once, so that the server knows it."""
    container.reload()
    [network] = container.attrs["NetworkSettings"]["Networks"].values()
    connection = http.client.HTTPConnection(network["IPAddress"], PORT, timeout=10)
    ask(connection)
    return connection


def ask(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    return connection.getresponse().read().decode()


def service(drain_seconds: float) -> DesiredService:
    return DesiredService("web", "web:2", "new", {}, extras=ServiceExtras(drain_seconds=drain_seconds))


def test_new_connections_are_refused_and_open_ones_live_until_the_time_is_over(copies: Copies) -> None:
    old = copies.make(1, "v1")
    connection = connect(old)
    seen: list[str] = []

    def remember(ids: Sequence[str]) -> None:
        copies.blocked.append(ids)
        if not ids:
            return
        # Written down first, closed after.
        connect(old).close()

    def look(argv: Sequence[str], **options: Any) -> Completed:
        done = run_program(argv, **options)
        if "-I" in argv:
            with pytest.raises(ConnectionRefusedError):
                connect(old)
            seen.append(ask(connection))
        return done

    swap = dataclasses.replace(copies.swap(look), remember_blocked=remember)
    sentence = swap_start_first(swap, service(1.5), copies.observed())
    connection.close()
    assert seen == ["v1"]
    assert sentence == (
        "web: open connections to the old copy when drain_seconds (1.5 s) were over: 1; they were closed"
    )
    assert [container.name for container in copies.observed()] == [f"{copies.project}-web-2"]
    assert copies.blocked == [[old.id], []]


def test_a_connection_that_ends_lets_the_old_copy_go(copies: Copies) -> None:
    copies.make(1, "v1")
    sentence = swap_start_first(copies.swap(), service(30), copies.observed())
    assert sentence.startswith("web: no connection to the old copy was open after 0.")


def test_what_a_broken_off_swap_closed_is_opened_again(copies: Copies) -> None:
    old = copies.make(1, "v1")

    class BrokenOffError(Exception):
        pass

    def break_off(argv: Sequence[str], **options: Any) -> Completed:
        run_program(argv, **options)
        if "-I" in argv:
            raise BrokenOffError
        return Completed(1, "", "")

    with pytest.raises(BrokenOffError):
        swap_start_first(copies.swap(break_off), service(30), copies.observed())
    with pytest.raises(ConnectionRefusedError):
        connect(old)
    reopen(Engine(), run_program, copies.blocked[-1])
    connect(old).close()
    reopen(Engine(), run_program, [old.id, "0123456789ab"])


def test_without_a_firewall_the_swap_goes_on_and_says_so(copies: Copies) -> None:
    copies.make(1, "v1")

    def no_firewall(_argv: Sequence[str], **__: Any) -> Completed:
        return Completed(127, "", "nsenter: failed to execute iptables: No such file or directory")

    sentence = swap_start_first(copies.swap(no_firewall), service(30), copies.observed())
    assert "; new ones were not refused: Cannot keep new connections from process " in sentence
    assert "iptables says: nsenter: failed to execute iptables: No such file or directory; install" in sentence
    assert [container.name for container in copies.observed()] == [f"{copies.project}-web-2"]


@pytest.mark.parametrize("mode", ["host", "none", "container"])
def test_a_network_that_is_not_the_containers_own_is_never_closed(
    copies: Copies, engine: docker.DockerClient, site: Site, base_image: str, mode: str
) -> None:
    owner = engine.containers.run(base_image, name=site.name("owner"), detach=True, init=True)
    network_mode = f"container:{owner.id}" if mode == "container" else mode
    copies.make(1, "v1", network_mode=network_mode, environment={"PORT": "18099"})
    touched: list[Sequence[str]] = []

    def watch(argv: Sequence[str], **options: Any) -> Completed:
        touched.append(argv)
        return run_program(argv, **options)

    swap_start_first(copies.swap(watch), service(30), copies.observed())
    new = copies.observed()[0]
    pid = engine.containers.get(new.id).attrs["State"]["Pid"]
    assert {argv[1] for argv in touched} == {f"--net=/proc/{pid}/ns/net"}, "only the new copy's network was looked at"
    assert all("-C" in argv for argv in touched)
