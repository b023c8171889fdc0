# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What roles need of each other, and the order that follows from it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError

#: What the site itself provides: secrets, logins and ports before the first role, promises are tried after the last.
#: What a role says of trust is read by whoever reaches names of the site; of its edge, GPUs, images, programs by
#: preflight.
SITE_SUBJECTS = frozenset({"edge", "gpu", "image", "inner", "login", "port", "program", "promise", "secret", "trust"})

#: Whose owner comes after everybody: it tries what they promise.
LAST = "promise"

_KEYS = frozenset({"follows", "needs", "owns", "refuses"})


@dataclass(frozen=True)
class Need:
    """What one role on one host asks of the owner of a subject; ``data`` is in the owner's words."""

    subject: str
    role: str
    host: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class SiteRole:
    """A role that is enabled on at least one host. ``owns``: the subjects that it provides.

    ``follows``: subjects that it serves on the very hosts that need them; ``followers`` are those of them that are not
    in its group.
    """

    name: str
    hosts: Sequence[str]
    owns: frozenset[str] = frozenset()
    needs: Sequence[Need] = field(default=())
    follows: frozenset[str] = frozenset()
    followers: Sequence[str] = ()

    @property
    def subjects(self) -> frozenset[str]:
        return frozenset(need.subject for need in self.needs)


@dataclass(frozen=True)
class DeclaredNeeds:
    """What ``meta/needs.yml`` of a role says, not templated.

    ``refuses``: values that cannot work together, each with ``when`` and ``because``. ``follows`` and
    ``follower_needs``: the subjects for which the role goes to hosts that are not in its group, and what it needs there
    in the place of ``needs``.
    """

    owns: frozenset[str] = frozenset()
    needs: Mapping[str, Any] = field(default_factory=dict)
    refuses: Sequence[Mapping[str, Any]] = ()
    follows: frozenset[str] = frozenset()
    follower_needs: Mapping[str, Any] = field(default_factory=dict)


def parse_needs(found: object, role: str) -> DeclaredNeeds:
    """Return what the content of a role's ``meta/needs.yml`` says.

    :raises PlatformError: it has another form.
    """
    content = found if found is not None else {}
    doing = f"Cannot read the needs of role {role!r}"
    if not isinstance(content, Mapping) or (unknown := set(content) - _KEYS):
        said = ", ".join(sorted(map(str, unknown))) if isinstance(content, Mapping) else type(content).__name__
        raise PlatformError(f"{doing}: found {said}; known are {', '.join(map(repr, sorted(_KEYS)))}.")
    owns, needs, refuses = content.get("owns") or [], content.get("needs") or {}, content.get("refuses") or []
    follows = content.get("follows") or {}
    if not isinstance(owns, list) or not isinstance(needs, Mapping):
        raise PlatformError(f"{doing}: 'owns' is a list of subjects, 'needs' maps subjects to lists.")
    if not isinstance(refuses, list) or not all(_is_refusal(entry) for entry in refuses):
        raise PlatformError(f"{doing}: 'refuses' is a list of mappings, each with 'when' and 'because'.")
    if follows and not _is_following(follows):
        raise PlatformError(f"{doing}: 'follows' is a mapping of 'subjects', a list, and 'needs', a mapping.")
    return DeclaredNeeds(
        frozenset(map(str, owns)),
        {str(subject): data for subject, data in needs.items()},
        tuple(refuses),
        frozenset(map(str, follows.get("subjects", ()))),
        {str(subject): data for subject, data in follows.get("needs", {}).items()},
    )


def _is_refusal(entry: object) -> bool:
    return isinstance(entry, Mapping) and set(entry) == {"when", "because"}


def _is_following(entry: object) -> bool:
    return (
        isinstance(entry, Mapping)
        and set(entry) == {"subjects", "needs"}
        and isinstance(entry["subjects"], list)
        and isinstance(entry["needs"], Mapping)
    )


def refusals_from(declared: DeclaredNeeds, template: Callable[[Any], Any], *, host: str) -> list[str]:
    """Return why a role refuses the values of one host, all of it.

    :param template: fills in the values; only what holds has its reason filled in.
    """
    held = [entry["because"] for entry in declared.refuses if template(entry["when"])]
    return [f"{host}: {template(reason)}" for reason in held]


def needs_from(subject: str, data: object, *, role: str, host: str) -> list[Need]:
    """Return the needs that a templated list declares.

    :raises PlatformError: it is no list of mappings.
    """
    if data is None:
        return []
    if not isinstance(data, list) or not all(isinstance(entry, Mapping) for entry in data):
        raise PlatformError(f"Cannot read need {subject!r} of role {role!r}: it must be a list of mappings.")
    return [Need(subject, role, host, entry) for entry in data]


def find_problems(roles: Sequence[SiteRole]) -> list[str]:
    """Name every need without an owner, and every subject with two."""
    owners = _owners(roles)
    problems = []
    for subject, names in owners.items():
        if len(names) > 1:
            problems.append(
                f"Cannot tell who provides {subject!r}: roles {' and '.join(map(repr, names))} both do; enable one."
            )
    problems += [
        f"Cannot deploy role {role.name!r}: it needs a {subject}, and no role that provides one is enabled on any "
        f"host; put a host into the group of a role that owns {subject!r}."
        for role in roles
        for subject in sorted(role.subjects - owners.keys() - SITE_SUBJECTS)
    ]
    return problems


def derive_order(roles: Sequence[SiteRole]) -> list[str]:
    """Return the names of the roles, owners before those who need them, otherwise as they stand.

    :raises PlatformError: roles need each other in a circle.
    """
    owners = {subject: names[0] for subject, names in _owners(roles).items()}
    waits = {
        role.name: {owners[subject] for subject in role.subjects - {LAST} if subject in owners} - {role.name}
        for role in roles
    }
    if last := owners.get(LAST):
        waits[last] = set(waits) - {last}
    order: list[str] = []
    while len(order) < len(roles):
        ready = [role.name for role in roles if role.name not in order and waits[role.name] <= set(order)]
        if not ready:
            circle = sorted(set(waits) - set(order))
            raise PlatformError(f"Cannot order the roles of the site: {', '.join(circle)} need each other; break that.")
        order.append(ready[0])
    return order


def _owners(roles: Iterable[SiteRole]) -> dict[str, list[str]]:
    owners: dict[str, list[str]] = {}
    for role in roles:
        for subject in sorted(role.owns):
            owners.setdefault(subject, []).append(role.name)
    return owners
