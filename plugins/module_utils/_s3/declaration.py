# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Buckets and users as a task declares them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import PlatformError
from .names import bucket_fault, is_key_id, is_secret, is_user

Access = Literal["read_write", "read_only"]
ACCESSES: tuple[Access, ...] = ("read_write", "read_only")


@dataclass(frozen=True)
class User:
    """One access key and what it may do. ``grants`` is bucket to access, by name."""

    name: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    grants: Mapping[str, Access] = field(default_factory=dict)
    #: Check mode's: id or secret is one that an earlier task would make, so it stands for itself.
    is_pending: bool = False


@dataclass(frozen=True)
class Declared:
    """All that a task wants on one store, sorted by name."""

    buckets: tuple[str, ...] = ()
    users: tuple[User, ...] = ()


def parse_declared(
    buckets: Sequence[Mapping[str, Any]] | None,
    users: Sequence[Mapping[str, Any]] | None,
    *,
    resolve: Callable[[str], str],
    is_pending: Callable[[str], bool] = lambda _text: False,
) -> Declared:
    """Return what the options say.

    :param resolve: gives the value of a text that may be a secret reference; what it raises passes through.
    :param is_pending: whether the text refers to a secret that is still to be made.
    :raises PlatformError: a name, an id or a secret is not possible, something is there twice, or a user is to have a
        bucket that is not declared; never quotes a secret.
    """
    names = tuple(sorted(_parse_bucket(entry["name"]) for entry in buckets or ()))
    _refuse_twins("bucket", names, "declare it once")
    found = sorted(
        (_parse_user(entry, names, resolve, is_pending) for entry in users or ()), key=lambda user: user.name
    )
    _refuse_twins("user", [user.name for user in found], "declare it once")
    _refuse_twins("access key", [user.access_key_id for user in found], "give each user an id of its own")
    return Declared(names, tuple(found))


def _parse_bucket(name: str) -> str:
    fault = bucket_fault(name)
    if fault:
        raise PlatformError(
            f"Cannot declare bucket {name[:80]!r}: {fault}; use 3 to 63 lower-case letters, digits, '.' and '-', "
            "with a letter or digit at both ends."
        )
    return name


def _parse_user(
    entry: Mapping[str, Any],
    buckets: Sequence[str],
    resolve: Callable[[str], str],
    is_pending: Callable[[str], bool],
) -> User:
    name = entry["name"]
    if not is_user(name):
        raise _wrong_user(
            name[:80], "that is no name", "use up to 63 letters, digits, '_', '.' and '-', a letter or digit first"
        )
    key_id, secret = resolve(entry["access_key_id"]), resolve(entry["secret_access_key"])
    id_pending, secret_pending = is_pending(entry["access_key_id"]), is_pending(entry["secret_access_key"])
    if not id_pending and not is_key_id(key_id):
        raise _wrong_user(
            name,
            f"its access key id has {len(key_id)} characters, or others than letters and digits",
            "use 8 to 128 letters and digits",
        )
    if not secret_pending and not is_secret(secret):
        raise _wrong_user(
            name,
            f"its secret has {len(secret)} characters, or holds spaces, line ends or letters beyond ASCII",
            "use 8 to 256 printable ASCII characters",
        )
    grants = _parse_grants(name, entry.get("buckets") or (), buckets)
    return User(name, key_id, secret, grants, id_pending or secret_pending)


def _parse_grants(user: str, entries: Iterable[Mapping[str, Any]], buckets: Sequence[str]) -> dict[str, Access]:
    grants: dict[str, Access] = {}
    for entry in entries:
        bucket = entry["name"]
        if bucket not in buckets:
            raise _wrong_user(
                user, f"bucket {bucket[:80]!r} is not among the declared buckets", "declare it under 'buckets' too"
            )
        if bucket in grants:
            raise _wrong_user(user, f"bucket {bucket!r} is named twice", "name it once")
        grants[bucket] = entry.get("access") or "read_write"
    return dict(sorted(grants.items()))


def _refuse_twins(kind: str, names: Sequence[str], advice: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise PlatformError(f"Cannot declare {kind} {name!r}: it is there twice; {advice}.")


def _wrong_user(name: str, finding: str, advice: str) -> PlatformError:
    return PlatformError(f"Cannot declare user {name!r}: {finding}; {advice}.")
