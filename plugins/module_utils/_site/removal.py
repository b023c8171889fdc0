# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes when a site is removed from a host, and what stays: a decision without I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .._compose.release import kept_images_of
from .._image.garbage import Needs, decide, own_references
from .._image.images import NAME_LABEL, Image

Kind = Literal["container", "network", "volume", "image", "file", "folder"]


@dataclass(frozen=True)
class SeenContainer:
    """Any container of the engine. ``directory`` is that of its site, empty for one of somebody else."""

    id: str
    name: str
    image_id: str
    is_running: bool = False
    directory: str = ""
    project: str = ""
    #: Names of volumes, names of networks.
    volumes: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SeenThing:
    """A network or a volume. ``shared`` is the site's folder on a network that several projects use."""

    name: str
    id: str
    directory: str = ""
    project: str = ""
    shared: str = ""


@dataclass(frozen=True)
class SeenSecrets:
    """The site's secret store on the disk; ``files`` are those that are ours and there."""

    path: str
    files: tuple[str, ...] = ()
    #: Given where nothing else is in it.
    folder: str = ""
    #: Why it has to stay; empty where it can go.
    needed_by: str = ""


@dataclass(frozen=True)
class SeenSite:
    """All that the decision needs to know."""

    directory: str
    #: Whether the folder is there. It is the site's: whoever looked has read its ``site.json``.
    is_there: bool
    projects: frozenset[str]
    containers: Sequence[SeenContainer]
    networks: Sequence[SeenThing]
    volumes: Sequence[SeenThing]
    images: Sequence[Image]
    secrets: SeenSecrets
    #: What the other sites of this host need of images; None where that cannot be read, and then ``doubt`` says why.
    needs: Needs | None = None
    doubt: str = ""
    #: File systems that are mounted on the folder or below it.
    mounts: Sequence[str] = ()


@dataclass(frozen=True)
class Thing:
    """Something that is removed: an image by its tag, all else by ``id``."""

    kind: Kind
    name: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Removal:
    """The plan: things in the order in which they go, what stays and why, and what is in the way."""

    things: tuple[Thing, ...]
    left: tuple[str, ...]
    #: Containers of the site that run, a sentence each.
    running: tuple[str, ...]
    obstacles: tuple[str, ...]


def plan_site_removal(site: SeenSite) -> Removal:
    """Decide what goes. Nothing that is not proved to be the site's does."""
    own = [container for container in site.containers if container.directory == site.directory]
    gone = [container for container in own if container.project in site.projects]
    networks = [thing for thing in site.networks if _is_own(thing, site)]
    volumes = [thing for thing in site.volumes if _is_own(thing, site)]
    things = [
        *(Thing("container", container.name, container.id) for container in gone),
        *(Thing("network", network.name, network.id) for network in networks),
        *(Thing("volume", volume.name, volume.name) for volume in volumes),
    ]
    left = [*_unknown(site), *([f"images: {site.doubt}"] if site.needs is None and site.doubt else [])]
    for thing, reason in _images(site, gone):
        if reason:
            left.append(f"{thing}: {reason}")
        else:
            things.append(thing)
    secret_things, kept_secrets = _secrets(site)
    left += kept_secrets
    things += secret_things
    if site.is_there:
        things.append(Thing("folder", site.directory, site.directory))
    running = tuple(
        f"container {container.name!r} of project {container.project!r} still runs"
        for container in own
        if container.is_running
    )
    others = [container for container in site.containers if container not in gone]
    return Removal(tuple(things), tuple(left), running, tuple(_obstacles(site, others, networks, volumes)))


def _is_own(thing: SeenThing, site: SeenSite) -> bool:
    if thing.shared:
        return thing.shared == site.directory and site.is_there
    return thing.directory == site.directory and thing.project in site.projects


def _unknown(site: SeenSite) -> Iterator[str]:
    """Yield what carries the site's label although the site has never heard of its project."""
    for kind, things in (("network", site.networks), ("volume", site.volumes), ("container", site.containers)):
        for thing in things:
            if thing.directory == site.directory and thing.project not in site.projects:
                yield f"{kind} {thing.name}: the site's folder tells of no project {thing.project!r}"


def _obstacles(
    site: SeenSite, others: Sequence[SeenContainer], networks: Sequence[SeenThing], volumes: Sequence[SeenThing]
) -> Iterator[str]:
    for container in others:
        used = [f"network {network.name!r}" for network in networks if network.name in container.networks]
        used += [f"volume {volume.name!r}" for volume in volumes if volume.name in container.volumes]
        if used:
            yield f"container {container.name!r}, which is no project's of the site, uses {' and '.join(used)}"
    for mount in site.mounts:
        if mount != site.directory:
            yield f"a file system is mounted on {mount}"
    if site.secrets.needed_by and site.secrets.path.startswith(f"{site.directory}/"):
        yield f"the secret store {site.secrets.path} in its folder {site.secrets.needed_by}"


def _images(site: SeenSite, gone: Sequence[SeenContainer]) -> Iterator[tuple[Thing, str]]:
    """Yield image tags, each with the reason why it stays, if it does: those of releases, packaged ones, bases."""
    prefixes = tuple(kept_images_of(site.directory, project) for project in sorted(site.projects))
    remaining = []
    for image in site.images:
        kept = [tag for tag in image.references if prefixes and tag.startswith(prefixes)]
        yield from ((Thing("image", tag, tag), "") for tag in kept)
        rest = tuple(tag for tag in image.references if tag not in kept)
        # One that has no other tag goes with its last one.
        if rest or not kept:
            remaining.append(replace(image, references=rest))
    if site.needs is None or not site.is_there:
        return
    users = {
        container.image_id: f"container {container.name}" for container in site.containers if container not in gone
    }
    packaged = [image for image in remaining if NAME_LABEL in image.labels]
    needs = replace(site.needs, containers={**site.needs.containers, **users})
    for verdict in decide(packaged, directory=site.directory, needs=needs, keep=0):
        reason = verdict.reason if verdict.action == "keep" else ""
        for tag in own_references(verdict.image) or (verdict.image.id,):
            yield Thing("image", tag, tag), reason


def _secrets(site: SeenSite) -> tuple[list[Thing], list[str]]:
    secrets = site.secrets
    if not secrets.files:
        return [], []
    if not site.is_there:
        return [], [f"secret store {secrets.path}: without the folder {site.directory} nobody knows whose it is"]
    if secrets.needed_by:
        return [], [f"secret store {secrets.path}: it {secrets.needed_by}"]
    things = [Thing("file", path, path) for path in secrets.files]
    return things + ([Thing("folder", secrets.folder, secrets.folder)] if secrets.folder else []), []


def other_sites(directory: str, labels: Sequence[Mapping[str, str]], label: str) -> list[str]:
    """Return the folders of the other sites that left a trace on this host's engine."""
    return sorted({found[label] for found in labels if found.get(label)} - {directory})
