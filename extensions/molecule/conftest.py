# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of all scenarios share. Commands run on a host as root, by SSH as ``admin`` and sudo."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import molecule_hosts

#: What the site calls its folder and its names begin with.
PREFIX = "modelyard"
#: Open WebUI begins last: its own start takes most of this beside other work.
_BACK_SECONDS = 180
_ASK = """
import base64, http.client, json, ssl, sys, urllib.parse
asked = json.loads(sys.argv[1])
url = urllib.parse.urlsplit(asked["address"])
kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
connection = kind(url.hostname, url.port, timeout=120)
headers = {"Content-Type": "application/json"}
if asked["login"]:
    headers["Authorization"] = "Basic " + base64.b64encode(asked["login"].encode()).decode()
if asked["token"]:
    headers["Authorization"] = "Bearer " + asked["token"]
body = None if asked["body"] is None else json.dumps(asked["body"])
connection.request("GET" if body is None else "POST", url._replace(scheme="", netloc="").geturl() or "/", body, headers)
answer = connection.getresponse()
print(json.dumps({"status": answer.status, "headers": {k.lower(): v for k, v in answer.getheaders()},
                  "text": answer.read().decode(errors="replace")}))
"""


@dataclass(frozen=True)
class Answer:
    """What an address answered; names of headers in small letters."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass(frozen=True)
class Server:
    """A host with the site of a scenario."""

    #: Of testinfra.
    host: Any
    #: Its name in the inventory is that of its release.
    release: str

    def run(self, command: str) -> Any:
        """Run a line of a shell, and return what came of it, whatever that is."""
        return self.host.run(f"bash -c {shlex.quote(command)}")

    def must(self, command: str) -> str:
        """Run a line that has to succeed, and return its output."""
        done = self.run(command)
        assert done.rc == 0, f"{command}: {done.stdout}{done.stderr}"
        return str(done.stdout).strip()

    def inside(self, service: str, command: str) -> str:
        """Run a line in the container of a service such as ``postgres/db``."""
        project, _slash, name = service.partition("/")
        return self.must(f"docker exec -i {PREFIX}-{project}-{name}-1 {command}")

    def ask(self, address: str, *, login: str = "", token: str = "", body: object = None) -> Answer:
        """Return what an address answers to this host, its certificate verified, wherever it redirects to.

        :param login: user and password, with a colon between them.
        :param token: a key, or what a login gave, in the place of that.
        :param body: sent as JSON by ``POST``.
        """
        asked = json.dumps({"address": address, "login": login, "token": token, "body": body})
        return Answer(**json.loads(self.must(f"python3 -c {shlex.quote(_ASK)} {shlex.quote(asked)}")))

    def secret(self, name: str) -> str:
        """Return a secret as an operator sees it."""
        return self.must(f"modelyard secrets show {name}")

    def play(self, *arguments: str, limit: str = "") -> subprocess.CompletedProcess[str]:
        """Deploy the site of the scenario once more, on this host or where the limit says, and return what came of it.

        All that it wrote is in ``stdout``, on one line wherever Ansible wrapped it.
        """
        folder = Path(os.environ["MOLECULE_SCENARIO_DIRECTORY"])
        inventories = (folder.parent / "inventory/site.yml", folder / "site.yml", molecule_hosts.INVENTORY)
        done = subprocess.run(
            [str(Path(sys.prefix) / "bin/ansible-playbook"), *(f"--inventory={path}" for path in inventories),
             f"--limit={limit or self.release}", "modelyard.platform.site", *arguments],
            check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return subprocess.CompletedProcess(done.args, done.returncode, " ".join(done.stdout.split()))

    def containers(self) -> dict[str, str]:
        """Return the ids of the host's containers by their names."""
        listed = self.must("docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'")
        return dict(line.split() for line in listed.splitlines())

    def soon(self, command: str) -> str:
        """Repeat a line until it succeeds, and return its output."""
        deadline = time.monotonic() + _BACK_SECONDS
        while (done := self.run(command)).rc != 0:
            assert time.monotonic() < deadline, f"{command}: {done.stdout}{done.stderr}"
            time.sleep(0.5)
        return str(done.stdout).strip()

    def restart(self) -> dict[str, str]:
        """Restart the host, and wait until each container is healthy again, or runs, or has done its one task.

        It returns the containers of before.
        """
        before = self.containers()
        own = molecule_hosts.host_of(self.release)
        own.restart()
        molecule_hosts.check_address(own)
        self.soon("docker info")
        self.soon(
            "! docker ps --all --format '{{.Status}}' | grep -vE '^Up .*[(]healthy[)]|^Up [^(]*$|^Exited [(]0[)]'"
        )
        return before


@pytest.fixture(scope="module")
def server(host: Any) -> Server:
    return Server(host, os.environ["MOLECULE_RELEASE"])


@pytest.fixture(scope="module")
def neighbour(server: Server) -> Server:
    """Return the other host, for a site that is on both."""
    (other,) = (host for host in molecule_hosts.known_hosts() if host.release != server.release)
    address = molecule_hosts.inventory_of(other)["ansible_host"]
    config = str(molecule_hosts.SSH_CONFIG)
    return Server(server.host.get_host(f"ssh://admin@{address}", ssh_config=config, sudo=True), other.release)


@pytest.fixture(scope="module")
def restarted(server: Server) -> Callable[[], dict[str, str]]:
    """Return what restarts the host. Only the last test of a file uses it."""
    return server.restart
