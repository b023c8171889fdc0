# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pulls that do not come to an end, and those that cannot begin."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project_images import pull_image
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            subprocess.TimeoutExpired(["docker"], 3600.0),
            "it was not here within 3600 s; look at the way to its registry, and run again.",
        ),
        (FileNotFoundError(2, "No such file"), "there is no program 'docker'; install docker-ce-cli or docker.io."),
    ],
)
def test_a_pull_that_does_not_end_is_told(error: Exception, cause: str) -> None:
    def run(*_: Any, **__: Any) -> Any:
        raise error

    with pytest.raises(PlatformError) as caught:
        pull_image(run, "web", "shop:1", inherit=())
    assert str(caught.value) == f"Cannot pull image 'shop:1' for service 'web': {cause}"
