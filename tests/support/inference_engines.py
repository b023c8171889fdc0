# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engines of role inference as its own files describe them, and a site that services are rendered for."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._inference.render import SiteFacts

from support.tree import ROOT


def engines() -> dict[str, Any]:
    """Return the role's engines; images that its variables name stay as they are written there."""
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "roles/inference/defaults/main").glob("engine_*.yml")):
        [(name, engine)] = yaml.safe_load(path.read_text(encoding="utf-8")).items()
        found[name.removeprefix("__inference_engine_")] = engine
    return found


def facts(**more: Any) -> SiteFacts:
    """Return a site that pulls images, on a host of which nothing is known but what ``more`` says."""
    known: dict[str, Any] = {
        "domain": "lab.test", "prefix": "lab", "directory": "/opt/lab", "pulls_images": True,
        "recipes": {name: f"modelyard/{name.replace('_', '-')}:1" for name in ("osam", "osam_gpu", "llama_cpp")},
        "health_check": {"interval": "5s", "retries": 3}, "gpu_form": "nvidia", "has_gpus": None, "gateway": "",
        "memory_limit": "4g",
    }  # fmt: skip
    return SiteFacts(**{**known, **more})
