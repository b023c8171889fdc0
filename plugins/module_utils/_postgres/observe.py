# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is on a server: one session of psql that answers with one JSON object per line.

An object that is not in an answer is not there; a line that is missing is an error, never "nothing there".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError
from .declaration import FLAGS, Database, Declared
from .quoting import quote_connect_argument, quote_literal, quote_texts
from .settings import Value, parse_kept

#: Grantee of what everybody may do. No role can be called so.
PUBLIC = ""
#: By it the server knows a session of ours that changes something.
APPLICATION = "modelyard-objects"

# The first words of a session: its database may choose another role for it, and names that are found elsewhere first.
# Not by an option of the connection: scripts of extensions take that for the path that the user wants (PostGIS's
# AddToSearchPath() writes it into the database's settings).
GUARD = "SET ROLE NONE;\nSET search_path TO pg_catalog;\n"

Privileges = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class ObservedRole:
    """A role of the server; ``password`` is what the server keeps of it."""

    flags: Mapping[str, bool]
    connection_limit: int
    settings: Mapping[str, Value]
    member_of: frozenset[str]
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class InstalledExtension:
    """An extension in a database."""

    version: str
    schema: str
    is_relocatable: bool


@dataclass(frozen=True)
class ObservedSchema:
    """A schema of a database."""

    owner: str
    privileges: Privileges


@dataclass(frozen=True)
class Content:
    """What is inside a declared database."""

    extensions: Mapping[str, InstalledExtension]
    schemas: Mapping[str, ObservedSchema]
    #: Of extensions that are to get another version: whether the server knows a way there.
    updatable: Mapping[str, bool]
    #: Kind and schema to the number of such relations.
    totals: Mapping[tuple[str, str], int]
    #: Kind, schema, role and privilege to the number of relations on which the role has it.
    held: Mapping[tuple[str, str, str, str], int]
    #: The same, where the role does not own the relation.
    granted: Mapping[tuple[str, str, str, str], int]
    #: Kind, schema, creator and role to the privileges on what the creator will make.
    future: Mapping[tuple[str, str, str, str], frozenset[str]]


@dataclass(frozen=True)
class ObservedDatabase:
    """A database of the server; ``content`` is None for one that is not declared, or that takes no connection."""

    owner: str
    encoding: str
    locales: tuple[str, str]
    is_template: bool
    takes_connections: bool
    settings: Mapping[str, Value]
    privileges: Privileges
    content: Content | None = None


@dataclass(frozen=True)
class Offer:
    """An extension that the server could install, in one version."""

    version: str
    #: The one that it has to be in, if it says so.
    schema: str | None
    requires: tuple[str, ...]


@dataclass(frozen=True)
class Observed:
    """All that a plan needs to know of a server."""

    version: int = 0
    roles: Mapping[str, ObservedRole] = field(default_factory=dict)
    databases: Mapping[str, ObservedDatabase] = field(default_factory=dict)
    #: Extension to version to what is offered; the default version under None.
    offers: Mapping[str, Mapping[str | None, Offer]] = field(default_factory=dict)
    #: Setting to when it can be set (``pg_settings.context``).
    contexts: Mapping[str, str] = field(default_factory=dict)
    #: Sessions of ours that still change something.
    busy: int = 0
    #: False where there is no server yet: then nothing is known of what it offers.
    is_there: bool = True


# Superusers alone may read what the server keeps of passwords; a role that is none gets a short answer.
_ROLE = """
jsonb_build_object({flags}, 'connection_limit', a.rolconnlimit,
  'password', CASE WHEN a.rolname = ANY ({names}) THEN a.rolpassword END,
  'settings', (SELECT setconfig FROM pg_db_role_setting WHERE setrole = a.oid AND setdatabase = 0),
  'member_of', (SELECT jsonb_agg(DISTINCT g.rolname) FROM pg_auth_members m JOIN pg_authid g ON g.oid = m.roleid
    WHERE m.member = a.oid))
"""
_COLUMNS = {"login": "rolcanlogin", "superuser": "rolsuper"}
_PRIVILEGES = """
(SELECT jsonb_object_agg(grantee, privileges) FROM (
  SELECT coalesce(r.rolname, '') AS grantee, jsonb_agg(DISTINCT x.privilege_type) AS privileges
  FROM aclexplode(coalesce({acl}, acldefault({kind}, {owner}))) x LEFT JOIN pg_authid r ON r.oid = x.grantee
  GROUP BY 1) held)
"""
_SERVER = """
SELECT jsonb_build_object('version', current_setting('server_version_num')::int, 'superuser', true,
 'standby', pg_is_in_recovery(),
 'busy', (SELECT count(*) FROM pg_stat_activity WHERE application_name = {application}),
 'roles', (SELECT jsonb_object_agg(a.rolname, {role}) FROM pg_authid a),
 'databases', (SELECT jsonb_object_agg(d.datname, jsonb_build_object('owner', pg_get_userbyid(d.datdba),
   'encoding', pg_encoding_to_char(d.encoding), 'locales', jsonb_build_array(d.datcollate, d.datctype),
   'template', d.datistemplate, 'open', d.datallowconn AND d.datconnlimit <> -2, 'privileges', {privileges},
   'settings', (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0)))
   FROM pg_database d),
 'defaults', (SELECT jsonb_object_agg(name, default_version) FROM pg_available_extensions
   WHERE name = ANY ({extensions})),
 'offers', (SELECT jsonb_agg(jsonb_build_array(name, version, schema, requires)) FROM {offered}
   WHERE name = ANY ({extensions})),
 'contexts', (SELECT jsonb_object_agg(lower(name), context) FROM {settings} WHERE lower(name) = ANY ({names})));
"""
_CONTENT = """
SELECT jsonb_build_object(
 'extensions', (SELECT jsonb_object_agg(e.extname, jsonb_build_array(e.extversion, n.nspname, e.extrelocatable))
   FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace),
 'updatable', {updatable},
 'schemas', (SELECT jsonb_object_agg(n.nspname, jsonb_build_array(pg_get_userbyid(n.nspowner), {privileges}))
   FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp)'),
 'totals', (SELECT jsonb_agg(t) FROM (SELECT r.kind, r.nspname, count(*) FROM {relations} r GROUP BY 1, 2) t),
 'held', (SELECT jsonb_agg(t) FROM (
   SELECT r.kind, r.nspname, a.rolname, x.privilege_type, count(DISTINCT r.oid) AS held,
     count(DISTINCT r.oid) FILTER (WHERE x.grantee <> r.relowner) AS granted
   FROM {relations} r
   CROSS JOIN LATERAL aclexplode(coalesce(r.relacl, acldefault(r.acltype, r.relowner))) x
   JOIN pg_authid a ON a.oid = x.grantee WHERE a.rolname = ANY ({roles}) GROUP BY 1, 2, 3, 4) t),
 'future', (SELECT jsonb_agg(t) FROM (
   SELECT CASE d.defaclobjtype WHEN 'S' THEN 'sequences' ELSE 'tables' END AS kind, n.nspname,
     pg_get_userbyid(d.defaclrole) AS creator, a.rolname, jsonb_agg(DISTINCT x.privilege_type) AS privileges
   FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
   CROSS JOIN LATERAL aclexplode(d.defaclacl) x JOIN pg_authid a ON a.oid = x.grantee
   WHERE d.defaclobjtype IN ('r', 'S') GROUP BY 1, 2, 3, 4) t));
"""
# The function fails for an extension that is not offered, and is slow for one with many versions.
_UPDATABLE = """
(SELECT jsonb_object_agg(e.extname, CASE WHEN EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = e.extname)
   THEN EXISTS (SELECT FROM pg_extension_update_paths(e.extname) p
     WHERE p.source = e.extversion AND p.target = w.version AND p.path IS NOT NULL) ELSE false END)
 FROM pg_extension e JOIN (VALUES {versions}) w (name, version) ON w.name = e.extname AND w.version <> e.extversion)
"""
_RELATIONS = """
(SELECT c.oid, c.relacl, c.relowner, n.nspname, CASE c.relkind WHEN 'S' THEN 'sequences' ELSE 'tables' END AS kind,
   CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char" AS acltype
 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'v', 'm', 'f', 'p', 'S') AND n.nspname = ANY ({schemas}))
"""


def render_observation(declared: Declared, *, ends_others: bool = False) -> str:
    """Return a script for psql that tells of the server, then of each declared database that can be looked into.

    :param ends_others: first end sessions that an earlier run, now dead, left at work.
    """
    parts = [f"{GUARD}SELECT rolsuper AS is_superuser FROM pg_roles WHERE rolname = session_user \\gset\n"]
    if ends_others:
        parts.append(
            "SELECT count(pg_terminate_backend(pid)) AS ended FROM pg_stat_activity "
            f"WHERE application_name = {quote_literal(APPLICATION)} AND pid <> pg_backend_pid() \\gset\n"
        )
    for number, name in enumerate(declared.databases):
        parts.append(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datallowconn AND datconnlimit <> -2 "
            f"AND datname = {quote_literal(name)}) AS open_{number} \\gset\n"
        )
    answer = "SELECT jsonb_build_object('superuser', false);\n"
    parts.append(f"\\if :is_superuser{_server_sql(declared)}\\else\n{answer}\\quit\n\\endif\n")
    for number, database in enumerate(declared.databases.values()):
        parts.append(f"\\if :open_{number}\n{render_connect(database.name)}{_content_sql(database)}\\endif\n")
    return "".join(parts)


def render_connect(database: str) -> str:
    """Return the lines that go on with the session in another database, as the same user."""
    from .._compose.postgres_server import conninfo

    return f"\\connect -reuse-previous=on {quote_connect_argument(conninfo(database))}\n{GUARD}"


def _server_sql(declared: Declared) -> str:
    flags = ", ".join(f"'{flag}', a.{_COLUMNS.get(flag, f'rol{flag}')}" for flag in FLAGS)
    holders: list[Any] = [*declared.roles.values(), *declared.databases.values()]
    settings = sorted({name for holder in holders for name in holder.settings})
    extensions = sorted({extension.name for base in declared.databases.values() for extension in base.extensions})
    return _SERVER.format(
        application=quote_literal(APPLICATION),
        role=_ROLE.format(flags=flags, names=quote_texts(declared.roles)),
        privileges=_PRIVILEGES.format(acl="d.datacl", kind="'d'", owner="d.datdba"),
        extensions=quote_texts(extensions),
        # Both read files or compute much, so they are left alone where nobody asks.
        offered="pg_available_extension_versions" if extensions else _NONE_OFFERED,
        settings="pg_settings" if settings else "(SELECT ''::text AS name, ''::text AS context) none",
        names=quote_texts(settings),
    )


_NONE_OFFERED = "(SELECT ''::text AS name, ''::text AS version, ''::text AS schema, NULL::text[] AS requires) none"


def _content_sql(database: Database) -> str:
    within = [grant for grant in database.grants if grant.kind in ("tables", "sequences")]
    versions = [
        f"({quote_literal(extension.name)}, {quote_literal(extension.version)})"
        for extension in database.extensions
        if extension.version
    ]
    return _CONTENT.format(
        updatable=_UPDATABLE.format(versions=", ".join(versions)) if versions else "NULL::jsonb",
        privileges=_PRIVILEGES.format(acl="n.nspacl", kind="'n'", owner="n.nspowner"),
        relations=_RELATIONS.format(schemas=quote_texts(sorted({grant.schema for grant in within}))),
        roles=quote_texts(sorted({grant.role for grant in within})),
    )


def parse_observation(text: str, declared: Declared, doing: str) -> Observed:
    """Return what the script's answer tells.

    :param doing: *Cannot ...*, for errors.
    :raises PlatformError: it is not whole, the user is no superuser, or the server is a standby.
    """
    try:
        answers = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        answers = []
    if answers and not answers[0]["superuser"]:
        raise PlatformError(
            f"{doing}: the role that the module works as is no superuser; name a superuser of the server in 'user'."
        )
    if answers and answers[0]["standby"]:
        raise PlatformError(f"{doing}: the server is a standby and takes no change; run it on its primary.")
    opened = _opened(answers[0], declared) if answers else []
    if len(answers) != 1 + len(opened):
        raise PlatformError(
            f"{doing}: psql ended well but gave {len(answers)} answers for {1 + len(opened)} questions; run again."
        )
    return _parse(answers[0], dict(zip(opened, answers[1:], strict=True)))


def _opened(server: Mapping[str, Any], declared: Declared) -> list[str]:
    return [name for name in declared.databases if name in server["databases"] and server["databases"][name]["open"]]


def _parse(server: Mapping[str, Any], contents: Mapping[str, Any]) -> Observed:
    return Observed(
        version=server["version"],
        roles={name: _parse_role(entry) for name, entry in server["roles"].items()},
        databases={name: _parse_database(entry, contents.get(name)) for name, entry in server["databases"].items()},
        offers=_parse_offers(server["defaults"] or {}, server["offers"] or ()),
        contexts=server["contexts"] or {},
        busy=server["busy"],
    )


def _parse_role(entry: Mapping[str, Any]) -> ObservedRole:
    return ObservedRole(
        {flag: entry[flag] for flag in FLAGS},
        entry["connection_limit"],
        parse_kept(entry["settings"]),
        frozenset(entry["member_of"] or ()),
        entry["password"],
    )


def _parse_database(entry: Mapping[str, Any], content: Mapping[str, Any] | None) -> ObservedDatabase:
    return ObservedDatabase(
        owner=entry["owner"],
        encoding=entry["encoding"],
        locales=(entry["locales"][0], entry["locales"][1]),
        is_template=entry["template"],
        takes_connections=entry["open"],
        settings=parse_kept(entry["settings"]),
        privileges=_parse_privileges(entry["privileges"]),
        content=None if content is None else _parse_content(content),
    )


def _parse_privileges(entry: Mapping[str, Iterable[str]] | None) -> Privileges:
    return {grantee: frozenset(privileges) for grantee, privileges in (entry or {}).items()}


def _parse_content(entry: Mapping[str, Any]) -> Content:
    def key(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
        return row["kind"], row["nspname"], row["rolname"], row["privilege_type"]

    held = entry["held"] or ()
    return Content(
        extensions={name: InstalledExtension(*found) for name, found in (entry["extensions"] or {}).items()},
        schemas={
            name: ObservedSchema(owner, _parse_privileges(privileges))
            for name, (owner, privileges) in (entry["schemas"] or {}).items()
        },
        updatable=entry["updatable"] or {},
        totals={(row["kind"], row["nspname"]): row["count"] for row in entry["totals"] or ()},
        held={key(row): row["held"] for row in held},
        granted={key(row): row["granted"] for row in held},
        future={
            (row["kind"], row["nspname"], row["creator"], row["rolname"]): frozenset(row["privileges"])
            for row in entry["future"] or ()
        },
    )


def _parse_offers(defaults: Mapping[str, str], rows: Iterable[Sequence[Any]]) -> dict[str, dict[str | None, Offer]]:
    offers: dict[str, dict[str | None, Offer]] = {name: {} for name in defaults}
    for name, version, schema, requires in rows:
        offers.setdefault(name, {})[version] = Offer(version, schema, tuple(requires or ()))
    for name, version in defaults.items():
        if version in offers[name]:
            offers[name][None] = offers[name][version]
    return offers
