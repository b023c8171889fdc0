# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would happen to each secret, and why. Pure: check mode and the real run use the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from .._errors import PlatformError
from .declaration import Declaration
from .kinds import KINDS
from .store import Secret, SecretStore, Version

#: ``update``: takes a new given value. ``derive``: made again because what it is made from changed.
Action = Literal["create", "rotate", "update", "derive", "renew", "keep", "remove"]

#: A certificate is renewed when it has less than this left.
RENEWAL_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Step:
    """What happens to one secret. ``version`` is the current one afterwards, 0 when it is removed."""

    declaration: Declaration
    action: Action
    reason: str
    version: int
    version_before: int | None = None
    kind_before: str | None = None

    @property
    def changes(self) -> bool:
        """Whether the store changes by it."""
        return self.action != "keep"


def plan_secrets(
    declared: Mapping[str, Declaration], store: SecretStore, *, rotate: Iterable[str], now: int
) -> tuple[Step, ...]:
    """Return a step for every declared or rotated secret, and for every one made from a secret that changes.

    Sources stand before what is made of them.

    :param declared: may leave out secrets that the store has; these are as when they were made.
    :raises PlatformError: a declaration and the store contradict each other, or a source is missing.
    """
    rotated = frozenset(rotate)
    wanted = {**{name: _as_stored(name, store) for name in sorted(rotated - declared.keys())}, **declared}
    steps: dict[str, Step] = {}
    for name, declaration in wanted.items():
        if not KINDS[declaration.kind].is_derived:
            steps[name] = _plan_made(declaration, store.secrets.get(name), rotated, now)
    for declaration in [*_derived(wanted), *_affected(store, wanted, steps)]:
        steps[declaration.name] = _plan_derived(declaration, store, steps, rotated, now)
    return tuple(steps.values())


def _derived(wanted: Mapping[str, Declaration]) -> list[Declaration]:
    return [declaration for declaration in wanted.values() if KINDS[declaration.kind].is_derived]


def _affected(store: SecretStore, wanted: Mapping[str, Declaration], steps: Mapping[str, Step]) -> list[Declaration]:
    """Secrets that this task does not declare, made from one that it changes."""
    changing = {name for name, step in steps.items() if step.changes}
    if not changing:
        return []
    others = [_as_stored(name, store) for name in store.names() if name not in wanted]
    return [declaration for declaration in others if declaration.source in changing]


def _as_stored(name: str, store: SecretStore) -> Declaration:
    if name not in store.secrets:
        raise PlatformError(
            f"Cannot rotate secret '{name}': it is neither declared nor in the store {store.path}; correct the name."
        )
    secret = store.secrets[name]
    if secret.kind not in KINDS:
        raise _contradiction(name, f"the store has it with kind '{secret.kind}', which is unknown here", "remove it")
    return Declaration(name, secret.kind, secret.versions[secret.current].options)


def _plan_made(declaration: Declaration, secret: Secret | None, rotated: frozenset[str], now: int) -> Step:
    if secret is None:
        return Step(declaration, "create", "it is not in the store", 1)
    _check_owner(declaration, secret, rotated)
    if declaration.name in rotated:
        return _plan_rotation(declaration, secret)
    _check_kind(declaration, secret)
    version = secret.versions[secret.current]
    if declaration.value is not None and declaration.value != version.secret.get(version.main):
        return _next(declaration, secret, "update", "the value given differs")
    if declaration.value is None:
        _check_strength(declaration, version)
    return _renewal(declaration, secret, now) or _keep(declaration, secret)


def _plan_rotation(declaration: Declaration, secret: Secret) -> Step:
    version = secret.versions[secret.current]
    if declaration.value is not None and declaration.value == version.secret.get(version.main):
        raise _contradiction(
            declaration.name, "it is to be rotated, but the value given is the old one", "give a new one"
        )
    return _next(declaration, secret, "rotate", "it was asked for")


def _plan_derived(
    declaration: Declaration, store: SecretStore, steps: Mapping[str, Step], rotated: frozenset[str], now: int
) -> Step:
    secret = store.secrets.get(declaration.name)
    if secret is not None and secret.versions[secret.current].origin == "sealed":
        _check_owner(declaration, secret, rotated)
        return _keep(declaration, secret)
    source_version = _source_version(declaration, store, steps)
    if secret is None:
        return Step(declaration, "create", "it is not in the store", 1)
    if declaration.name in rotated:
        return _next(declaration, secret, "rotate", "it was asked for")
    _check_kind(declaration, secret)
    version = secret.versions[secret.current]
    for option, value in declaration.options.items():
        if version.options.get(option) != value:
            return _next(declaration, secret, "derive", f"another '{option}' is declared")
    if version.source_version != source_version:
        return _next(declaration, secret, "derive", f"secret '{declaration.source}' is now at version {source_version}")
    return _renewal(declaration, secret, now) or _keep(declaration, secret)


def _source_version(declaration: Declaration, store: SecretStore, steps: Mapping[str, Step]) -> int:
    """Return the version of its source after the plan."""
    source = declaration.source or ""
    if source in steps:
        kind, version = steps[source].declaration.kind, steps[source].version
    elif source in store.secrets:
        kind, version = store.secrets[source].kind, store.secrets[source].current
    else:
        raise _contradiction(
            declaration.name,
            f"it is of secret '{source}', which is neither declared nor in the store",
            "declare that too",
        )
    allowed = KINDS[declaration.kind].source_kinds
    if kind not in allowed:
        raise _contradiction(
            declaration.name,
            f"kind '{declaration.kind}' cannot be of secret '{source}' of kind '{kind}'",
            f"name one of kind {', '.join(sorted(allowed))}",
        )
    return version


def _check_owner(declaration: Declaration, secret: Secret, rotated: frozenset[str]) -> None:
    version = secret.versions[secret.current]
    if version.origin != "sealed":
        return
    if version.main not in version.secret:
        raise _contradiction(
            declaration.name,
            "it belongs to another host, which alone has its key",
            "sign there, or remove it here (state: absent) and get an authority of this host's own",
        )
    if declaration.name in rotated or declaration.value is not None:
        raise _contradiction(
            declaration.name,
            "it belongs to another host, from which it came sealed",
            "change it there and seal it again",
        )


def _check_kind(declaration: Declaration, secret: Secret) -> None:
    if declaration.kind != secret.kind:
        raise _contradiction(
            declaration.name,
            f"it is declared with kind '{declaration.kind}' and the store has kind '{secret.kind}'",
            "declare that kind, or name it in 'rotate' to have a new one made",
        )


def _check_strength(declaration: Declaration, version: Version) -> None:
    """Refuse to keep what is weaker than declared. A shorter declaration, or a default that grew, changes nothing."""
    for option, value in declaration.options.items():
        stored = version.options.get(option, value)
        is_weaker = stored < value if isinstance(stored, int) and isinstance(value, int) else stored != value
        if is_weaker:
            raise _contradiction(
                declaration.name,
                f"it is declared with {option} {value} and the store's has {option} {stored}",
                "declare that, or name it in 'rotate' to have a new one made",
            )


def _renewal(declaration: Declaration, secret: Secret, now: int) -> Step | None:
    expires = secret.versions[secret.current].expires
    if expires is None or expires - now > RENEWAL_SECONDS or secret.versions[secret.current].origin == "sealed":
        return None
    days_left = (expires - now) // (24 * 3600)
    return _next(declaration, secret, "renew", f"it ends in {days_left} days" if days_left >= 0 else "it has ended")


def _next(declaration: Declaration, secret: Secret, action: Action, reason: str) -> Step:
    return Step(declaration, action, reason, secret.newest + 1, secret.current, secret.kind)


def _keep(declaration: Declaration, secret: Secret) -> Step:
    return Step(declaration, "keep", "it is as declared", secret.current, secret.current, secret.kind)


def plan_removal(declared: Iterable[str], store: SecretStore, *, in_use: Iterable[tuple[str, int]]) -> tuple[Step, ...]:
    """Return a step for every named secret that the store has.

    :param in_use: pairs of name and version that kept releases refer to.
    :raises PlatformError: one is still needed, by a release or by a secret made from it.
    """
    gone = [name for name in dict.fromkeys(declared) if name in store.secrets]
    used = {name for name, _version in in_use}
    for name in gone:
        if name in used:
            raise PlatformError(
                f"Cannot remove secret '{name}': a kept release refers to it; remove the project or that release first."
            )
    for other in store.names():
        source = store.secrets[other].versions[store.secrets[other].current].options.get("of")
        if other not in gone and source in gone:
            raise PlatformError(
                f"Cannot remove secret '{source}': secret '{other}' is made from it; remove that one too."
            )
    return tuple(_remove(name, store.secrets[name]) for name in gone)


def _remove(name: str, secret: Secret) -> Step:
    return Step(Declaration(name, secret.kind), "remove", "it was asked for", 0, secret.current, secret.kind)


def _contradiction(name: str, finding: str, advice: str) -> PlatformError:
    return PlatformError(f"Cannot keep secret '{name}': {finding}; {advice}.")
