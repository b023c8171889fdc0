# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Traefik before the containers of a test: the program of the venv in a container of the site."""

from __future__ import annotations

import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from support.site import Site

PROGRAM = Path(sys.prefix) / "bin" / "traefik"
ROUTER_PORT = 80
API_PORT = 8080
READY_SECONDS = 30.0


class Traefik:
    """Routes by the files in ``folder``; reached at its address on a network of its own."""

    def __init__(self, engine: docker.DockerClient, site: Site, image: str) -> None:
        self.folder = site.directory / "edge"
        self.folder.mkdir()
        front = site.name("front")
        engine.networks.create(front)
        self.container: Container = engine.containers.run(
            image,
            ["/traefik", f"--entrypoints.web.address=:{ROUTER_PORT}", "--api.insecure=true",
             "--providers.file.directory=/edge", "--global.checknewversion=false",
             "--global.sendanonymoususage=false", "--serverstransport.forwardingtimeouts.idleconntimeout=2s"],
            name=site.name("traefik"), network=front, detach=True, init=True,
            volumes=[f"{PROGRAM}:/traefik:ro", f"{self.folder}:/edge:ro"],
        )  # fmt: skip
        self.container.reload()
        self.address: str = self.container.attrs["NetworkSettings"]["Networks"][front]["IPAddress"]
        self.api = f"http://{self.address}:{API_PORT}"
        self._wait_ready()

    def join(self, engine: docker.DockerClient, network: str) -> None:
        """Reach the containers of a network by their names."""
        engine.networks.get(network).connect(self.container)

    def wait_for(self, status: int) -> None:
        """Wait until the routes lead to something that answers with ``status``."""
        self._wait(f"http://{self.address}:{ROUTER_PORT}/", status)

    def _wait_ready(self) -> None:
        self._wait(f"{self.api}/api/version", 200)

    def _wait(self, url: str, status: int) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + READY_SECONDS
        found: object = None
        while time.monotonic() < deadline:
            try:
                with opener.open(url, timeout=2) as answer:
                    found = answer.status
            except OSError as error:
                found = getattr(error, "code", error)
            if found == status:
                return
            time.sleep(0.1)
        raise AssertionError(f"{url} answers {found} instead of {status}: {self.container.logs(tail=5)!r}")


def route_to(service: str, port: int) -> dict[str, Any]:
    """Return Traefik's dynamic configuration that sends every request to ``service``."""
    return {
        "http": {
            "routers": {service: {"rule": "PathPrefix(`/`)", "service": service, "entryPoints": ["web"]}},
            "services": {service: {"loadBalancer": {"servers": [{"url": f"http://{service}:{port}"}]}}},
        }
    }
