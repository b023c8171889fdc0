# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host is to have, and where its packages come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import PlatformError

Source = Literal["distribution", "docker"]

#: Floors of the collection: below them options that it sets are unknown.
ENGINE_FLOOR = (20, 10)
COMPOSE_FLOOR = (2, 24, 4)

DOCKER_REPOSITORY = "https://download.docker.com/linux"
DOCKER_KEY_PATH = "/etc/apt/keyrings/modelyard-docker.asc"


@dataclass(frozen=True)
class Wanted:
    """A task's options."""

    source: Source = "distribution"
    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    #: None leaves holds as they are.
    hold: bool = False
    daemon_options: Mapping[str, Any] = field(default_factory=dict)
    daemon_file: str = "/etc/docker/daemon.json"
    #: The site's folder: containers that its label does not name are others'.
    directory: str = "/opt/modelyard"
    docker_repository: str = DOCKER_REPOSITORY


@dataclass(frozen=True)
class Packages:
    """The names that a distribution gives to the three programs."""

    engine: tuple[str, ...]
    compose: str
    buildx: str
    #: Release that Compose and Buildx are taken from, where the host's own has none that is new enough.
    borrowed_from: str = ""


#: Source: packages.debian.org and packages.ubuntu.com. ``docker.io`` of Debian 13 only recommends its own CLI.
_DISTRIBUTION: Mapping[tuple[str, str], Packages] = {
    ("debian", "bookworm"): Packages(("docker.io", "iptables"), "docker-compose", "docker-buildx", "trixie"),
    ("debian", "trixie"): Packages(("docker.io", "docker-cli", "iptables"), "docker-compose", "docker-buildx"),
    ("ubuntu", "jammy"): Packages(("docker.io", "iptables"), "docker-compose-v2", "docker-buildx"),
    ("ubuntu", "noble"): Packages(("docker.io", "iptables"), "docker-compose-v2", "docker-buildx"),
}
_DOCKER = Packages(("docker-ce", "docker-ce-cli", "containerd.io"), "docker-compose-plugin", "docker-buildx-plugin")

#: What may hold an engine, whoever installed it.
HELD = tuple(
    sorted({name for row in (*_DISTRIBUTION.values(), _DOCKER) for name in (*row.engine, row.compose, row.buildx)} -
           {"iptables"})
)  # fmt: skip


def packages_of(source: Source, distribution: str, codename: str) -> Packages:
    """Return the packages of a source on a distribution.

    :raises PlatformError: it is none of those that the collection supports.
    """
    own = _DISTRIBUTION.get((distribution, codename))
    if own is None:
        known = ", ".join(f"{name} {release}" for name, release in _DISTRIBUTION)
        raise PlatformError(
            f"Cannot install Docker: this is '{distribution} {codename}', supported are {known}; install Docker "
            f"{_dotted(ENGINE_FLOOR)}, Compose {_dotted(COMPOSE_FLOOR)} and Buildx or newer yourself, then run again."
        )
    return _DOCKER if source == "docker" else own


def apt_files(source: Source, distribution: str, codename: str, *, mirror: str, repository: str) -> dict[str, str]:
    """Return the files that apt needs for a source, by path; none where its own sources have all.

    :param mirror: address of the archive that the host's own sources name.
    """
    row = packages_of(source, distribution, codename)
    if source == "docker":
        return {"/etc/apt/sources.list.d/modelyard-docker.sources": _docker_source(repository, distribution, codename)}
    if not row.borrowed_from:
        return {}
    return {
        f"/etc/apt/sources.list.d/modelyard-{row.borrowed_from}.sources": _borrowed_source(mirror, row.borrowed_from),
        f"/etc/apt/preferences.d/modelyard-{row.borrowed_from}": _preferences(row),
    }


def _docker_source(repository: str, distribution: str, codename: str) -> str:
    return (
        f"Types: deb\nURIs: {repository}/{distribution}\nSuites: {codename}\nComponents: stable\n"
        f"Signed-By: {DOCKER_KEY_PATH}\n"
    )


def _borrowed_source(mirror: str, release: str) -> str:
    return (
        f"Types: deb\nURIs: {mirror}\nSuites: {release}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )


def _preferences(row: Packages) -> str:
    # -10 keeps every other package of that release away, whatever is installed or upgraded later.
    return (
        f"Package: *\nPin: release n={row.borrowed_from}\nPin-Priority: -10\n\n"
        f"Package: {row.compose} {row.buildx}\nPin: release n={row.borrowed_from}\nPin-Priority: 500\n"
    )


def is_at_least(version: str, floor: tuple[int, ...]) -> bool:
    """Tell whether ``v2.26.1-4`` is at least (2, 24, 4); a part that is no number counts as 0."""
    parts = version.removeprefix("v").replace("-", ".").replace("+", ".").split(".")
    numbers = tuple(int(part) if part.isdecimal() else 0 for part in parts[: len(floor)])
    return numbers >= floor


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
