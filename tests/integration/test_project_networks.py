# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks that are gone: the next run heals what was in them."""

from __future__ import annotations

import docker
import pytest
from support.applied import AppliedProject, sleeper
from support.site import Site


@pytest.fixture
def neighbour(engine: docker.DockerClient, site: Site, base_image: str) -> AppliedProject:
    """Return another project of the site, which is up."""
    project = AppliedProject(engine, site, "neighbour", layers=[{"services": {"web": sleeper(base_image)}}])
    project.apply()
    return project


def prune(engine: docker.DockerClient, site: Site) -> None:
    """Remove the site's networks that no running container is in, as ``docker network prune`` does."""
    for network in engine.networks.list(names=[site.prefix], greedy=True):
        if not network.attrs["Containers"]:
            network.remove()


def test_what_was_stopped_when_its_networks_were_pruned_comes_up_again(
    engine: docker.DockerClient, site: Site, base_image: str, neighbour: AppliedProject
) -> None:
    services = {
        "own": sleeper(base_image, networks=["own"]),
        "shared": sleeper(base_image, networks=["shared"]),
        "bridged": sleeper(base_image, network_mode="bridge"),
        "beside": sleeper(base_image, network_mode="service:own"),
        "once": {"image": base_image, "command": ["true"], "networks": ["own"], "x-modelyard": {"one_shot": True}},
        "apart": sleeper(base_image, network_mode="none"),
    }
    networks = {"own": {}, "shared": {"external": True, "name": site.name("shared")}}
    project = AppliedProject(
        engine, site, layers=[{"services": services, "networks": networks}], networks=[{"name": site.name("shared")}]
    )
    project.apply()
    # As the gateway joins the network of what it wakes.
    engine.networks.get(f"{neighbour.name}_default").connect(project.container("shared"))
    project.apply(state="stopped")
    neighbour.apply(state="stopped")
    prune(engine, site)
    before = project.ids()

    checked = project.run(check=True)
    reasons = {step["service"]: (step["action"], step["reasons"][-1]["code"]) for step in checked["plan"]}
    assert reasons == {
        "own": ("recreate", "network"),
        "shared": ("recreate", "network"),
        "beside": ("recreate", "dependency"),
        "bridged": ("start", "stopped"),
        "apart": ("start", "stopped"),
    }
    assert project.apply()["plan"] == checked["plan"]
    assert {container.status for container in project.containers()} == {"running", "exited"}
    kept = {name for name, ids in project.ids().items() if ids == before[name]}
    assert kept == {"bridged", "apart", "once"}
    assert not project.apply().changed
    neighbour.apply()
    assert not neighbour.apply().changed


def test_a_sleeping_service_whose_network_was_pruned_is_made_anew(
    engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    gateway = {"project": site.name("gateway"), "service": "gateway", "name": "chat"}
    chat = sleeper(base_image, networks=["chat"], extras={"sleeper": gateway})
    project = AppliedProject(engine, site, layers=[{"services": {"chat": chat}, "networks": {"chat": {}}}])
    project.apply()
    assert not project.apply().changed
    prune(engine, site)
    assert project.apply()["plan"][0]["reasons"] == [
        {"code": "network", "text": f"network '{project.name}_chat' of its container is gone"}
    ]
    project.container("chat").start()
