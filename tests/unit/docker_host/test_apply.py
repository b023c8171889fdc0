# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a failed installation is told as."""

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.machine import telling_unreached
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed

NO_CANDIDATE = "Cannot run apt-get install: E: Package 'docker.io' has no installation candidate; mend that first."


def failing(updated: Completed) -> None:
    with telling_unreached(updated):
        raise PlatformError(NO_CANDIDATE)


def test_what_apt_could_not_fetch_is_the_cause() -> None:
    said = (
        "W: Failed to fetch http://user:word@mirror.example.org/debian/dists/bookworm/InRelease  "
        "Temporary failure resolving 'mirror.example.org'\n"
        "W: Some index files failed to download. They have been ignored, or old ones used instead.\n"
    )
    with pytest.raises(PlatformError) as caught:
        failing(Completed(0, "", said))
    assert str(caught.value) == (
        "Cannot install packages: apt cannot fetch http://***@mirror.example.org/debian/dists/bookworm/InRelease "
        "(Temporary failure resolving 'mirror.example.org'); let the host reach its apt sources, or correct them, then "
        "run again."
    )


def test_where_all_was_fetched_apt_has_the_word() -> None:
    with pytest.raises(PlatformError) as caught:
        failing(Completed(0, "Get:1 http://mirror.example.org/debian bookworm InRelease [151 kB]\n", ""))
    assert str(caught.value) == NO_CANDIDATE
