# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a team has to decide of its hosts before anything can be asked of them. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence

from .names import is_example_name

#: Reserved for documentation: nobody's machine. Source: RFC 5737, RFC 3849, RFC 9637.
_EXAMPLES = tuple(
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20")
)


def refuse_addresses(addresses: Mapping[str, object]) -> list[str]:
    """Say which hosts still have an address that is reserved for examples.

    :param addresses: where SSH finds each host of the inventory.
    """
    return [
        f"{host}: Cannot reach this host: its address {address!r} is reserved for examples; set ansible_host of "
        f"{host!r} in the inventory to where SSH finds it."
        for host, address in addresses.items()
        if _is_example(str(address))
    ]


def refuse_groups(asked: Mapping[str, Sequence[object]], known: Collection[str]) -> list[str]:
    """Say which groups that a host's tag names no role of the site is for.

    :param asked: host to the names in its tag ``modelyard_groups``.
    """
    return [
        f"{host}: Cannot place this host: its tag 'modelyard_groups' names {str(name)!r}, and no role of the site is "
        f"for such a group; choose of {', '.join(sorted(known))}."
        for host, names in asked.items()
        for name in names
        if str(name) not in known
    ]


def _is_example(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return is_example_name(address)
    return any(found in network for network in _EXAMPLES)
