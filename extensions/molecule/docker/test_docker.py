# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An engine that was not there, with Compose and Buildx, and what the site's modules need of Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from support.stand_ins import HOMEPAGE

if TYPE_CHECKING:
    from conftest import Server

IMAGE = HOMEPAGE.reference


def test_the_engine_runs_a_container_with_a_network(server: Server) -> None:
    assert server.must(f"docker run --rm {IMAGE} cat /sys/class/net/eth0/operstate") == "up"


def test_compose_is_new_enough_for_what_roles_write(server: Server) -> None:
    layers = "echo 'services: {a: {image: x, ports: [\"1:1\"]}}' >/tmp/a.yml; "
    layers += "echo 'services: {a: {ports: !override [\"2:2\"]}}' >/tmp/b.yml; "
    shown = server.must(layers + "docker compose -f /tmp/a.yml -f /tmp/b.yml config")
    assert 'published: "2"' in shown
    assert 'published: "1"' not in shown


def test_buildx_builds_an_image(server: Server) -> None:
    recipe = f"printf 'FROM {IMAGE}\\nRUN echo made >/made\\n'"
    built = server.must(f"{recipe} | docker buildx build --quiet --load --network=none -")
    assert server.must(f"docker run --rm {built} cat /made") == "made"
    server.must(f"docker image rm {built}")


def test_a_user_who_was_named_uses_the_engine_and_another_does_not(server: Server) -> None:
    server.must("sudo -u admin docker ps")
    assert "permission denied" in server.run("sudo -u nobody docker ps").stderr.lower()


def test_a_changed_option_reaches_the_engine(server: Server) -> None:
    assert server.must("docker info --format '{{json .Labels}}'") == '["scenario=docker"]'


def test_the_hosts_python_hashes_and_seals(server: Server) -> None:
    script = (
        'import bcrypt, passlib.hash, cryptography.fernet as f; h = passlib.hash.bcrypt.hash("a"); '
        'print(bcrypt.checkpw(b"a", h.encode()), len(f.Fernet.generate_key()))'
    )
    assert server.must(f"/usr/bin/python3 -c '{script}'").splitlines()[-1] == "True 44"


def test_after_a_restart_of_the_host_the_engine_and_its_containers_are_back(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    server.must(f"docker run --detach --init --restart=unless-stopped --name molecule-probe {IMAGE} sleep infinity")
    before = restarted()
    assert server.containers() == before
    assert server.must("docker inspect --format '{{.State.Running}}' molecule-probe") == "true"
    server.must("docker rm --force molecule-probe")
