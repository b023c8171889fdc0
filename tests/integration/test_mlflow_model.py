# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small model that is registered in MLflow is served, called, its alias moved, and called again.

MLflow, its reader and what the model runs in are those of the roles; the model adds a number to what it is given.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support.adding_model import REGISTER, URI
from support.declared import BuiltImage, address, build, wait_healthy
from support.modules import ROOT, ModuleResult, run_module
from support.recipes import packaged
from support.site import Site

pytestmark = pytest.mark.long

HOST = "mlflow.lab.test"
READER, PASSWORD = "inference", "of-the-reader-and-long"
USERS = f"""\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:////data/users.db
admin_username = admin
admin_password = {PASSWORD}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@dataclass(frozen=True)
class Tracking:
    """The server, and what is done with it."""

    site: Site
    image: BuiltImage
    server: Container

    def register(self, number: int) -> None:
        """Register a version that adds so much, as the alias ``champion``."""
        environment = {
            "MLFLOW_TRACKING_URI": f"http://{HOST}:5000", "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": PASSWORD, "HOME": "/tmp",
        }  # fmt: skip
        self.site.engine.containers.run(
            self.image.reference, ["python", "-c", REGISTER, str(number)], name=self.site.name("client"), remove=True,
            network=self.site.name("net"), environment=environment, extra_hosts={HOST: address(self.server)},
        )  # fmt: skip

    def have(self, *, check: bool = False, password: str = PASSWORD) -> ModuleResult:
        """Bring the model to this host by the module."""
        registry = {
            "url": f"http://{HOST}:5000",
            "username": READER,
            "password": password,
            "address": address(self.server),
        }
        options = {"directory": str(self.site.directory), "registry": registry,
                   "models": [{"service": "adds", "uri": URI}]}  # fmt: skip
        return run_module("mlflow_model", options, check=check)

    def ask(self, path: str, body: dict[str, Any], *, method: str = "POST") -> int:
        """Return the status that the reader gets."""
        connection = http.client.HTTPConnection(address(self.server), 5000, timeout=30)
        login = base64.b64encode(f"{READER}:{PASSWORD}".encode()).decode()
        headers = {"Host": f"{HOST}:5000", "Authorization": f"Basic {login}", "Content-Type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, f"/api/2.0/mlflow/{path}", json.dumps(body), headers)
            return connection.getresponse().status


@pytest.fixture
def tracking(site: Site) -> Iterator[Tracking]:
    image = build(packaged("mlflow"), site.directory)
    site.engine.networks.create(site.name("net"))
    (site.directory / "data").mkdir()
    (site.directory / "data").chmod(0o777)
    texts = {"basic_auth.ini": USERS, "readers": f"{READER}:{PASSWORD}\n", "flask_key": "f" * 64,
             "set_admin.py": (ROOT / "roles/mlflow/files/set_admin.py").read_text(encoding="utf-8")}  # fmt: skip
    files = {f"/run/secrets/{name}": image.secret_file(site, name, text) for name, text in texts.items()}
    files_and_data: dict[str, Any] = {
        "files": files, "environment": {"MLFLOW_AUTH_CONFIG_PATH": "/run/secrets/basic_auth.ini"},
        "network": site.name("net"), "mounts": [docker.types.Mount("/data", str(site.directory / "data"), type="bind")],
    }  # fmt: skip
    users = image.run(site, "users", command=["python", "/run/secrets/set_admin.py"], **files_and_data)
    assert users.wait(timeout=120)["StatusCode"] == 0, users.logs().decode()
    arguments = ["--app-name=basic-auth", "--host=0.0.0.0", "--port=5000", "--workers=1", "--serve-artifacts",
                 "--backend-store-uri=sqlite:////data/runs.db", "--artifacts-destination=/data/artifacts",
                 f"--allowed-hosts={HOST},{HOST}:*"]  # fmt: skip
    server = image.run(site, "mlflow", command=[*image.packaged.contract["command"], *arguments], **files_and_data)
    wait_healthy(server, seconds=120)
    yield Tracking(site, image, server)
    site.remove()


def serve(site: Site, model: dict[str, Any], name: str) -> Container:
    """Build what a model runs in, and run it as an engine does."""
    base = json.loads(json.dumps(packaged("mlflow").recipe["base"])) | {"suite": model["image"]["suite"]}
    options = {"name": "modelyard/mlflow-model", "base": base, "files": model["image"]["files"],
               "smoke": ["mlflow --version"], "directory": str(site.directory)}  # fmt: skip
    built = run_module("image", options, timeout=600)
    assert not built.failed, built.msg
    probe = "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/ping', timeout=4)"
    second = 10**9
    container: Container = site.engine.containers.run(
        built["image"], name=site.name(name), detach=True, init=True, read_only=True, cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"], tmpfs={"/tmp": ""}, network=site.name("net"),
        volumes=[f"{model['path']}:/models:ro"],
        healthcheck={"test": ["CMD", "python", "-c", probe], "interval": second, "timeout": 5 * second, "retries": 120},
    )  # fmt: skip
    wait_healthy(container, seconds=120)
    return container


def predict(container: Container, numbers: list[int]) -> Any:
    connection = http.client.HTTPConnection(address(container), 8080, timeout=30)
    with contextlib.closing(connection):
        connection.request(
            "POST", "/invocations", json.dumps({"inputs": numbers}), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        text = answer.read().decode()
    assert answer.status == 200, text
    return json.loads(text)["predictions"]


def test_a_registered_model_is_served_and_a_moved_alias_is_another_one(tracking: Tracking) -> None:
    tracking.register(10)
    first = tracking.have()
    assert not first.failed, first.msg
    assert (first.changed, first["models"]["adds"]["version"]) == (True, "1")
    assert predict(serve(tracking.site, first["models"]["adds"], "first"), [1, 2]) == [11, 12]
    again = tracking.have()
    assert (again.failed, again.changed) == (False, False)

    tracking.register(20)
    drift = tracking.have(check=True)
    assert [step["reason"] for step in drift["plan"]] == ["models:/adds@champion is version 2, and version 1 is served"]
    second = tracking.have()
    assert second["models"] == drift["models"], "check mode knows what comes"
    assert second["models"]["adds"]["image"] == first["models"]["adds"]["image"], "what it runs in is there already"
    assert predict(serve(tracking.site, second["models"]["adds"], "second"), [1, 2]) == [21, 22]


def test_the_reader_changes_nothing(tracking: Tracking) -> None:
    tracking.register(10)
    alias = {"name": "adds", "alias": "champion", "version": "1"}
    assert tracking.ask("registered-models/alias", alias) == 403
    assert tracking.ask("registered-models/delete", {"name": "adds"}, method="DELETE") == 403
    assert tracking.ask("runs/create", {"experiment_id": "1"}) == 403
    refused = tracking.have(password="of-nobody-at-all")
    assert "it answers 401 to user 'inference'" in refused.msg
    assert Path(tracking.site.directory / "models").exists() is False
