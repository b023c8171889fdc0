# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of iptables that keep published ports as they are admitted. Pure.

Docker publishes a port by rewriting its packets before any rule of ``INPUT`` sees them, so that firewalls which work
there know nothing of it. They pass ``FORWARD``, whose first rule leads to ``DOCKER-USER``, which Docker leaves to
others: there a chain of ours decides. A packet has its container's address and port by then; what it had before is
known to the connection tracking. Source: Docker's manual, "Packet filtering and firewalls".

Where Docker rewrites nothing, as for IPv6 by default before its version 27, its proxy listens on the host; what comes
to it passes ``INPUT``. A second chain of ours decides there, of the same ports and nothing else.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .ports import Admitted, Network, Place

HOOK = "DOCKER-USER"
#: Of the name of a chain. Source: XT_EXTENSION_MAXNAMELEN of the kernel, which counts the byte after it.
_LONGEST = 28
_INPUT_SUFFIX = "-IN"


@dataclass(frozen=True)
class Chains:
    """The names of a site's two chains: of what goes to containers, and of what goes to Docker's proxy."""

    forward: str
    input: str

    @property
    def jumps(self) -> tuple[tuple[str, str], ...]:
        """The chains that lead to ours, each with the one that it leads to."""
        return (HOOK, self.forward), ("INPUT", self.input)

    @property
    def names(self) -> tuple[str, str]:
        return self.forward, self.input


def chains_of(prefix: str) -> Chains:
    """Return the chains of the site of this prefix, which no other has."""
    name = f"SITE-{prefix}"
    room = _LONGEST - len(_INPUT_SUFFIX)
    if len(name) > room:
        digest = hashlib.sha256(prefix.encode()).hexdigest()[:8]
        name = f"{name[: room - 9]}-{digest}"
    return Chains(name, f"{name}{_INPUT_SUFFIX}")


@dataclass(frozen=True)
class Guarded:
    """What the rules are made from.

    ``bridges``: the interfaces of the site's networks. ``undeclared``: what its containers publish and nobody declared.
    """

    admitted: Admitted
    bridges: tuple[str, ...] = ()
    undeclared: tuple[Place, ...] = ()


def render_rules(guarded: Guarded, chains: Chains, *, family: int) -> list[str]:
    """Return the rules of both chains, in the form in which ``iptables -S`` shows them.

    :param family: 4 or 6.
    """
    forward, inward = f"-A {chains.forward}", f"-A {chains.input}"
    # Answers to what containers asked, and what they say themselves.
    lines = [f"{forward} -m conntrack --ctdir REPLY -j RETURN"]
    lines += [f"{forward} -i {bridge} -j RETURN" for bridge in guarded.bridges]
    places = {place: networks for place, networks in guarded.admitted.items() if place.has(family)}
    # One address before all of them: what is said of it alone counts.
    for place in sorted(places, key=lambda place: (not place.address, place)):
        lines += _forward_rules(forward, place, places[place], family)
    # Whatever else goes to a container of the site, also by its own address from a neighbour of this host.
    lines += [f"{forward} -o {bridge} -j DROP" for bridge in guarded.bridges]
    lines += [f"{inward} -i {interface} -j RETURN" for interface in ("lo", *guarded.bridges)]
    for place in sorted(places, key=lambda place: (not place.address, place)):
        lines += _input_rules(inward, place, places[place], family)
    closed = [place for place in guarded.undeclared if place.has(family) and not place.is_loopback]
    return lines + [f"{inward}{_at(place, family)} -j DROP" for place in closed]


def _forward_rules(begin: str, place: Place, networks: Sequence[Network], family: int) -> list[str]:
    address = f" --ctorigdst {place.address}" if place.address else ""
    match = f" -p {place.protocol} -m conntrack --ctstate DNAT{address} --ctorigdstport {place.number}"
    return _admitting(begin, match, networks, family)


def _input_rules(begin: str, place: Place, networks: Sequence[Network], family: int) -> list[str]:
    if place.is_loopback or _is_open(networks, family):
        return []
    return _admitting(begin, _at(place, family), networks, family)


def _at(place: Place, family: int) -> str:
    length = 32 if family == 4 else 128
    address = f" -d {place.address}/{length}" if place.address else ""
    return f"{address} -p {place.protocol} -m {place.protocol} --dport {place.number}"


def _admitting(begin: str, match: str, networks: Sequence[Network], family: int) -> list[str]:
    if _is_open(networks, family):
        return [f"{begin}{match} -j RETURN"]
    sources = [f" -s {network}" for network in networks if network.version == family]
    return [*(f"{begin}{source}{match} -j RETURN" for source in sources), f"{begin}{match} -j DROP"]


def _is_open(networks: Iterable[Network], family: int) -> bool:
    return any(network.version == family and network.prefixlen == 0 for network in networks)


def comparable(rule: str) -> tuple[str, tuple[tuple[str, ...], ...]]:
    """Return what tells whether two texts are the same rule: versions of iptables write the parts in another order."""
    words = shlex.split(rule)
    parts: list[list[str]] = []
    for word in words[2:]:
        if word == "!" or (word.startswith("-") and not (parts and parts[-1] == ["!"])):
            parts.append([word])
        elif parts:
            parts[-1].append(word)
    told = [tuple(word.removesuffix("/32").removesuffix("/128") for word in part) for part in parts]
    # What only loads a match says nothing.
    return words[1], tuple(sorted(part for part in told if part[0] != "-m"))
