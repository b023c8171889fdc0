# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done so that a server holds what is declared, and why; pure, so that check mode cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .declaration import Declared
from .observe import Observed
from .plan_content import plan_content
from .plan_databases import plan_databases
from .plan_roles import plan_roles
from .privileges import surplus
from .problems import Problems
from .step import Step

#: Made by PostgreSQL itself.
_OWN_DATABASES = frozenset({"postgres", "template0", "template1"})
_OWN_EXTENSIONS = frozenset({"plpgsql"})


@dataclass(frozen=True)
class Plan:
    """The steps in their order, what nobody declares, and what else is worth knowing."""

    steps: tuple[Step, ...]
    unmanaged: dict[str, list[str]]
    notes: tuple[str, ...]

    def as_diff(self) -> dict[str, dict[str, object]]:
        """Return the objects that change, before and after, for people."""
        before = {step.subject: dict(step.before) for step in self.steps if step.before is not None}
        return {"before": dict(before), "after": {step.subject: dict(step.after) for step in self.steps}}


def make_plan(declared: Declared, observed: Observed, *, user: str, problems: Problems) -> Plan:
    """Return what to do; what stands in the way goes to ``problems``.

    :param user: the superuser that the module works as, which owns what has no other owner.
    """
    steps = [
        *plan_roles(declared, observed, problems),
        *plan_databases(declared, observed, user=user, problems=problems),
        *plan_content(declared, observed, user=user, problems=problems),
    ]
    return Plan(tuple(steps), _find_unmanaged(declared, observed, user), tuple(_find_notes(declared, observed)))


def _find_unmanaged(declared: Declared, observed: Observed, user: str) -> dict[str, list[str]]:
    roles = [name for name in observed.roles if not name.startswith("pg_")]
    return {
        "databases": sorted(observed.databases.keys() - declared.databases.keys() - _OWN_DATABASES),
        "roles": sorted(set(roles) - declared.roles.keys() - {user}),
        "extensions": sorted(_unmanaged_extensions(declared, observed)),
        "memberships": sorted(
            f"{name} in {group}"
            for name, role in declared.roles.items()
            if name in observed.roles
            for group in observed.roles[name].member_of - set(role.member_of)
        ),
        "privileges": sorted(text for database in declared.databases.values() for text in surplus(database, observed)),
    }


def _unmanaged_extensions(declared: Declared, observed: Observed) -> Iterator[str]:
    for name, database in declared.databases.items():
        content = observed.databases[name].content if name in observed.databases else None
        if content is not None:
            named = {extension.name for extension in database.extensions} | _OWN_EXTENSIONS
            yield from (f"{extension} in {name}" for extension in content.extensions if extension not in named)


def _find_notes(declared: Declared, observed: Observed) -> Iterator[str]:
    """Tell of extensions that the server offers in another version than the one that a database has."""
    for name, database in declared.databases.items():
        content = observed.databases[name].content if name in observed.databases else None
        for extension in database.extensions if content is not None else ():
            installed = content.extensions.get(extension.name) if content is not None else None
            offer = observed.offers.get(extension.name, {}).get(None)
            if installed and offer and extension.version is None and offer.version != installed.version:
                yield (
                    f"Extension {extension.name!r} of database {name!r} is {installed.version} and the server offers "
                    f"{offer.version}; declare that version to have it updated."
                )
