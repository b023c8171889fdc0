# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of the GPUs that roles ask for: of preflight, of role nvidia, and of how services ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evaluated import evaluate, read

WANT = {"service": "chat", "gpus": ["0"], "vram_mib": {"0": 24000}, "fallback": False}
OTHER = {"service": "masks", "gpus": ["1"]}


def test_a_host_is_asked_for_what_its_own_services_want(tmp_path: Path) -> None:
    needs = [
        {"role": "any", "host": host, "at": host, "data": data}
        for host, data in (("localhost", WANT), ("elsewhere", OTHER))
    ]
    expressions = {**read("site/vars/main.yml", "__site_gpu_wants"), **read("nvidia/vars/main.yml", "__nvidia_wants")}
    seen = evaluate(expressions, {"site_needs": {"gpu": needs}}, tmp_path)
    assert seen == {"__site_gpu_wants": [WANT], "__nvidia_wants": [WANT]}
    assert evaluate(expressions, {"site_needs": {}}, tmp_path) == {"__site_gpu_wants": [], "__nvidia_wants": []}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"site_gpu_request": "cdi"}, "cdi"),
        ({"site_gpu_request": "nvidia", "site_gpus": {"request": "cdi"}}, "nvidia"),
        ({"site_gpu_request": "auto", "site_gpus": {"request": "cdi"}}, "cdi"),
        ({"site_gpu_request": "auto", "site_gpus": {}}, "nvidia"),
        ({"site_gpu_request": "auto"}, "nvidia"),
        ({"site_gpu_request": "auto", "site_gpus": {"request": "nvidia"},
          "ansible_facts": {"modelyard_gpu": {"request": "cdi"}}}, "cdi"),
    ],
    ids=["asked for", "asked for against what was found", "by preflight", "no card", "nobody looked", "by role nvidia"],
)  # fmt: skip
def test_how_services_ask_follows_what_was_found(variables: dict[str, Any], expected: str, tmp_path: Path) -> None:
    expressions = read("site/defaults/main/site.yml", "__site_gpu_request")
    assert evaluate(expressions, variables, tmp_path) == {"__site_gpu_request": expected}
