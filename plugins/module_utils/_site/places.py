# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where the needs of a site are served, and what goes from one of its hosts to another for that. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .._secrets.references import find_references
from .needs import LAST, Need, SiteRole

#: Served by what the host is given, not by a connection to the owner.
_GIVEN = frozenset({"authority"})
#: Names by which other hosts of the site reach what has no route, or may have none.
INNER = "inner"
#: What every host that needs anything of the site may read.
_EVERYWHERE = "trust"


@dataclass(frozen=True, order=True)
class Transfer:
    """A secret that one host keeps and another one uses."""

    name: str
    home: str
    to: str


def find_followers(roles: Sequence[SiteRole], follows: frozenset[str], hosts: Sequence[str]) -> list[str]:
    """Return the hosts that need one of the subjects and are not among the owner's ``hosts``."""
    needing = [need.host for role in roles for need in role.needs if need.subject in follows]
    return [host for host in dict.fromkeys(needing) if host not in hosts]


def as_declared(need: Need, declared: Sequence[Need]) -> Need:
    """Return a need of a follower; a secret that the owner's host makes anyway as that host declares it."""
    known = {one.data.get("name"): one.data for one in declared if one.subject == "secret"}
    if need.subject != "secret" or need.data.get("name") not in known:
        return need
    return replace(need, data={**known[need.data["name"]], "on": need.data["on"]})


def place_of(need: Need, roles: Sequence[SiteRole]) -> str:
    """Return the host whose owner serves a need: its own, where the owner is there too; empty if nobody owns it.

    A secret is made where the need says (``on``), else on its host; a port is its host's, or the edge's (``on_edge``).
    """
    if need.subject == "secret":
        return str(need.data.get("on") or need.host)
    if need.subject == "port":
        edge = _edge_of(roles)
        is_edges = need.data.get("on_edge") and edge.hosts and need.host not in edge.hosts
        return edge.hosts[0] if is_edges else need.host
    if any(need.subject in role.follows and need.host in role.followers for role in roles):
        return need.host
    owner = _owner_of(need.subject, roles)
    if owner is None:
        return ""
    return need.host if need.host in owner.hosts else owner.hosts[0]


def find_transfers(roles: Sequence[SiteRole]) -> list[Transfer]:
    """Return the secrets that go from the host that makes them to those where a need refers to them."""
    homes = _homes(roles)
    found = set()
    for need in _needs(roles):
        if need.subject == "secret":
            found.add(Transfer(str(need.data.get("name")), place_of(need, roles), need.host))
            continue
        for name in _names_in(need.data) & homes.keys():
            home = need.host if need.host in homes[name] else homes[name][0]
            found |= {Transfer(name, home, host) for host in _readers(need, roles) if host not in homes[name]}
    return sorted(transfer for transfer in found if transfer.home != transfer.to)


def find_places(
    roles: Sequence[SiteRole], hosts: Iterable[str], addresses: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return for each host what its roles have to know of the others.

    ``is_inner``    whether the edge is on another host, and follows to this one
    ``edge``        the host of the edge; this one where it has one itself
    ``routed``      hosts whose routes this host serves, itself first
    ``admitted``    role to the ranges from which other hosts reach it here, where ``is_inner``
    ``addresses``   host to its address among the hosts of the site
    """
    edge = _edge_of(roles)
    places = {}
    for host in hosts:
        is_inner = host in edge.followers
        places[host] = {
            "is_inner": is_inner,
            "edge": edge.hosts[0] if edge.hosts and host not in edge.hosts else host,
            "routed": [host, *(edge.followers if host in edge.hosts else ())],
            "admitted": _admitted(roles, edge, host, addresses) if is_inner else {},
            "addresses": {name: text for name, text in addresses.items() if text},
        }
    return places


def _admitted(
    roles: Sequence[SiteRole], edge: SiteRole, host: str, addresses: Mapping[str, str]
) -> dict[str, list[str]]:  # fmt: skip
    admitted = {}
    for role in roles:
        if any(need.host == host and need.subject in edge.follows for need in role.needs):
            users = [
                need.host
                for need in _needs(roles)
                if need.subject in role.owns and need.host != host and place_of(need, roles) == host
            ]
            # The edge itself comes for what has a route, and for nothing else.
            if any(need.host == host and need.subject in edge.owns for need in role.needs):
                users = [*edge.hosts, *users]
            known = [addresses[user] for user in dict.fromkeys(users) if _is_address(addresses.get(user))]
            admitted[role.name] = [str(ipaddress.ip_network(text)) for text in known]
    return admitted


def find_placement_problems(roles: Sequence[SiteRole], addresses: Mapping[str, str]) -> list[str]:
    """Name what keeps hosts of the site from reaching each other.

    :param addresses: host to its address among the hosts of the site, empty where it has none.
    """
    pairs = sorted(set(_pairs(roles)))
    problems = [
        f"Cannot deploy role {role.name!r} on {' and '.join(role.hosts)}: {' and '.join(role.followers)} would follow "
        "both; leave one host in its group."
        for role in roles
        if role.followers and len(role.hosts) > 1
    ]
    problems += _shared_names(roles)
    inner = {(need.role, need.host) for need in _needs(roles) if need.subject == INNER}
    followers = {host for role in roles for host in role.followers}
    for name, host, owner, place in pairs:
        if (owner, place) in inner - {(name, host)} and place not in followers:
            problems.append(
                f"Cannot deploy role {name!r} on {host}: it needs role {owner!r}, which is on {place} with the edge, "
                f"and the edge serves it to nobody; put {owner!r} on another host, or {name!r} on {place}."
            )
        missing = [one for one in dict.fromkeys((host, place)) if not addresses.get(one)]
        if missing:
            problems.append(
                f"Cannot deploy role {name!r} on {host} with role {owner!r} on {place}: {' and '.join(missing)} "
                f"{'has' if len(missing) == 1 else 'have'} no site_private_address; give the address by which only the "
                "hosts of the site reach it, or put both roles on one host."
            )
    return [
        *problems,
        *_refused_addresses({name for pair in pairs for name in (pair[1], pair[3])}, addresses),
        *_two_homes(roles),
    ]


def _shared_names(roles: Sequence[SiteRole]) -> list[str]:
    """Name what routes of two hosts behind one edge both have: it could lead to one of them only."""
    places: dict[str, list[str]] = {}
    for edge in (role for role in roles if role.followers):
        for need in (need for need in _needs(roles) if need.subject in edge.owns):
            for name in need.data.get("hosts") or ():
                places.setdefault(str(name), []).append(need.host)
    return [
        f"Cannot route {name}: {' and '.join(dict.fromkeys(hosts))} both serve it behind one edge; give each another "
        "name, or leave one of them."
        for name, hosts in places.items()
        if len(set(hosts)) > 1
    ]


def _pairs(roles: Sequence[SiteRole]) -> Iterator[tuple[str, str, str, str]]:
    """Yield role, host, owner and the owner's host, where one connects to the other."""
    for need in _needs(roles):
        for edge in roles:
            if need.subject in edge.follows and need.host in edge.followers:
                yield need.role, need.host, edge.name, edge.hosts[0]
        owner = _owner_of(need.subject, roles)
        place = place_of(need, roles)
        if owner is not None and need.subject != LAST and need.subject not in _GIVEN and place != need.host:
            yield need.role, need.host, owner.name, place


def _refused_addresses(hosts: Iterable[str], addresses: Mapping[str, str]) -> list[str]:
    problems = []
    given = {host: addresses[host] for host in sorted(hosts) if addresses.get(host)}
    for host, text in given.items():
        twin = next((other for other, same in given.items() if same == text and other < host), None)
        if _is_address(text) and not twin:
            continue
        cause = f"is that of {twin} too" if twin else "is no address of a host"
        problems.append(
            f"Cannot use site_private_address {text!r} of {host}: it {cause}; give the address by which the other "
            "hosts of the site reach it."
        )
    return problems


def _is_address(text: object) -> bool:
    try:
        address = ipaddress.ip_address(str(text))
    except ValueError:
        return False
    is_of_no_network = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not is_of_no_network


def _two_homes(roles: Sequence[SiteRole]) -> list[str]:
    problems = []
    transfers = find_transfers(roles)
    for name, to in dict.fromkeys((transfer.name, transfer.to) for transfer in transfers):
        homes = [transfer.home for transfer in transfers if (transfer.name, transfer.to) == (name, to)]
        if len(homes) > 1:
            problems.append(
                f"Cannot give {to} secret {name!r}: {' and '.join(homes)} each make one; put what declares it on "
                "one host."
            )
    return problems


def _readers(need: Need, roles: Sequence[SiteRole]) -> list[str]:
    """Return the hosts on which something reads the data of a need."""
    if need.subject == _EVERYWHERE:
        return list(dict.fromkeys(one.host for one in _needs(roles)))
    owner = _owner_of(need.subject, roles)
    if owner is None:
        return [need.host]
    # Of several hosts that try the promises one is told the passwords.
    return list(owner.hosts[:1]) if need.subject == LAST else [place_of(need, roles)]


def _homes(roles: Sequence[SiteRole]) -> dict[str, list[str]]:
    homes: dict[str, list[str]] = {}
    for need in _needs(roles):
        if need.subject == "secret":
            known = homes.setdefault(str(need.data.get("name")), [])
            known += [place_of(need, roles)] if place_of(need, roles) not in known else []
    return homes


def _names_in(value: Any) -> set[str]:
    if isinstance(value, str):
        return {reference.name for reference in find_references(value)}
    if isinstance(value, Mapping):
        return set().union(*(_names_in(one) for one in value.values()))
    if isinstance(value, Sequence):
        return set().union(*(_names_in(one) for one in value))
    return set()


def _owner_of(subject: str, roles: Sequence[SiteRole]) -> SiteRole | None:
    return next((role for role in roles if subject in role.owns), None)


def _edge_of(roles: Sequence[SiteRole]) -> SiteRole:
    """Return the role that follows others; one without hosts where the site has none."""
    return next((role for role in roles if role.follows), SiteRole("", ()))


def _needs(roles: Sequence[SiteRole]) -> Iterator[Need]:
    for role in roles:
        yield from role.needs
