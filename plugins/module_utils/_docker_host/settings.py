# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine's settings (``daemon.json``): what is there stays, what is missing is added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .._errors import PlatformError

USUAL_MTU = 1500

# What a running engine takes over on SIGHUP. Source: dockerd's manual, "Configuration reload behavior". It names
# "features" too, but containerd's store and the driver of CDI are chosen at the start alone (moby#49990).
_RELOADABLE = frozenset({
    "debug", "labels", "live-restore", "max-concurrent-downloads", "max-concurrent-uploads",
    "max-download-attempts", "default-runtime", "runtimes", "authorization-plugins", "insecure-registries",
    "registry-mirrors", "shutdown-timeout",
})  # fmt: skip
# Drivers that rotate by these two options.
_ROTATING = ("json-file", "local")
_ROTATION = {"max-size": "10m", "max-file": "3"}


def parse_settings(text: str, path: str) -> dict[str, Any]:
    """Return the settings that a file holds; an empty file holds none.

    :raises PlatformError: it is no JSON object.
    """
    if not text.strip():
        return {}
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise PlatformError(
            f"Cannot read the engine's settings in {path}: {error}; correct the file, the engine cannot read it either."
        ) from None
    if not isinstance(settings, dict):
        raise PlatformError(f"Cannot read the engine's settings in {path}: it is no JSON object; make it one.")
    return settings


def merge_settings(found: Mapping[str, Any], *, mtu: int, is_swarm: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``found`` with ours where it says nothing, and with ``options`` whatever it says.

    :param is_swarm: the engine is in a Swarm, which refuses to start with live-restore.
    """
    merged = dict(found)
    if found.get("log-driver", "json-file") in _ROTATING:
        merged.setdefault("log-driver", "json-file")
        merged["log-opts"] = {**_ROTATION, **(found.get("log-opts") or {})}
    if not is_swarm:
        merged.setdefault("live-restore", True)
    if mtu != USUAL_MTU:
        merged.setdefault("mtu", mtu)
    return merge(merged, options)


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` with all that ``above`` says, mappings within mappings too."""
    merged = dict(below)
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def render_settings(settings: Mapping[str, Any]) -> str:
    """Return the file's text."""
    return json.dumps(settings, indent=2) + "\n"


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names whose values differ, sorted."""
    return tuple(sorted(key for key in {*before, *after} if before.get(key) != after.get(key)))


def needs_restart(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return those that a running engine only takes over when it starts."""
    return tuple(key for key in keys if key not in _RELOADABLE)
