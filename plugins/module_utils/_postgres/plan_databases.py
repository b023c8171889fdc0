# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Databases themselves: made, their owner, their settings. What would need one to be made anew is refused."""

from __future__ import annotations

from .declaration import Database, Declared
from .observe import Observed, ObservedDatabase
from .plan_roles import check_settings, differing_settings, is_known_role
from .problems import Problems
from .quoting import quote_identifier, quote_literal
from .settings import render_setting, show
from .step import Step

#: The only one that may be copied into another encoding or locale (PostgreSQL's manual, "CREATE DATABASE").
_PRISTINE = "template0"


def plan_databases(declared: Declared, observed: Observed, *, user: str, problems: Problems) -> list[Step]:
    """Return the steps that any database of the server takes."""
    steps: list[Step | None] = []
    for database in declared.databases.values():
        check_settings(f"database {database.name!r}", database.settings, observed, problems)
        if database.owner and not is_owner_known(database.owner, declared, observed, user):
            problems.add(
                f"Cannot make role {database.owner!r} the owner of database {database.name!r}: it is neither declared "
                "nor on the server; declare it under roles."
            )
        found = observed.databases.get(database.name)
        if found is None:
            _check_template(database, declared, observed, problems)
            steps += [_create(database, user), _change_new(database)]
        else:
            _check_existing(database, found, problems)
            steps.append(_change(database, found))
    return [step for step in steps if step is not None]


def is_owner_known(name: str, declared: Declared, observed: Observed, user: str) -> bool:
    """Tell whether a role can own something when the plan's steps for roles are done."""
    return name == user or is_known_role(name, declared, observed)


def owner_of(database: Database, observed: Observed, user: str) -> str:
    """Return who owns a database when the plan's steps are done."""
    if database.owner:
        return database.owner
    found = observed.databases.get(database.name)
    return found.owner if found else user


def _check_template(database: Database, declared: Declared, observed: Observed, problems: Problems) -> None:
    template = database.template
    if template and observed.is_there and template not in observed.databases and template not in declared.databases:
        problems.add(
            f"Cannot make database {database.name!r}: its template {template!r} is not on the server; "
            "name one that is, or leave it out."
        )


def _check_existing(database: Database, found: ObservedDatabase, problems: Problems) -> None:
    name = database.name
    if not found.takes_connections:
        problems.add(
            f"Cannot look into database {name!r}: it takes no connections, as when its removal or restore was broken "
            "off; finish that, or allow connections (ALTER DATABASE ... ALLOW_CONNECTIONS true)."
        )
    if database.encoding and _plain(database.encoding) != _plain(found.encoding):
        problems.add(
            f"Cannot give database {name!r} the encoding {database.encoding}: it was made with {found.encoding} and "
            f"only a new one can have another; declare {found.encoding}, or dump it and restore it into a new one."
        )
    if database.locale and any(_plain(database.locale) != _plain(locale) for locale in found.locales):
        kept = " and ".join(dict.fromkeys(found.locales))
        problems.add(
            f"Cannot give database {name!r} the locale {database.locale}: it was made with {kept} and only a new one "
            f"can have another; declare {found.locales[0]}, or dump it and restore it into a new one."
        )


def _plain(name: str) -> str:
    """Return what equal names of encodings and locales have in common: UTF8 and utf-8, C.UTF-8 and C.utf8."""
    return name.lower().replace("-", "").replace("_", "")


def _create(database: Database, user: str) -> Step:
    template = database.template or (_PRISTINE if database.encoding or database.locale else None)
    words = [f"CREATE DATABASE {quote_identifier(database.name)} OWNER {quote_identifier(database.owner or user)}"]
    words += [f"TEMPLATE {quote_identifier(template)}"] if template else []
    words += [f"ENCODING {quote_literal(database.encoding)}"] if database.encoding else []
    words += [f"LOCALE {quote_literal(database.locale)}"] if database.locale else []
    chosen = {"encoding": database.encoding, "locale": database.locale, "template": template}
    return Step(
        action="create",
        subject=f"database {database.name}",
        reasons=("it is not there",),
        statements=(" ".join(words),),
        before=None,
        after={"owner": database.owner or user, **{word: value for word, value in chosen.items() if value}},
        is_transaction=False,
    )


def _change_new(database: Database) -> Step | None:
    """Return the step for what ``CREATE DATABASE`` has no words for."""
    if not database.settings:
        return None
    name = quote_identifier(database.name)
    return Step(
        action="change",
        subject=f"settings of database {database.name}",
        reasons=tuple(differing_settings(database.settings, {})[1]),
        statements=tuple(f"ALTER DATABASE {name} {render_setting(*setting)}" for setting in database.settings.items()),
        before=None,
        after={setting: show(value) for setting, value in database.settings.items()},
    )


def _change(database: Database, found: ObservedDatabase) -> Step | None:
    name = quote_identifier(database.name)
    settings, reasons = differing_settings(database.settings, found.settings)
    statements = [f"ALTER DATABASE {name} {render_setting(*setting)}" for setting in settings.items()]
    before: dict[str, object] = {"settings": {setting: show(found.settings.get(setting)) for setting in settings}}
    after: dict[str, object] = {"settings": {setting: show(value) for setting, value in settings.items()}}
    if database.owner and database.owner != found.owner:
        reasons.append(f"owner: {found.owner} -> {database.owner}")
        statements.append(f"ALTER DATABASE {name} OWNER TO {quote_identifier(database.owner)}")
        before["owner"], after["owner"] = found.owner, database.owner
    if not reasons:
        return None
    return Step(
        action="change",
        subject=f"database {database.name}",
        reasons=tuple(reasons),
        statements=tuple(statements),
        before=before,
        after=after,
    )
