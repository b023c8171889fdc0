# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests; each module of ``support`` says more.

============== ========================================================================================
``engine``     a Docker SDK client of an engine that answers; without one the tests fail, they do not skip
``site``       a folder and a unique prefix; what the test makes under them is removed at its end
``proxy``      a recording proxy before the engine's socket
``app_images`` references of the fixture app: ``v1``, ``v2``, ``broken``
``base_image`` an image that sleeps
``postgres_image`` a PostgreSQL without passwords
``seed``       what chance starts from; in the header, set by ``MODELYARD_TEST_SEED`` to repeat a run
============== ========================================================================================
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from support import images
from support.proxy import RecordingProxy
from support.site import Site

SEED = int(os.environ.get("MODELYARD_TEST_SEED") or secrets.randbelow(2**32))


def pytest_report_header() -> str:
    return f"seed: {SEED} (MODELYARD_TEST_SEED={SEED} repeats it)"


@pytest.fixture(scope="session")
def seed() -> int:
    """Return what chance starts from."""
    return SEED


@pytest.fixture
def site(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Site]:
    """Yield a site of its own; remove what it made."""
    directory = tmp_path / "site"
    directory.mkdir()
    own = Site(engine, directory)
    yield own
    own.remove()


@pytest.fixture
def proxy(engine: docker.DockerClient, tmp_path: Path) -> Iterator[RecordingProxy]:
    """Yield a running proxy; its ``docker_host`` goes into the environment of what is watched."""
    # A unix socket's path has 107 bytes at most; pytest's folders can be longer.
    with RecordingProxy(Path(f"/tmp/{tmp_path.name[-20:]}-{id(tmp_path):x}.sock")) as running:
        yield running


@pytest.fixture(scope="session")
def app_images(engine: docker.DockerClient) -> dict[str, str]:
    """Return the references of the app by version: ``v1``, ``v2``, ``broken``."""
    return {image.version: images.ensure(image) for image in (images.APP_V1, images.APP_V2, images.APP_BROKEN)}


@pytest.fixture(scope="session")
def base_image(engine: docker.DockerClient) -> str:
    """Return the reference of an image with Python that sleeps."""
    return images.ensure(images.BASE)


@pytest.fixture(scope="session")
def postgres_image(engine: docker.DockerClient) -> str:
    """Return the reference of a PostgreSQL that serves on its socket and on its networks without a password."""
    return images.ensure(images.POSTGRES)
