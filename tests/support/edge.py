# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site's edge that role traefik has made, and a client that verifies its certificates."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.modelyard.platform.plugins.filter.traefik_routes import traefik_routes
from docker.models.containers import Container

from support.modules import ModuleResult, run_module
from support.role_run import RoleRun, SiteOfRoles
from support.stored_secret import current_value

DOMAIN = "edge.test"
#: The secrets of the administrator, which every kind of TLS needs.
ADMIN_SECRETS: list[dict[str, Any]] = [
    {"name": "traefik_admin_password", "kind": "password", "length": 16},
    {"name": "traefik_admin_login", "kind": "htpasswd", "of": "traefik_admin_password", "user": "admin"},
]
#: What a route needs until Traefik serves it: it waits for its folder to be quiet.
ROUTE_SECONDS = 15.0


@dataclass(frozen=True)
class Edge:
    """A running edge, and how to speak to it."""

    roles: SiteOfRoles
    ports: dict[str, int]
    first: RoleRun
    secrets: list[dict[str, Any]]
    #: The certificate (PEM) of the authority that clients trust.
    ca: str

    @property
    def project(self) -> str:
        return self.roles.site.name("traefik")

    def again(self, **more: Any) -> RoleRun:
        """Run the role once more."""
        return self.roles.run("traefik", secrets=self.secrets, **more)

    def secret(self, name: str) -> str:
        """Return the value that counts now, as the store has it."""
        return current_value(self.roles.secret_store.read_text(encoding="utf-8"), name)

    def container(self, service: str) -> Container:
        return self.roles.site.engine.containers.get(f"{self.project}-{service}-1")

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca)
        # What Python 3.13 asks for by default.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def connect(self, host: str) -> http.client.HTTPSConnection:
        """Return a verified connection to a name of the site."""
        connection = http.client.HTTPSConnection(host, self.ports["https"], timeout=40)
        with contextlib.ExitStack() as on_failure:
            raw = on_failure.enter_context(socket.create_connection(("127.0.0.1", self.ports["https"]), timeout=40))
            connection.sock = self.context().wrap_socket(raw, server_hostname=host)
            on_failure.pop_all()
        return connection

    def ask(self, host: str, path: str = "/", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        """Return status, body and headers of a verified request."""
        with contextlib.closing(self.connect(host)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace"), answer.headers

    def wait_for(self, host: str, status: int, *, seconds: float = ROUTE_SECONDS) -> None:
        """Wait until the name answers so, with a certificate that is trusted."""
        deadline = time.monotonic() + seconds
        while (found := self._try(host)) != status:
            assert time.monotonic() < deadline, f"{host} answers {found}, not {status}"
            time.sleep(0.2)

    def _try(self, host: str) -> object:
        try:
            return self.ask(host)[0]
        except (ssl.SSLError, ConnectionError) as error:
            return error

    def route(self, project: str, image: str, **route: Any) -> ModuleResult:
        """Apply a project of the fixture app with one route, as another role would."""
        site = self.roles.site
        declared = {"name": project, "hosts": [f"{project}.{DOMAIN}"], "service": "web", "port": 8080, **route}
        return run_module(
            "compose_project",
            {
                "name": site.name(project), "directory": str(site.directory), "pull": "never",
                "layers": [{"services": {"web": {"image": image, "networks": ["edge"]}},
                            "networks": {"edge": {"external": True, "name": site.name("edge")}}}],
                "networks": [{"name": site.name("edge")}],
                "edge": {"file": f"{site.directory}/edge/routes/{project}.yml", "config": traefik_routes([declared]),
                         "api": f"http://127.0.0.1:{self.ports['edge_api']}"},
            },
        )  # fmt: skip
