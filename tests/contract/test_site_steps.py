# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which order a site's roles are applied, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evaluated import evaluate, read

ORDER = ["site", "docker", "traefik", "postgres", "gateway", "inference", "homepage", "firewall"]


def steps(state: str, order: list[str], folder: Path) -> Any:
    """Return the roles in the order in which they are applied."""
    names = ("__site_steps", "__site_loop", "__site_guards", "__site_wakers", "__site_preparers")
    variables = {"site_state": state, "site_order": order}
    return evaluate(read("site/vars/main.yml", *names), variables, folder)["__site_steps"]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("present", ["firewall", "traefik", "postgres", "gateway", "inference", "homepage", "firewall"]),
        # The gateway would start a model again for whoever asks.
        ("stopped", ["gateway", "homepage", "inference", "postgres", "traefik", "firewall"]),
        ("absent", ["gateway", "homepage", "inference", "postgres", "traefik", "firewall"]),
    ],
)
def test_who_starts_containers_of_others_is_stopped_before_them(
    state: str, expected: list[str], tmp_path: Path
) -> None:
    assert steps(state, ORDER, tmp_path) == expected


@pytest.mark.parametrize(
    ("state", "expected"), [("present", ["nvidia", "traefik", "gateway"]), ("absent", ["gateway", "traefik", "nvidia"])]
)
def test_gpus_are_known_before_whoever_shares_them_out(state: str, expected: list[str], tmp_path: Path) -> None:
    assert steps(state, ["site", "docker", "traefik", "gateway", "nvidia"], tmp_path) == expected
