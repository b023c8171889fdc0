# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is on the host now, from a handful of requests whatever the size of the project."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .desired import DIRECTORY_LABEL, IDENTITY_LABEL, PROJECT_LABEL, SERVICE_LABEL, DesiredService
from .engine import Engine
from .lost_networks import awaited_networks, known_networks, lost_networks


@dataclass(frozen=True)
class ObservedContainer:
    """One container as the engine lists it. ``state`` is the engine's word: running, exited, restarting, ..."""

    id: str
    name: str
    service: str
    state: str
    image_id: str
    identity: str = ""
    config_hash: str = ""
    directory: str = ""
    #: Its health check says starting or unhealthy.
    not_healthy: bool = False
    #: It has a health check. Only read where ``not_healthy`` is false, from the engine's sentence: no filter tells it.
    is_checked: bool = False
    #: It has ended, with 0.
    exited_zero: bool = False
    ports: tuple[int, ...] = ()
    #: Networks that are gone without which it cannot be started.
    lost_networks: tuple[str, ...] = ()

    @property
    def is_half_made(self) -> bool:
        """Whether an interrupted update made it and never started it: Compose gives that name for a moment."""
        return self.state == "created" and re.match(r"[0-9a-f]{12}_", self.name) is not None


@dataclass(frozen=True)
class Observed:
    """The containers of one project and the images under the names that it uses."""

    containers: tuple[ObservedContainer, ...] = ()
    #: Image reference to image id; a reference that this host does not have is absent.
    image_ids: Mapping[str, str] = field(default_factory=dict)

    def of(self, service: str) -> list[ObservedContainer]:
        return [container for container in self.containers if container.service == service]


def observe(engine: Engine, project: str, images: Iterable[str]) -> Observed:
    """Look at a project's containers and images: four requests, and one more where something does not run; no inspect.

    Health and exit code are in the list only as a sentence for people; the engine's filters are exact.
    """
    everything = list_containers(engine, project)
    not_healthy = _ids(list_containers(engine, project, health=["starting", "unhealthy"]))
    exited_zero = _ids(list_containers(engine, project, exited=["0"]))
    networks = engine.get("/networks", {"filters": {}}) if any(map(awaited_networks, everything)) else ()
    known = known_networks(networks)
    containers = tuple(_container(entry, not_healthy, exited_zero, known) for entry in everything)
    return Observed(containers, find_image_ids(engine, images))


def list_containers(engine: Engine, project: str, **filters: list[str]) -> list[dict[str, Any]]:
    """Return a project's containers as the engine lists them, without those of ``docker compose run``."""
    label = f"{PROJECT_LABEL}={project}"
    found: list[dict[str, Any]] = engine.get("/containers/json", {"all": "1", "filters": {"label": [label], **filters}})
    return [entry for entry in found if not is_one_off(entry["Labels"] or {})]


def _ids(entries: Iterable[Mapping[str, Any]]) -> set[str]:
    return {entry["Id"] for entry in entries}


def is_one_off(labels: Mapping[str, str]) -> bool:
    """Whether the container is one of ``docker compose run``, which no plan counts."""
    return labels.get("com.docker.compose.oneoff") == "True"


def _container(
    entry: Mapping[str, Any], not_healthy: set[str], exited_zero: set[str], known: Collection[str]
) -> ObservedContainer:
    labels = entry["Labels"] or {}
    return ObservedContainer(
        id=entry["Id"],
        name=entry["Names"][0].removeprefix("/") if entry.get("Names") else entry["Id"][:12],
        service=labels.get(SERVICE_LABEL, ""),
        state=entry["State"],
        image_id=entry["ImageID"],
        identity=labels.get(IDENTITY_LABEL, ""),
        config_hash=labels.get("com.docker.compose.config-hash", ""),
        directory=labels.get(DIRECTORY_LABEL, ""),
        not_healthy=entry["Id"] in not_healthy,
        is_checked="(healthy)" in entry.get("Status", ""),
        exited_zero=entry["Id"] in exited_zero,
        ports=tuple(sorted({port["PublicPort"] for port in entry.get("Ports") or () if port.get("PublicPort")})),
        lost_networks=lost_networks(entry, known),
    )


def find_image_ids(engine: Engine, images: Iterable[str]) -> dict[str, str]:
    """Return the id of each reference that this host has, with one request for all tags.

    A reference with a digest or an id names one image for ever, so asking is only worth it when it may be missing:
    those are looked up one by one, by whoever needs them (:func:`has_image`).
    """
    tags = {image: normalize_reference(image) for image in images if not is_immutable(image)}
    if not tags:
        return {}
    listed = engine.get("/images/json", {"filters": {"reference": sorted(set(tags.values()))}})
    names = {tag: entry["Id"] for entry in listed for tag in entry.get("RepoTags") or ()}
    return {image: names[tag] for image, tag in tags.items() if tag in names}


def is_immutable(image: str) -> bool:
    """Whether the reference names its content: a digest, or an image id."""
    return "@sha256:" in image or bool(re.fullmatch(r"(sha256:)?[0-9a-f]{64}", image))


def normalize_reference(image: str) -> str:
    """Return the reference as the engine lists it: the short name of a Docker Hub image, always with a tag."""
    name = image
    for prefix in ("docker.io/library/", "docker.io/", "index.docker.io/library/", "index.docker.io/"):
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            break
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def listed_verdicts(services: Mapping[str, DesiredService], observed: Observed) -> dict[str, str | None]:
    """Return service to verdict as far as the list of containers tells; None where it takes a closer look."""
    verdicts: dict[str, str | None] = {}
    for name, service in services.items():
        containers = observed.of(name)
        if not service.scale:
            verdicts[name] = "completed"
        elif service.is_sleeper and any(container.state != "running" for container in containers):
            verdicts[name] = None  # it sleeps, or it failed
        elif all(container.state == "running" and not container.not_healthy for container in containers):
            checked = containers and all(container.is_checked for container in containers)
            verdicts[name] = None if service.one_shot else "healthy" if checked else "running"
        elif service.may_end and all(container.exited_zero for container in containers):
            verdicts[name] = "completed"
        else:
            verdicts[name] = None
    return verdicts


def passed_verdicts(services: Mapping[str, DesiredService], observed: Observed) -> dict[str, str]:
    """Return service to verdict, where the gate has passed every one of them."""
    found = listed_verdicts(services, observed)
    return {
        name: verdict or ("asleep" if services[name].extras.sleeps and _rests(observed.of(name)) else "running")
        for name, verdict in found.items()
    }


def _rests(containers: Iterable[ObservedContainer]) -> bool:
    return any(container.state in ("created", "exited") for container in containers)


def unchecked_services(services: Mapping[str, DesiredService]) -> dict[str, float]:
    """Return the settle time of each long-running service without a health check: deaths are its only bad sign."""
    return {
        name: service.extras.settle_seconds
        for name, service in services.items()
        if service.scale
        and not service.may_end
        and not service.definition.get("healthcheck")
        # One that is put to sleep dies too.
        and not service.extras.sleeps
    }
