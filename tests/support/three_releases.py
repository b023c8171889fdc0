# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project whose releases differ in all that a release keeps: image, file, secret version, variable.

Its image has one tag that is moved from release to release, as ``latest`` is, and no registry knows it. A service
beside it never changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from .modules import ModuleResult, run_module
from .site import PROJECT_LABEL, Site

SERVICE = "com.docker.compose.service"


@dataclass(frozen=True)
class Seen:
    """What of a release its user would notice."""

    version: str
    level: str
    file: str
    secret: str


class Shop:
    """The project; ``images`` are the versions of its app."""

    def __init__(self, engine: docker.DockerClient, site: Site, images: Mapping[str, str], base_image: str) -> None:
        self.engine, self.site = engine, site
        self.name = site.name("shop")
        self.tag = site.name("app:live")
        self._images, self._base = images, base_image
        self.store = Path(f"{site.directory}-etc") / "secrets.json"
        self.options = {"name": self.name, "directory": str(site.directory), "secret_store": str(self.store)}

    def release(self, level: int, version: str, **service: Any) -> ModuleResult:
        """Apply the app in ``version`` with the tag moved to it; everything else follows ``level``."""
        repository, _separator, tag = self.tag.rpartition(":")
        self.engine.images.get(self._images[version]).tag(repository, tag)
        return run_module("compose_project", self.declared(level, **service), timeout=120)

    def declared(self, level: int, **service: Any) -> dict[str, Any]:
        app = {
            "image": self.tag,
            "environment": {"LEVEL": str(level)},
            "volumes": ["./conf:/conf:ro"],
            "user": "65534:65534",
            "ports": ["127.0.0.1::8080"],
            **service,
        }
        files = [
            {"path": "conf/plain.txt", "content": f"level {level}\n"},
            {"path": "conf/secret.txt", "content": "@@secret:shop_password@@"},
        ]
        side = {"image": self._base, "command": ["sleep", "infinity"]}
        layer = {"services": {"app": app, "side": side}}
        return {**self.options, "layers": [layer], "files": files, "pull": "never", "wait_seconds": 30}

    def keep_secret(self, *, rotate: bool = False) -> None:
        """Make the project's secret, or give it a new version."""
        declared = [{"name": "shop_password", "kind": "password"}]
        params = {"path": str(self.store), "site_directory": str(self.site.directory), "secrets": declared}
        result = run_module("secrets", {**params, "rotate": ["shop_password"] if rotate else []})
        assert not result.failed, result.msg

    def secret(self) -> str:
        """Return the current value of the project's secret."""
        secret = json.loads(self.store.read_text())["secrets"]["shop_password"]
        version = secret["versions"][str(secret["current"])]
        return str(version["secret"][version["main"]])

    def container(self, service: str) -> Container:
        labels = [f"{PROJECT_LABEL}={self.name}", f"{SERVICE}={service}"]
        (found,) = self.engine.containers.list(all=True, filters={"label": labels})
        return found

    def seen(self) -> Seen:
        """Look into the app's container."""
        app = self.container("app")
        variables = dict(entry.split("=", 1) for entry in app.attrs["Config"]["Env"])
        file, secret = (self._content(app, f"/conf/{name}.txt") for name in ("plain", "secret"))
        return Seen(variables["VERSION"], variables["LEVEL"], file.strip(), secret)

    def _content(self, container: Container, path: str) -> str:
        output = container.exec_run(["cat", path]).output
        assert isinstance(output, bytes)
        return output.decode()

    def kept_tags(self) -> set[str]:
        """Return SERVICE:rNUMBER of the tags under which the releases keep their images."""
        return {re.sub(r".*/(.*)-[0-9a-f]{8}:", r"\1:", tag) for tag in self.kept_names()}

    def kept_names(self) -> set[str]:
        """Return these tags as the engine knows them."""
        found = self.engine.api.images(filters={"reference": f"modelyard.kept/{self.name}-*/*"})
        return {tag for image in found for tag in image["RepoTags"] or [] if tag.startswith("modelyard.kept/")}
