# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what in a database: declared grants beside what the server's access lists say.

A declared grant is a minimum. What a role holds beyond it is reported and stays, as all that nobody declares.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from .declaration import PRIVILEGES, Database, Declared, Kind
from .observe import PUBLIC, Content, Observed
from .plan_roles import is_known_role
from .problems import Problems
from .quoting import quote_identifier
from .step import Step

_MAINTAIN_SINCE = 170000
_RELATIONS: tuple[Kind, ...] = ("tables", "sequences")


@dataclass(frozen=True)
class Wanted:
    """All privileges that one role gets on one thing."""

    role: str
    kind: Kind
    schema: str
    privileges: frozenset[str]

    def target(self, database: str) -> str:
        """Return what they are on, for people."""
        if self.kind == "database":
            return f"database {database}"
        if self.kind == "schema":
            return f"schema {self.schema} in {database}"
        return f"{self.kind} of schema {self.schema} in {database}"


def collect_wanted(database: Database, *, version: int, owner: str) -> list[Wanted]:
    """Return the grants of a database, one per role and thing.

    Where not everybody may connect, roles with a grant may: it would be of no use otherwise.
    """
    found: dict[tuple[str, Kind, str], frozenset[str]] = {}
    for grant in database.grants:
        if not database.public_connect and grant.role != owner:
            found.setdefault((grant.role, "database", ""), frozenset({"CONNECT"}))
        key = (grant.role, grant.kind, grant.schema)
        found[key] = found.get(key, frozenset()) | _expand(grant.privileges, grant.kind, version)
    return [Wanted(role, kind, schema, privileges) for (role, kind, schema), privileges in found.items()]


def _expand(privileges: frozenset[str], kind: Kind, version: int) -> frozenset[str]:
    if "ALL" not in privileges:
        return privileges
    every = frozenset(PRIVILEGES[kind])
    return every if version >= _MAINTAIN_SINCE else every - {"MAINTAIN"}


def plan_privileges(
    database: Database,
    declared: Declared,
    observed: Observed,
    *,
    owner: str,
    schemas: AbstractSet[str] | None,
    renewed: AbstractSet[str],
    problems: Problems,
) -> Iterator[Step]:
    """Yield the steps that bring privileges to what is declared.

    :param owner: who owns the database when the steps are done.
    :param schemas: those that are there by then; None where nobody knows.
    :param renewed: schemas that get an extension now, and with it perhaps tables that nobody may read yet.
    """
    found = observed.databases.get(database.name)
    content = found.content if found is not None else None
    for wanted in collect_wanted(database, version=observed.version, owner=owner):
        _check(wanted, database, declared, observed, schemas, problems)
        if wanted.kind in _RELATIONS:
            step = _grant_on_relations(wanted, database, content, owner, is_renewed=wanted.schema in renewed)
        else:
            step = _grant(wanted, database, _held(wanted, database, observed, owner))
        if step is not None:
            yield step
    # Last: who uses the database by the right of everybody has one of their own by now.
    held_by_all = found.privileges.get(PUBLIC, frozenset()) if found is not None else frozenset({"CONNECT"})
    if not database.public_connect and "CONNECT" in held_by_all:
        yield _close(database)


def _check(
    wanted: Wanted,
    database: Database,
    declared: Declared,
    observed: Observed,
    schemas: AbstractSet[str] | None,
    problems: Problems,
) -> None:
    doing = f"Cannot give privileges on {wanted.target(database.name)} to role {wanted.role!r}"
    if not is_known_role(wanted.role, declared, observed):
        problems.add(f"{doing}: it is neither declared nor on the server; declare it under roles.")
    if schemas is not None and wanted.schema and wanted.schema not in schemas:
        problems.add(f"{doing}: there is no such schema; declare it under the database's schemas.")
    if "MAINTAIN" in wanted.privileges and observed.is_there and observed.version < _MAINTAIN_SINCE:
        problems.add(f"{doing}: MAINTAIN exists since PostgreSQL 17, and the server is older; take it out.")


def _close(database: Database) -> Step:
    name = quote_identifier(database.name)
    return Step(
        action="revoke",
        subject=f"privileges of everybody on database {database.name}",
        reasons=("every role may connect",),
        statements=(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",),
        before={"CONNECT": True},
        after={"CONNECT": False},
        database=database.name,
    )


def _held(wanted: Wanted, database: Database, observed: Observed, owner: str) -> frozenset[str]:
    found = observed.databases.get(database.name)
    if found is None or found.content is None:
        is_owners = wanted.kind == "database" and wanted.role == owner
        return wanted.privileges if is_owners else frozenset()
    if wanted.kind == "database":
        # With the database its old owner's own privileges go to the new one.
        holder = found.owner if wanted.role == owner else wanted.role
        return found.privileges.get(holder, frozenset())
    schema = found.content.schemas.get(wanted.schema)
    return schema.privileges.get(wanted.role, frozenset()) if schema is not None else frozenset()


def _grant(wanted: Wanted, database: Database, held: frozenset[str]) -> Step | None:
    missing = sorted(wanted.privileges - held)
    if not missing:
        return None
    thing = f"DATABASE {quote_identifier(database.name)}"
    if wanted.kind == "schema":
        thing = f"SCHEMA {quote_identifier(wanted.schema)}"
    return Step(
        action="grant",
        subject=f"privileges of {wanted.role} on {wanted.target(database.name)}",
        reasons=(f"without {', '.join(missing)}",),
        statements=(f"GRANT {', '.join(missing)} ON {thing} TO {quote_identifier(wanted.role)}",),
        before={"privileges": sorted(wanted.privileges & held)},
        after={"privileges": sorted(wanted.privileges)},
        database=database.name,
    )


def _grant_on_relations(
    wanted: Wanted, database: Database, content: Content | None, owner: str, *, is_renewed: bool
) -> Step | None:
    missing, future = _missing_now(wanted, content), _missing_later(wanted, content, owner)
    reasons = [f"without {', '.join(sorted(missing))} on all of them"] if missing else []
    reasons += [f"without {', '.join(sorted(future))} on those that {owner} will make"] if future else []
    if is_renewed and not missing and content is not None:
        missing, reasons = wanted.privileges, [*reasons, "an extension that is installed there may bring more"]
    if not reasons:
        return None
    role, schema = quote_identifier(wanted.role), quote_identifier(wanted.schema)
    kind, statements = wanted.kind.upper(), []
    if missing or content is None:
        words = ", ".join(sorted(missing or wanted.privileges))
        statements.append(f"GRANT {words} ON ALL {kind} IN SCHEMA {schema} TO {role}")
    if future:
        words = ", ".join(sorted(future))
        for_owner = f"ALTER DEFAULT PRIVILEGES FOR ROLE {quote_identifier(owner)} IN SCHEMA {schema}"
        statements.append(f"{for_owner} GRANT {words} ON {kind} TO {role}")
    return Step(
        action="grant",
        subject=f"privileges of {wanted.role} on {wanted.target(database.name)}",
        reasons=tuple(reasons),
        statements=tuple(statements),
        before={
            "on all": sorted(wanted.privileges - missing),
            "on those to come": sorted(wanted.privileges - future),
        },
        after={"on all": sorted(wanted.privileges), "on those to come": sorted(wanted.privileges)},
        database=database.name,
    )


def _missing_now(wanted: Wanted, content: Content | None) -> frozenset[str]:
    if content is None:
        return wanted.privileges
    total = content.totals.get((wanted.kind, wanted.schema), 0)
    return frozenset(
        privilege
        for privilege in wanted.privileges
        if content.held.get((wanted.kind, wanted.schema, wanted.role, privilege), 0) < total
    )


def _missing_later(wanted: Wanted, content: Content | None, owner: str) -> frozenset[str]:
    if wanted.role == owner:
        return frozenset()
    if content is None:
        return wanted.privileges
    return wanted.privileges - content.future.get((wanted.kind, wanted.schema, owner, wanted.role), frozenset())


def surplus(database: Database, observed: Observed) -> Iterator[str]:
    """Yield what roles with a declared grant hold on the same thing beyond it, for people; what they own apart."""
    found = observed.databases.get(database.name)
    if found is None or found.content is None:
        return
    owner = database.owner or found.owner
    for wanted in collect_wanted(database, version=observed.version, owner=owner):
        more = sorted(_granted(wanted, database, observed, found.content) - wanted.privileges)
        if more:
            yield f"{', '.join(more)} of {wanted.role} on {wanted.target(database.name)}"


def _granted(wanted: Wanted, database: Database, observed: Observed, content: Content) -> frozenset[str]:
    if wanted.kind in _RELATIONS:
        key = (wanted.kind, wanted.schema, wanted.role)
        return frozenset(held[3] for held, count in content.granted.items() if held[:3] == key and count)
    owners = {"database": observed.databases[database.name].owner}
    if wanted.schema in content.schemas:
        owners["schema"] = content.schemas[wanted.schema].owner
    if owners.get(wanted.kind) == wanted.role:
        return frozenset()
    return _held(wanted, database, observed, "")
