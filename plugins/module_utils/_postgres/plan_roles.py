# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roles, their settings, passwords and memberships."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .declaration import FLAGS, Declared, Role
from .observe import Observed, ObservedRole
from .problems import Problems
from .quoting import quote_identifier
from .scram import is_password
from .settings import Value, render_setting, show
from .step import Step

#: When the server takes a setting for a role or a database. Source: PostgreSQL's manual, "pg_settings".
_SETTABLE = frozenset({"user", "superuser", "backend", "superuser-backend"})


def plan_roles(declared: Declared, observed: Observed, problems: Problems) -> list[Step]:
    """Return the steps for all roles, then those for their memberships: a group may be declared after its member."""
    steps = []
    for role in declared.roles.values():
        check_settings(f"role {role.name!r}", role.settings, observed, problems)
        found = observed.roles.get(role.name)
        step = _create(role) if found is None else _change(role, found)
        steps += [step] if step else []
    for role in declared.roles.values():
        steps += _join(role, declared, observed, problems)
    return steps


def check_settings(owner: str, settings: Mapping[str, Value], observed: Observed, problems: Problems) -> None:
    """Note settings that the server does not know, or that it takes for itself alone."""
    for name in settings if observed.is_there else ():
        context = observed.contexts.get(name)
        # One with a dot may belong to an extension that is not loaded, or to an application.
        if context is None and "." not in name:
            problems.add(f"Cannot set {name!r} of {owner}: the server knows no such setting; correct the name.")
        elif context is not None and context not in _SETTABLE:
            problems.add(
                f"Cannot set {name!r} of {owner}: it is one of the whole server (context {context!r}); "
                "set it in the server's configuration."
            )


def _create(role: Role) -> Step:
    words = " ".join(_flag_word(flag, on=value) for flag, value in role.flags.items())
    name = quote_identifier(role.name)
    return Step(
        action="create",
        subject=f"role {role.name}",
        reasons=("it is not there",),
        statements=(
            f"CREATE ROLE {name} WITH {words} CONNECTION LIMIT {role.connection_limit}",
            *(f"ALTER ROLE {name} {render_setting(*setting)}" for setting in role.settings.items()),
        ),
        before=None,
        after=_describe(role),
        password=None if role.password is None else (role.name, role.password),
    )


def _change(role: Role, found: ObservedRole) -> Step | None:
    flags = {flag: value for flag, value in role.flags.items() if found.flags[flag] is not value}
    words = [_flag_word(flag, on=value) for flag, value in flags.items()]
    reasons = [f"{flag}: {_word(found.flags[flag])} -> {_word(flags[flag])}" for flag in flags]
    if role.connection_limit != found.connection_limit:
        words.append(f"CONNECTION LIMIT {role.connection_limit}")
        reasons.append(f"connection_limit: {found.connection_limit} -> {role.connection_limit}")
    settings, setting_reasons = differing_settings(role.settings, found.settings)
    is_other_password = role.password is not None and not is_password(role.password, found.password)
    reasons += [*setting_reasons, *(["its password is another one, or none"] if is_other_password else [])]
    if not reasons:
        return None
    name = quote_identifier(role.name)
    return Step(
        action="change",
        subject=f"role {role.name}",
        reasons=tuple(reasons),
        statements=(
            *([f"ALTER ROLE {name} WITH {' '.join(words)}"] if words else []),
            *(f"ALTER ROLE {name} {render_setting(*setting)}" for setting in settings.items()),
        ),
        before={
            **{flag: found.flags[flag] for flag in FLAGS},
            "connection_limit": found.connection_limit,
            "settings": {setting: show(found.settings.get(setting)) for setting in role.settings},
            **_password_mark(role, "another one, or none" if is_other_password else "as declared"),
        },
        after=_describe(role),
        password=(role.name, role.password) if is_other_password and role.password is not None else None,
    )


def differing_settings(wanted: Mapping[str, Value], found: Mapping[str, Value]) -> tuple[dict[str, Value], list[str]]:
    """Return the settings that have to be set, and why."""
    differing = {name: value for name, value in wanted.items() if found.get(name) != value}
    return differing, [f"setting {name}: {show(found.get(name))} -> {show(wanted[name])}" for name in differing]


def _join(role: Role, declared: Declared, observed: Observed, problems: Problems) -> Iterator[Step]:
    held = observed.roles[role.name].member_of if role.name in observed.roles else frozenset()
    for group in role.member_of:
        if not is_known_role(group, declared, observed):
            problems.add(
                f"Cannot make role {role.name!r} a member of {group!r}: that role is neither declared nor on the "
                "server; declare it under roles."
            )
        if group not in held:
            yield Step(
                action="grant",
                subject=f"membership of {role.name} in {group}",
                reasons=("it is no member",),
                statements=(f"GRANT {quote_identifier(group)} TO {quote_identifier(role.name)}",),
                before=None,
                after={"member": True},
            )


def is_known_role(name: str, declared: Declared, observed: Observed) -> bool:
    """Tell whether a role is there when the plan's steps for roles are done."""
    # Of a server that is not there yet nobody knows which roles it brings along; those of PostgreSQL it will.
    return name in declared.roles or name in observed.roles or (not observed.is_there and name.startswith("pg_"))


def _flag_word(flag: str, *, on: bool) -> str:
    return flag.upper() if on else f"NO{flag.upper()}"


def _word(value: bool) -> str:
    return "true" if value else "false"


def _describe(role: Role) -> dict[str, object]:
    return {
        **role.flags,
        "connection_limit": role.connection_limit,
        "settings": {name: show(value) for name, value in role.settings.items()},
        **_password_mark(role, "as declared"),
    }


def _password_mark(role: Role, text: str) -> dict[str, object]:
    return {} if role.password is None else {"password": text}
