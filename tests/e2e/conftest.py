# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the end-to-end test: one site for all of it, and a container of somebody else."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import docker
import pytest
from docker.models.containers import Container
from support import images
from support.whole_site import BUNDLE, WholeSite


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """Yield a client; fail with the cause where no engine answers."""
    try:
        client = docker.from_env(version="auto", timeout=60)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"no Docker engine answers, run `make engine`: {error}", pytrace=False)
    yield client
    client.close()


@pytest.fixture(scope="session")
def foreign(engine: docker.DockerClient) -> Iterator[Container]:
    """Yield a container of somebody else on the same machine; the site comes and goes, and it stays as it is."""
    container = engine.containers.run(
        images.ensure(images.BASE), ["sleep", "infinity"], name=f"mytest-{secrets.token_hex(4)}-foreign", detach=True,
        init=True,
    )  # fmt: skip
    container.reload()
    started = container.attrs["State"]["StartedAt"]
    yield container
    container.reload()
    state = (container.status, container.attrs["State"]["StartedAt"])
    container.remove(force=True)
    assert state == ("running", started), "up, down or destroy touched a container of somebody else"


@pytest.fixture(scope="session")
def site(
    engine: docker.DockerClient, foreign: Container, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WholeSite]:
    """Yield the running site; remove it as its operator would."""
    whole = WholeSite(engine, tmp_path_factory.mktemp("whole"))
    whole.write_inventory()
    try:
        whole.up()
        yield whole
    finally:
        done = whole.play("-e", f"site_destroy_confirmed={whole.prefix}", playbook="playbooks/destroy.yml")
        assert done.rc == 0, done.output[-4000:]


@pytest.fixture(scope="session")
def client_environment(site: WholeSite) -> dict[str, str]:
    """Return what a client of MLflow exports, as the site's closing message says it."""
    return {
        "PATH": os.environ["PATH"], "HOME": str(site.folder),
        "MLFLOW_TRACKING_URI": site.url("mlflow"), "REQUESTS_CA_BUNDLE": BUNDLE,
        "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": site.secret("mlflow_admin_password"),
    }  # fmt: skip
