# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway of a site was given when the site was deployed: its services, and the keys that are declared."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._compose.site import damaged, read_json
from .._errors import PlatformError
from .times import parse_time

_SERVICES = "services.json"


@dataclass(frozen=True)
class DeclaredKey:
    """A key of a client that the inventory or a role declares."""

    id: str
    scopes: tuple[str, ...]
    not_after: int | None = None


@dataclass(frozen=True)
class Gateway:
    """Scopes of the gated services, and the declared clients. ``is_there``: whether this host has a gateway."""

    #: Each service's name, and what several of them share.
    scopes: frozenset[str] = frozenset()
    declared: Mapping[str, tuple[DeclaredKey, ...]] = field(default_factory=dict)
    is_there: bool = False


def find_gateway(site_directory: str) -> str:
    """Return the folder of the gateway's configuration in a site's; empty where there is none.

    :raises PlatformError: there are several.
    """
    found = sorted(glob.glob(f"{glob.escape(site_directory)}/projects/*-gateway/config/{_SERVICES}"))
    folders = [os.path.dirname(path) for path in found]
    if len(folders) > 1:
        raise PlatformError(
            f"Cannot tell which gateway is meant: {' and '.join(folders)} are of one; name it (gateway)."
        )
    return folders[0] if folders else ""


def read_gateway(folder: str) -> Gateway:
    """Return what the files of the gateway's folder say; an empty one where there are none.

    :raises PlatformError: one is damaged, or newer code has written it.
    """
    if not folder:
        return Gateway()
    services, keys = read_json(f"{folder}/{_SERVICES}"), read_json(f"{folder}/keys.json")
    if services is None:
        return Gateway()
    try:
        asked = [one for one in services["services"] if not one.get("replica_of")]
        scopes = frozenset(str(it) for one in asked for it in (one["name"], *one.get("scopes", ())))
    except (KeyError, TypeError, AttributeError):
        raise damaged(f"{folder}/{_SERVICES}") from None
    try:
        clients = {} if keys is None else keys["clients"]
        declared = {client: tuple(_parse_key(one) for one in entry["keys"]) for client, entry in clients.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise damaged(f"{folder}/keys.json") from None
    return Gateway(scopes, declared, is_there=True)


def require_gateway(gateway: Gateway, looked_in: str, doing: str) -> None:
    """Refuse to change keys where nothing checks them.

    :param doing: completes *Cannot ...*.
    """
    if not gateway.is_there:
        raise PlatformError(
            f"Cannot {doing}: there is no gateway on this host, {looked_in} has no {_SERVICES}; deploy the site first, "
            "or name the host that has it."
        )


def _parse_key(entry: Any) -> DeclaredKey:
    not_after = entry.get("not_after")
    return DeclaredKey(str(entry["id"]), tuple(entry["scopes"]), None if not_after is None else parse_time(not_after))
