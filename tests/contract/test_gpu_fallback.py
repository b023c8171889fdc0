# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service with ``cpu_fallback``: which image is built, and which one runs, by what is known of the host's GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.rendered import render

FILES = [
    {"part": part, "url": f"/srv/{part}.onnx", "sha256": digit * 64}
    for part, digit in (("encoder", "a"), ("decoder", "b"))
]
FIELDS = {
    "name": "fields", "engine": "osam", "gpus": [0], "vram_mib": 4000, "cpu_fallback": True,
    "model": {"name": "efficientsam:10m", "kind": "efficientsam", "files": FILES},
}  # fmt: skip
CARD = {"gpus": [{"index": 0, "uuid": "GPU-1", "memory_mib": 24000}], "request": "nvidia"}
NO_CARD: dict[str, Any] = {"gpus": [], "request": "nvidia"}


@pytest.mark.parametrize(
    ("known", "recipe", "is_on_gpu"),
    [
        ({"site_gpus": NO_CARD}, "osam", False),
        ({"site_gpus": CARD}, "osam_gpu", True),
        ({"site_gpus": NO_CARD, "ansible_facts": {"modelyard_gpu": CARD}}, "osam_gpu", True),
    ],
    ids=["none", "one", "one, since role nvidia has prepared the host"],
)
def test_the_image_that_is_built_is_the_one_that_runs(
    known: dict[str, Any], recipe: str, is_on_gpu: bool, tmp_path: Path
) -> None:
    values = {
        "site_domain": "lab.test", "site_tls": "local_ca", "site_images": "packages", "site_needs": {},
        "inference_services": [FIELDS], "inference_overrides": {"x-built": "{{ __inference_there.keys() | list }}"},
        **known,
    }  # fmt: skip
    project = render(["inference"], values, tmp_path)["inference"]
    found = project.services["fields"]
    assert project.options["layers"][-1]["x-built"] == [recipe]
    assert found["image"] == f"modelyard/{recipe}:unbuilt", "it was built from that"
    assert ("deploy" in found) is is_on_gpu
