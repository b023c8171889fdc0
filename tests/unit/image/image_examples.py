# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recipes and recorded output that several tests of images start from."""

from __future__ import annotations

from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._image.base import BASE_DEFAULTS, Base, parse_base
from ansible_collections.modelyard.platform.plugins.module_utils._image.recipe import Recipe, parse_recipe

DOCKERFILE = "ARG BASE\nFROM ${BASE}\nCOPY run.sh /run.sh\n"


def base_data(**changes: Any) -> dict[str, Any]:
    """Return the module's ``base`` option with its defaults."""
    return {"suite": "trixie", **BASE_DEFAULTS, **changes}


def make_base(*, architecture: str = "x86_64", **changes: Any) -> Base:
    return parse_base(base_data(**changes), architecture=architecture)


def make_recipe(
    *,
    name: str = "mytest/tool",
    base: Base | None = None,
    files: dict[str, str] | None = None,
    arguments: dict[str, Any] | None = None,
) -> Recipe:
    return parse_recipe(
        name=name,
        base=base or make_base(),
        folder=None,
        files={"Dockerfile": DOCKERFILE, "run.sh": "#!/bin/sh\n"} if files is None else files,
        arguments=arguments or {},
    )
