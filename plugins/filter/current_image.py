# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: current_image
short_description: Tell whether a recipe's image is on a host already
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Gives the reference of the packaged image that M(modelyard.platform.image) would build from a recipe, if it is the
    current one on a host, so that a role can leave out the task. An image's tag is the digest of what it is built from,
    which is known before any host is asked.
options:
  _input:
    description: The recipe, with the options of M(modelyard.platform.image).
    type: dict
    required: true
  host:
    description:
      - What module M(modelyard.platform.preflight) has found on the host, as C(architecture) and C(images). With
        nothing, no image is known to be there.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Build the packaged image
  modelyard.platform.image:
    name: "{{ recipe.name }}"
    base: "{{ recipe.base }}"
    files: "{{ recipe.files }}"
  when: not recipe | modelyard.platform.current_image(site_built)
"""

RETURN = r"""
_value:
  description: The image's reference; empty where it has to be built, or nobody knows.
  type: str
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.base import BASE_DEFAULTS, parse_base
from ansible_collections.modelyard.platform.plugins.module_utils._image.recipe import parse_recipe


def current_image(recipe: Mapping[str, Any], host: Mapping[str, Any]) -> str:
    """Return the reference of a recipe's image where the host has it; what is wrong with a recipe the module says."""
    if not host:
        return ""
    base = {**BASE_DEFAULTS, **recipe["base"]}
    try:
        found = parse_recipe(
            name=recipe["name"],
            base=parse_base(base, architecture=host["architecture"]),
            folder=None,
            files=recipe["files"],
            arguments=recipe.get("arguments", {}),
        )
    except PlatformError:
        return ""
    return found.reference if found.reference in host["images"] else ""


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Map name to filter."""
        return {"current_image": current_image}
