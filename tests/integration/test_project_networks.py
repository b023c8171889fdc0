# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks that are gone, that change, and that others are in: the next run heals, and cuts nobody off unasked."""

from __future__ import annotations

from typing import Any

import docker
import pytest
from docker.models.containers import Container
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


def aliases(container: Container, network: str) -> set[str]:
    container.reload()
    return set(container.attrs["NetworkSettings"]["Networks"][network]["Aliases"])


def connected(container: Container) -> set[str]:
    container.reload()
    return set(container.attrs["NetworkSettings"]["Networks"])


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


def layers(base: str, **network: Any) -> list[dict[str, Any]]:
    return [{"services": {"web": sleeper(base, networks=["front"])}, "networks": {"front": network}}]


def test_a_network_that_changes_keeps_who_is_in_it_of_the_site(
    engine: docker.DockerClient, site: Site, base_image: str, neighbour: AppliedProject
) -> None:
    project = AppliedProject(engine, site, layers=layers(base_image))
    project.apply()
    name = f"{project.name}_front"
    runs, rests = neighbour.container("web"), None
    neighbour.apply(layers=[{"services": {"web": sleeper(base_image), "rests": sleeper(base_image)}}])
    rests = neighbour.container("rests")
    engine.networks.get(name).connect(runs, aliases=["gate"])
    engine.networks.get(name).connect(rests, aliases=["bed"])
    rests.stop(timeout=1)
    old = engine.networks.get(name).id

    changed = {"layers": layers(base_image, internal=True)}
    checked = project.run(check=True, diff=True, **changed)
    line = f"make network front anew and bring {neighbour.name}-rests-1, {neighbour.name}-web-1 back into it"
    assert line in checked["other_changes"]
    assert line in checked["diff"]["after"]
    assert engine.networks.get(name).id == old

    result = project.apply(**changed)
    assert (result["other_changes"], result["notes"]) == (checked["other_changes"], [])
    assert engine.networks.get(name).attrs["Internal"]
    assert "gate" in aliases(runs, name)
    assert "bed" in aliases(rests, name)
    rests.start()
    assert project.read("web", "getent", "hosts", "gate", "bed").count("\n") == 2
    assert runs.id == neighbour.container("web").id
    assert not project.apply(**changed).changed

    failed = project.run(layers=layers(base_image, driver="no-such-driver"))
    assert failed.msg.startswith(f"Cannot apply project '{project.name}': Cannot make network '{name}': Compose says: ")
    assert failed.msg.endswith("\nRelease 2 serves again.")
    assert "gate" in aliases(runs, name)
    assert project.read("web", "getent", "hosts", "gate", "bed").count("\n") == 2


def test_a_network_that_changes_and_that_a_stranger_is_in_is_refused(
    engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    project = AppliedProject(engine, site, layers=layers(base_image))
    project.apply()
    name, before = f"{project.name}_front", project.ids()
    stranger = engine.containers.create(base_image, ["sleep", "600"], name=site.name("stranger"), network=name)
    expected = (
        f"Cannot make network '{name}' anew: container '{stranger.name}' is in it and does not belong to this site; "
        f"take it out (docker network disconnect {name} {stranger.name}), and bring it back afterwards."
    )
    assert project.refused(layers=layers(base_image, internal=True)) == expected
    stranger.start()
    assert project.refused(layers=layers(base_image, internal=True), check=True) == expected
    assert project.ids() == before
    assert connected(stranger) == {name}
