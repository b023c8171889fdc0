# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks that are gone although a container that does not run is to be in them, as after ``docker network prune``.

The engine starts no such container. Once it has run it knows its networks by id, so it would not take one that was
made anew under the name. Imports next to nothing: the quick look asks this too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

#: The engine takes these by name, whatever their id.
_ALWAYS_THERE = frozenset({"bridge", "default", "host", "none"})
_AT_WORK = frozenset({"running", "paused", "restarting"})


def awaited_networks(container: Mapping[str, Any]) -> dict[str, str]:
    """Map the name of each network that a listed container needs to start to its id; to its name if it never ran."""
    if container["State"] in _AT_WORK:
        return {}
    networks = (container.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        name: (settings or {}).get("NetworkID") or name
        for name, settings in networks.items()
        if name not in _ALWAYS_THERE
    }


def known_networks(listed: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names and the ids of the networks that the engine lists."""
    return frozenset(network[key] for network in listed for key in ("Id", "Name"))


def lost_networks(container: Mapping[str, Any], known: Collection[str]) -> tuple[str, ...]:
    """Return the names of the networks that a listed container needs to start and that are gone."""
    return tuple(sorted(name for name, found in awaited_networks(container).items() if found not in known))
