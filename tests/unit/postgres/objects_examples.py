# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the module and answers of a server, from the little that a case says of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._postgres.declaration import Declared, parse_declared
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.observe import Observed, parse_observation
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.problems import Problems
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.scram import make_verifier
from ansible_collections.modelyard.platform.plugins.modules.postgres_objects import OPTIONS

DOING = "Cannot apply"
_FLAGS = {
    "login": True, "superuser": False, "createdb": False, "createrole": False, "inherit": True, "replication": False,
    "bypassrls": False,
}  # fmt: skip


def make_params(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the module's options as Ansible hands them over: each there, with its default."""
    return _make_params(given, OPTIONS)


def _make_params(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    params = {}
    for name, spec in options.items():
        value = given.get(name, spec.get("default"))
        if "options" in spec and value is not None:
            value = [_make_params(entry, spec["options"]) for entry in value]
        params[name] = value
    assert given.keys() <= options.keys(), f"no options: {given.keys() - options.keys()}"
    return params


def declare(given: Mapping[str, Any], problems: Problems | None = None) -> Declared:
    """Return what options declare; where no ``problems`` are given there may be none."""
    found = problems or Problems()
    declared = parse_declared(
        make_params({"project": "data", **given}), resolve_password=lambda text: text, problems=found
    )
    if problems is None:
        found.refuse(DOING)
    return declared


def answer(server: Mapping[str, Any], declared: Declared) -> str:
    """Return what psql would print of a server."""
    databases = {name: entry or {} for name, entry in (server.get("databases") or {}).items()}
    lines = [
        {
            "version": server.get("version", 170000), "superuser": True, "standby": False, "busy": 0,
            "roles": {
                "postgres": _role({"superuser": True}), "pg_monitor": _role({}),
                **{name: _role(entry or {}) for name, entry in (server.get("roles") or {}).items()},
            },
            "databases": {"postgres": _database({}), **{name: _database(entry) for name, entry in databases.items()}},
            "defaults": {name: rows[0][0] for name, rows in (server.get("offers") or {}).items()},
            "offers": [[name, *row] for name, rows in (server.get("offers") or {}).items() for row in rows],
            "contexts": server.get("contexts"),
        }
    ]  # fmt: skip
    lines += [
        _content(databases[name]) for name in declared.databases if name in databases and _is_open(databases[name])
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def observe(server: Mapping[str, Any] | None, declared: Declared) -> Observed:
    """Return what is seen of a server; None is one that is not there yet."""
    if server is None:
        return Observed(is_there=False)
    return parse_observation(answer(server, declared), declared, DOING)


def _is_open(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("open", True))


def _role(entry: Mapping[str, Any]) -> dict[str, Any]:
    password = entry.get("password")
    return {
        **{flag: entry.get(flag, default) for flag, default in _FLAGS.items()},
        "connection_limit": entry.get("connection_limit", -1),
        "settings": entry.get("settings"),
        "member_of": entry.get("member_of"),
        "password": make_verifier(password, iterations=1) if password else None,
    }


def _database(entry: Mapping[str, Any]) -> dict[str, Any]:
    owner = entry.get("owner", "postgres")
    return {
        "owner": owner, "encoding": entry.get("encoding", "UTF8"), "locales": entry.get("locales", ["C.UTF-8"] * 2),
        "template": False, "open": _is_open(entry), "settings": entry.get("settings"),
        "privileges": {owner: ["CONNECT", "CREATE", "TEMPORARY"], **entry.get("privileges", {})},
    }  # fmt: skip


def _content(entry: Mapping[str, Any]) -> dict[str, Any]:
    def rows(name: str, *columns: str) -> list[dict[str, Any]]:
        return [dict(zip(columns, row, strict=True)) for row in entry.get(name, ())]

    schemas = {"public": ["pg_database_owner", {}], **entry.get("schemas", {})}
    return {
        "extensions": {"plpgsql": ["1.0", "pg_catalog", False], **entry.get("extensions", {})},
        "schemas": schemas,
        "updatable": entry.get("updatable"),
        "totals": rows("totals", "kind", "nspname", "count"),
        "held": rows("held", "kind", "nspname", "rolname", "privilege_type", "held", "granted"),
        "future": rows("future", "kind", "nspname", "creator", "rolname", "privileges"),
    }
