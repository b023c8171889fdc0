# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Role open_webui on a site of its own: its database by role postgres, a gate, and an inference service behind it."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from support import images
from support.ports import free_ports
from support.role_run import RoleRun, SiteOfRoles
from support.site import Site
from support.stand_ins import CHAT_GATE

ADMIN = "admin@lab.test"
SECRETS: list[dict[str, Any]] = [
    {"name": "postgres_superuser", "kind": "password"},
    {"name": "open_webui_admin_password", "kind": "password", "length": 20},
    {"name": "open_webui_database_password", "kind": "password", "length": 32},
    {"name": "open_webui_secret_key", "kind": "hex", "length": 64},
    {"name": "gateway_key_open_webui_1", "kind": "api_key"},
    {"name": "login_of_others", "kind": "token"},
]
_ROLE = {"name": "open_webui", "password": "@@secret:open_webui_database_password@@"}
_NEED = {"role": _ROLE, "databases": [{"name": "open_webui", "owner": "open_webui"}]}
#: As the plan of a site has it.
NEEDS = {
    "database": [{"role": "open_webui", "host": "localhost", "at": "localhost", "data": _NEED}],
    "api_client": [
        {
            "role": "open_webui",
            "host": "localhost",
            "at": "localhost",
            "data": {"name": "open_webui", "scopes": ["chat"]},
        }
    ],
}


@dataclass(frozen=True)
class Answer:
    """What a path answered."""

    status: int
    text: str

    @property
    def content(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Chat:
    """The running site, and how to change and ask it."""

    roles: SiteOfRoles

    @property
    def site(self) -> Site:
        return self.roles.site

    @property
    def folder(self) -> Path:
        return self.site.directory / "projects" / self.site.name("open-webui")

    def container(self, service: str = "server") -> Container:
        return self.site.engine.containers.get(f"{self.site.name('open-webui')}-{service}-1")

    def ids(self) -> dict[str, str]:
        return {service: str(self.container(service).id) for service in ("server", "schema", "admin", "storage")}

    def apply(self, *, check: bool = False, **variables: Any) -> RoleRun:
        """Apply the role, whatever comes of it."""
        return self.roles.run("open_webui", secrets=SECRETS, check=check, **variables)

    def must_apply(self, *, check: bool = False, **variables: Any) -> RoleRun:
        done = self.apply(check=check, **variables)
        assert done.rc == 0, done.output[-3000:]
        return done

    def secret(self, name: str) -> str:
        """Return the value that counts now, as the store has it."""
        stored = json.loads(self.roles.secret_store.read_text(encoding="utf-8"))["secrets"][name]
        return str(stored["versions"][str(stored["current"])]["secret"]["value"])

    def ask(self, path: str, body: Mapping[str, Any] | None = None, *, token: str = "") -> Answer:
        """Return the answer to GET, or with a body to POST, as the edge would get it."""
        container = self.container()
        address = container.attrs["NetworkSettings"]["Networks"][self.site.name("edge")]["IPAddress"]
        connection = http.client.HTTPConnection(address, 8080, timeout=60)
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        connection.request(
            "GET" if body is None else "POST", path, json.dumps(body) if body is not None else None, headers
        )
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return Answer(answer.status, text)

    def log_in(self, password: str, email: str = ADMIN) -> Answer:
        return self.ask("/api/v1/auths/signin", {"email": email, "password": password})

    def token(self) -> str:
        """Return what the administrator is known by after a login with the password of the store."""
        answer = self.log_in(self.secret("open_webui_admin_password"))
        assert answer.status == 200, answer.text
        return str(answer.content["token"])

    def say(self, text: str, *, token: str, stream: bool = False) -> Answer:
        """Return what the model ``chat`` answers to a message."""
        body = {"model": "chat", "stream": stream, "messages": [{"role": "user", "content": text}]}
        return self.ask("/api/chat/completions", body, token=token)

    def requests_at_the_gate(self) -> list[dict[str, Any]]:
        """Return what the gate was asked so far, and whether it admitted it."""
        said: Any = self.site.engine.containers.get(self.site.name("gateway-pod-1")).logs()
        return [json.loads(line) for line in said.splitlines()]

    def reaches(self, url: str, *, key: str = "") -> str:
        """Return the status that an address answers to a program in the container, or the name of what went wrong."""
        headers = f"{{'Authorization': 'Bearer {key}'}}" if key else "{}"
        script = (
            "import urllib.request as u, urllib.error as e\n"
            f"try: print(u.urlopen(u.Request('{url}', headers={headers}), timeout=4).status)\n"
            "except e.HTTPError as error: print(error.code)\n"
            "except OSError as error: print(type(error).__name__)"
        )
        output: Any = self.container().exec_run(["python", "-c", script]).output
        return str(output.decode().strip())

    def address_of_engine(self) -> str:
        engine = self.site.engine.containers.get(self.site.name("engine"))
        return str(engine.attrs["NetworkSettings"]["Networks"][self.site.name("inference")]["IPAddress"])

    def start_gate(self) -> None:
        """Run an inference service in a network of its own, and the gate in that one and in the edge's."""
        inference = self.site.engine.networks.create(self.site.name("inference"), internal=True)
        edge = self.site.engine.networks.get(self.site.name("edge"))
        key = hashlib.sha256(self.secret("gateway_key_open_webui_1").encode()).hexdigest()
        image = images.ensure(CHAT_GATE)
        gate = ("gateway-pod-1", ["gate", self.site.name("engine"), key])
        for name, command in (("engine", ["engine"]), gate):
            made = self.site.engine.containers.create(image, command, name=self.site.name(name), network=inference.name)
            if name != "engine":
                edge.connect(made)
            made.start()
        self.site.engine.containers.get(self.site.name("engine")).reload()


@contextmanager
def running_chat(engine: docker.DockerClient, folder: Path, **variables: Any) -> Iterator[Chat]:
    """Yield the site, deployed; all of it goes with the end."""
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    values = {
        "site_domain": "lab.test", "site_ports": {"edge_api": free_ports(1)[0], "postgres": 5432, "https": 443},
        "__site_url_port": "", "site_needs": NEEDS, **variables,
    }  # fmt: skip
    chat = Chat(SiteOfRoles(site, folder, values))
    try:
        made = chat.roles.run("postgres", secrets=SECRETS, site_images="packages")
        assert made.rc == 0, made.output[-3000:]
        chat.must_apply()
        chat.start_gate()
        yield chat
    finally:
        site.remove()
