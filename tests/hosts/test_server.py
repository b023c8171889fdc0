# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bare server that this machine deploys to by SSH, as an unprivileged user with sudo.

Its packaged images come from this machine's engine: their tags are the digests of what they are built from, so that
the roles take them as they are. That leaves the network to the packages of the engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import yaml
from support.declared import build
from support.hosts import RELEASES, Host, running_host
from support.recipes import OF_A_SITE, packaged
from support.whole_site import Play, WholeSite

GROUPS = ("edge", "data", "tracking", "clients")
DOMAIN = "server.test"


@dataclass(frozen=True)
class Deployed:
    """A server, the site on it as its operator has it, and what the first run did."""

    host: Host
    site: WholeSite
    first: Play


def write_inventory(host: Host, folder: Path) -> None:
    """Write the inventory of a team that has one server; the key is made for it."""
    values = {"site_domain": DOMAIN, "site_images": "packages", "site_tls": "local_ca"}
    inventory = {
        "all": {
            "hosts": {"server": host.admit(folder)}, "vars": values,
            "children": {name: {"hosts": {"server": {}}} for name in GROUPS},
        }
    }  # fmt: skip
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")


@pytest.fixture(scope="module")
def references(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the packaged images of the site, built where they are not there yet."""
    folder = tmp_path_factory.mktemp("images")
    return [build(packaged(role, prefix), folder).reference for role, prefix in OF_A_SITE]


@pytest.fixture(scope="module", params=RELEASES)
def server(
    request: pytest.FixtureRequest, engine: docker.DockerClient, references: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployed]:  # fmt: skip
    """Yield a server with the whole site."""
    folder = tmp_path_factory.mktemp(request.param)
    site = WholeSite(engine, folder, prefix="modelyard")
    with running_host(request.param) as host:
        write_inventory(host, folder)
        host.forgo_syncs()
        # An engine first, so that it can be given the images.
        site.up("-e", '{"site_roles": {"docker": "all"}}')
        host.load_images(references)
        yield Deployed(host, site, site.up())


def test_the_images_of_another_machine_are_taken_as_they_are(server: Deployed, references: list[str]) -> None:
    listed = server.host.must("docker image ls --format '{{.Repository}}:{{.Tag}}'").split()
    assert sorted(name for name in listed if name.startswith("modelyard/")) == sorted(references)


def test_the_site_answers_with_full_verification(server: Deployed) -> None:
    assert server.host.status_of(f"https://mlflow.{DOMAIN}/health") == 200
    assert server.host.status_of(f"https://mlflow.{DOMAIN}/") == 401
    assert server.host.status_of(f"https://s3.{DOMAIN}/") == 403


def test_a_second_run_changes_nothing(server: Deployed) -> None:
    before = server.host.container_ids()
    assert dict(server.site.up().changed) == {}
    assert server.host.container_ids() == before


def test_after_a_restart_of_the_host_everything_is_back_by_itself(server: Deployed) -> None:
    before = server.host.container_ids()
    server.host.restart()
    server.host.wait_well()
    assert server.host.container_ids() == before
    assert server.host.status_of(f"https://mlflow.{DOMAIN}/health") == 200
    # The next run reaches it where it is now.
    write_inventory(server.host, server.site.folder)
    assert dict(server.site.up().changed) == {}
