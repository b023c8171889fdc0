# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of more than one kind share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from docker import DockerClient


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """Yield a client of an engine that answers; without one the tests fail with the cause, they do not skip."""
    import docker  # here, because unit tests go without
    from support.exec_output import keep_early_output

    keep_early_output()
    try:
        client = docker.from_env(version="auto", timeout=60)
        client.ping()
    except docker.errors.DockerException as error:
        pytest.fail(f"no Docker engine answers, run `make engine`: {error}", pytrace=False)
    yield client
    client.close()
