# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Published ports of a site, and from where each may be reached. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._errors import PlatformError

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

EVERYBODY: tuple[Network, ...] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_HIGHEST = 65535


@dataclass(frozen=True, order=True)
class Place:
    """Where a port of the host is; ``address`` is empty for every address."""

    number: int
    protocol: str
    address: str = ""

    @property
    def is_loopback(self) -> bool:
        return bool(self.address) and ipaddress.ip_address(self.address).is_loopback

    def has(self, family: int) -> bool:
        """Tell whether the port is at addresses of IPv4 (4) or IPv6 (6)."""
        return not self.address or ipaddress.ip_address(self.address).version == family

    def covers(self, other: Place) -> bool:
        """Tell whether whatever is at ``other`` is here too."""
        return (self.number, self.protocol) == (other.number, other.protocol) and self.address in ("", other.address)

    def __str__(self) -> str:
        at = f"[{self.address}]:" if ":" in self.address else f"{self.address}:" if self.address else ""
        return f"{at}{self.number}/{self.protocol}"


#: Where each port is, and the networks from which it may be reached; none at all is a port that is closed.
Admitted = Mapping[Place, tuple[Network, ...]]


def admit(declared: Iterable[Mapping[str, Any]], instead: Iterable[Mapping[str, Any]]) -> Admitted:
    """Return who may reach which port.

    What several entries of ``declared`` say of one port is added up. An entry of ``instead`` counts in the place of all
    that ``declared`` says of its number and protocol.

    :raises PlatformError: an address or a range is none.
    """
    own = _add_up(instead)
    replaced = {(place.number, place.protocol) for place in own}
    found = {place: who for place, who in _add_up(declared).items() if (place.number, place.protocol) not in replaced}
    # What is bound to loopback is this host's alone, though its neighbours could reach it before Docker 28.
    return {place: () if place.is_loopback else who for place, who in sorted({**found, **own}.items())}


def _add_up(entries: Iterable[Mapping[str, Any]]) -> dict[Place, tuple[Network, ...]]:
    found: dict[Place, tuple[Network, ...]] = {}
    for entry in entries:
        place = _parse_place(entry)
        ranges = entry.get("allowed_ranges")
        networks = EVERYBODY if ranges is None else _parse_ranges(place, ranges)
        found[place] = tuple(dict.fromkeys((*found.get(place, ()), *networks)))
    return {place: _simplify(networks) for place, networks in found.items()}


def _parse_place(entry: Mapping[str, Any]) -> Place:
    number, address = int(entry["number"]), str(entry.get("address") or "")
    if not 0 < number <= _HIGHEST:
        raise PlatformError(f"Cannot guard port {number}: there is none of that number; give one from 1 to 65535.")
    try:
        address = str(ipaddress.ip_address(address)) if address else ""
    except ValueError:
        raise PlatformError(
            f"Cannot guard port {number}: {address!r} is no address; give one of this host's, or none for all of them."
        ) from None
    is_everywhere = bool(address) and ipaddress.ip_address(address).is_unspecified
    return Place(number, str(entry.get("protocol") or "tcp"), "" if is_everywhere else address)


def _parse_ranges(place: Place, ranges: Sequence[object]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(str(text)) for text in ranges)
    except ValueError as error:
        raise PlatformError(
            f"Cannot guard port {place}: {error}; give 'allowed_ranges' such as '10.0.0.0/8' or '192.0.2.7'."
        ) from None


def _simplify(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    """Return the same addresses in as few networks as possible, in order."""
    four = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    six = [network for network in networks if isinstance(network, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six))
