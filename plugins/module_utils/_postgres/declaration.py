# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a task declares: roles, databases and what is in them. Parsed without a look at the server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from .._errors import PlatformError
from .problems import Problems
from .quoting import check_name, quote_literal
from .settings import Value, parse_settings

Kind = Literal["database", "schema", "tables", "sequences"]

#: Attributes of a role that are either on or off, with what a role has that does not say.
FLAGS: Mapping[str, bool] = {
    "login": True,
    "superuser": False,
    "createdb": False,
    "createrole": False,
    "inherit": True,
    "replication": False,
    "bypassrls": False,
}
PRIVILEGES: Mapping[Kind, tuple[str, ...]] = {
    "database": ("CONNECT", "CREATE", "TEMPORARY"),
    "schema": ("CREATE", "USAGE"),
    "tables": ("DELETE", "INSERT", "MAINTAIN", "REFERENCES", "SELECT", "TRIGGER", "TRUNCATE", "UPDATE"),
    "sequences": ("SELECT", "UPDATE", "USAGE"),
}
_RESERVED_ROLES = frozenset({"public", "none"})
_One = TypeVar("_One")


@dataclass(frozen=True)
class Role:
    """A role. ``password`` is None where the task leaves it alone."""

    name: str
    flags: Mapping[str, bool]
    connection_limit: int
    member_of: tuple[str, ...]
    settings: Mapping[str, Value]
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Extension:
    """An extension; None leaves to the server what is not said."""

    name: str
    version: str | None = None
    schema: str | None = None


@dataclass(frozen=True)
class Schema:
    """A schema; its owner is that of the database unless said."""

    name: str
    owner: str | None = None


@dataclass(frozen=True)
class Grant:
    """Privileges of a role; ``schema`` is empty for those on the database itself. ``ALL`` stands for itself."""

    role: str
    kind: Kind
    schema: str
    privileges: frozenset[str]


@dataclass(frozen=True)
class Database:
    """A database. ``encoding``, ``locale`` and ``template`` count when it is made."""

    name: str
    owner: str | None
    encoding: str | None
    locale: str | None
    template: str | None
    public_connect: bool
    extensions: tuple[Extension, ...]
    schemas: tuple[Schema, ...]
    grants: tuple[Grant, ...]
    settings: Mapping[str, Value]


@dataclass(frozen=True)
class Declared:
    """All that one task declares, by name."""

    roles: Mapping[str, Role]
    databases: Mapping[str, Database]


def parse_declared(
    params: Mapping[str, Any], *, resolve_password: Callable[[str], str], problems: Problems
) -> Declared:
    """Return what the options of the module declare; what is wrong with them goes to ``problems``.

    :param resolve_password: puts values in the place of secret references.
    """
    user = params["user"]
    roles = [_parse_role(entry, user, resolve_password, problems) for entry in params["roles"] or ()]
    databases = [_parse_database(entry, problems) for entry in params["databases"] or ()]
    return Declared(
        _by_name(roles, "role", problems),
        _by_name(databases, "database", problems),
    )


def _by_name(found: Iterable[_One], kind: str, problems: Problems) -> dict[str, _One]:
    by_name: dict[str, _One] = {}
    for one in found:
        name = str(getattr(one, "name", ""))
        if name in by_name:
            problems.add(f"Cannot declare {kind} {name!r} twice: nobody could say which one counts; merge the two.")
        by_name[name] = one
    return by_name


def _parse_role(
    entry: Mapping[str, Any], user: str, resolve_password: Callable[[str], str], problems: Problems
) -> Role:
    name = entry["name"]
    with problems.collected():
        _check_role_name(name)
    flags = {flag: default if entry[flag] is None else entry[flag] for flag, default in FLAGS.items()}
    if name == user and not (flags["superuser"] and flags["login"]):
        problems.add(
            f"Cannot declare role {name!r} without superuser and login: the module itself works as this role; "
            "declare 'superuser: true', or leave the role out."
        )
    if entry["connection_limit"] < -1:
        problems.add(
            f"Cannot give role {name!r} connection_limit {entry['connection_limit']}: -1 means no limit; "
            "give that, or a number from 0 on."
        )
    member_of = tuple(dict.fromkeys(entry["member_of"] or ()))
    if name in member_of:
        problems.add(f"Cannot make role {name!r} a member of itself; take it out of its member_of.")
    settings: dict[str, Value] = {}
    with problems.collected():
        settings = parse_settings(entry["settings"], f"role {name!r}")
    password = None
    with problems.collected():
        password = _parse_password(name, entry["password"], resolve_password)
    return Role(name, flags, entry["connection_limit"], member_of, settings, password)


def _check_role_name(name: str) -> None:
    check_name(name, "role")
    if name.startswith("pg_") or name in _RESERVED_ROLES:
        raise PlatformError(f"Cannot declare role {name!r}: PostgreSQL keeps that name to itself; choose another one.")


def _parse_password(name: str, given: str | None, resolve_password: Callable[[str], str]) -> str | None:
    if given is None:
        return None
    password = resolve_password(given)
    if not password:
        raise PlatformError(
            f"Cannot give role {name!r} its password: it is empty, and PostgreSQL lets nobody in with such a one; "
            "give a password, or leave the option out."
        )
    # What no program can send as a password is refused here, with the same words as any other text.
    quote_literal(password)
    return password


def _parse_database(entry: Mapping[str, Any], problems: Problems) -> Database:
    name = entry["name"]
    with problems.collected():
        check_name(name, "database")
    if name in ("template0", "template1"):
        problems.add(
            f"Cannot declare database {name!r}: every new database is a copy of it; declare a database of your own."
        )
    settings: dict[str, Value] = {}
    with problems.collected():
        settings = parse_settings(entry["settings"], f"database {name!r}")
    return Database(
        name=name,
        owner=entry["owner"],
        encoding=entry["encoding"],
        locale=entry["locale"],
        template=entry["template"],
        public_connect=entry["public_connect"],
        extensions=_parse_extensions(entry["extensions"] or (), name, problems),
        schemas=tuple(_parse_schema(schema, problems) for schema in entry["schemas"] or ()),
        grants=tuple(_parse_grant(grant, name, problems) for grant in entry["grants"] or ()),
        settings=settings,
    )


def _parse_extensions(entries: Sequence[object], database: str, problems: Problems) -> tuple[Extension, ...]:
    parsed = []
    for entry in entries:
        with problems.collected():
            parsed.append(_parse_extension(entry, database))
    return tuple(_by_name(parsed, f"in database {database!r} extension", problems).values())


def _parse_extension(entry: object, database: str) -> Extension:
    if isinstance(entry, str):
        return Extension(check_name(entry, "extension"))
    if not isinstance(entry, Mapping) or "name" not in entry or not entry.keys() <= {"name", "version", "schema"}:
        raise PlatformError(
            f"Cannot read extension {entry!r} of database {database!r}: it is neither a name nor a dictionary of "
            "name, version and schema; write it so."
        )
    texts = {key: None if value is None else str(value) for key, value in entry.items()}
    return Extension(check_name(texts["name"] or "", "extension"), texts.get("version"), texts.get("schema"))


def _parse_schema(entry: Mapping[str, Any], problems: Problems) -> Schema:
    name = entry["name"]
    with problems.collected():
        check_name(name, "schema")
    if name.startswith("pg_"):
        problems.add(f"Cannot declare schema {name!r}: PostgreSQL keeps that name to itself; choose another one.")
    return Schema(name, entry["owner"])


def _parse_grant(entry: Mapping[str, Any], database: str, problems: Problems) -> Grant:
    kind: Kind = entry["kind"]
    privileges = frozenset(privilege.upper() for privilege in entry["privileges"])
    unknown = sorted(privileges - {"ALL", *PRIVILEGES[kind]})
    if unknown or not privileges:
        problems.add(
            f"Cannot grant {', '.join(unknown) or 'nothing'} to role {entry['role']!r} on {kind} of database "
            f"{database!r}: the privileges there are ALL, {', '.join(PRIVILEGES[kind])}; choose of these."
        )
    return Grant(entry["role"], kind, "" if kind == "database" else entry["schema"], privileges)
