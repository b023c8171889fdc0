# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A place of its own for each test: folder, names, and the end of all that it made."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

PREFIX = "mytest-"
DIRECTORY_LABEL = "modelyard.directory"
PROJECT_LABEL = "com.docker.compose.project"


def new_prefix() -> str:
    """Return a prefix for names that nobody else has."""
    return f"{PREFIX}{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Site:
    """A site's folder and the prefix of all names of its test."""

    engine: docker.DockerClient
    directory: Path
    prefix: str = field(default_factory=new_prefix)

    def name(self, name: str) -> str:
        """Return a name for a project, network, volume or image that no other test has."""
        return f"{self.prefix}-{name}"

    def remove(self) -> None:
        """Remove the containers, networks, volumes and image names of this site, and nothing else."""
        for container in self.engine.containers.list(all=True, ignore_removed=True):
            if self._owns(container.attrs.get("Name", "").lstrip("/"), container.labels):
                _remove(container, v=True, force=True)
        for network in self.engine.networks.list():
            if self._owns(network.name or "", network.attrs.get("Labels") or {}):
                _remove(network)
        for volume in self.engine.volumes.list():
            if self._owns(volume.name, volume.attrs.get("Labels") or {}):
                _remove(volume, force=True)
        for image in self.engine.api.images():
            for tag in image["RepoTags"] or []:
                if self.prefix in tag:
                    self.engine.api.remove_image(tag, noprune=True)

    def _owns(self, name: str, labels: dict[str, str]) -> bool:
        return (
            name.startswith(self.prefix)
            or labels.get(PROJECT_LABEL, "").startswith(self.prefix)
            or labels.get(DIRECTORY_LABEL) == str(self.directory)
        )


def _remove(thing: Any, **options: bool) -> None:
    try:
        thing.remove(**options)
    except NotFound:
        return  # gone with what it belonged to
    except APIError as error:
        if error.status_code != 409 or "already in progress" not in str(error):
            raise
