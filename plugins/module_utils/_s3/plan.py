# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done so that a store is as declared, and why; pure, so that check mode cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .._files import FileState
from .declaration import Declared, User
from .key_file import KEY_MODE, KEYS_MODE, LINKS_MODE, Places, access_of, render_key_file, render_links, secret_in

KEYS_FOLDER = "folder of keys"


@dataclass(frozen=True)
class ObservedKey:
    """One access key on the disk. ``links`` is name to target, with an empty target for what is no link."""

    file: FileState | None = field(default=None, repr=False)
    links: Mapping[str, str] = field(default_factory=dict)
    #: Of the folder with the links; None where there is none.
    folder_mode: int | None = None


@dataclass(frozen=True)
class Observed:
    """What is there. ``buckets`` is None where no store can be asked, which check mode takes for an empty one."""

    buckets: frozenset[str] | None = frozenset()
    keys: Mapping[str, ObservedKey] = field(default_factory=dict)
    #: Of the folder of keys; None where there is none, or where the engine keeps none.
    keys_mode: int | None = None


@dataclass(frozen=True)
class Step:
    """One object that does not stay as it is."""

    title: str
    action: Literal["create", "change"]
    reasons: tuple[str, ...]

    def as_result(self) -> dict[str, object]:
        """Return the step as the module's result shows it."""
        return {"object": self.title, "action": self.action, "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Plan:
    """What to do: of buckets and users, by name, only those that do not stay as they are."""

    keys_folder: Step | None = None
    buckets: Mapping[str, Step] = field(default_factory=dict)
    users: Mapping[str, Step] = field(default_factory=dict)
    #: What is there and not declared.
    unmanaged: tuple[str, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        first = (self.keys_folder,) if self.keys_folder else ()
        return (*first, *self.buckets.values(), *self.users.values())


@dataclass(frozen=True)
class Custody:
    """How keys are kept: inside the container at ``places``, on the disk owned by the store's user."""

    places: Places
    owner_uid: int
    owner_gid: int = 0

    def key_file(self, user: User) -> FileState:
        """Return a user's key file as it has to be."""
        return FileState(render_key_file(user, self.places), KEY_MODE, self.owner_uid, self.owner_gid)


def make_plan(declared: Declared, observed: Observed, custody: Custody | None) -> Plan:
    """Return what to do.

    :param custody: None where no user is declared.
    """
    there = observed.buckets or frozenset()
    buckets = {
        name: Step(f"bucket {name}", "create", ("it is not there",)) for name in declared.buckets if name not in there
    }
    unmanaged = _unmanaged(declared, observed)
    if custody is None:
        return Plan(None, buckets, {}, unmanaged)
    found = {user.name: _user_step(user, observed.keys.get(user.access_key_id), custody) for user in declared.users}
    users = {name: step for name, step in found.items() if step}
    return Plan(_keys_step(observed), buckets, users, unmanaged)


def _keys_step(observed: Observed) -> Step | None:
    if observed.keys_mode is None:
        return Step(KEYS_FOLDER, "create", ("it is not there",))
    if observed.keys_mode != KEYS_MODE:
        return Step(KEYS_FOLDER, "change", (f"mode: {observed.keys_mode:04o} -> {KEYS_MODE:04o}",))
    return None


def _user_step(user: User, key: ObservedKey | None, custody: Custody) -> Step | None:
    title = f"user {user.name}"
    if key is None or key.file is None:
        return Step(title, "create", ("it has no key file",))
    reasons = (*_file_reasons(user, key.file, custody), *_link_reasons(user, key, custody.places))
    return Step(title, "change", reasons) if reasons else None


def _file_reasons(user: User, found: FileState, custody: Custody) -> list[str]:
    wanted = custody.key_file(user)
    reasons = []
    if found.content != wanted.content:
        reasons.append(_content_reason(user, secret_in(found.content)))
    if found.mode != wanted.mode:
        reasons.append(f"mode of the key file: {found.mode:04o} -> {wanted.mode:04o}")
    if (found.uid, found.gid) != (wanted.uid, wanted.gid):
        reasons.append(f"owner of the key file: {found.uid}:{found.gid} -> {wanted.uid}:{wanted.gid}")
    return reasons


def _content_reason(user: User, secret: object) -> str:
    if secret is None:
        return "the key file is damaged"
    is_same = secret == user.secret_access_key and not user.is_pending
    return "the key file says something else" if is_same else "the secret is another one"


def _link_reasons(user: User, key: ObservedKey, places: Places) -> list[str]:
    wanted = render_links(user, places)
    reasons = []
    if key.folder_mode not in (None, LINKS_MODE):
        reasons.append(f"mode of the folder of its buckets: {key.folder_mode:04o} -> {LINKS_MODE:04o}")
    if key.folder_mode is None and not wanted:
        reasons.append("the folder of its buckets is gone")
    for bucket in sorted({*wanted, *key.links}):
        if key.links.get(bucket) != wanted.get(bucket):
            before, after = access_of(bucket, key.links, places), user.grants.get(bucket, "none")
            reasons.append(f"bucket {bucket}: {before} -> {after}")
    return reasons


def _unmanaged(declared: Declared, observed: Observed) -> tuple[str, ...]:
    ids = {user.access_key_id for user in declared.users}
    buckets = sorted((observed.buckets or frozenset()) - set(declared.buckets))
    keys = sorted(key_id for key_id, key in observed.keys.items() if key.file is not None and key_id not in ids)
    return (*(f"bucket {name}" for name in buckets), *(f"key {key_id}" for key_id in keys))


def describe_before(declared: Declared, observed: Observed, custody: Custody | None) -> str:
    """Return the declared objects as they are, a line each, without secrets."""
    lines = [f"bucket {name}" for name in declared.buckets if name in (observed.buckets or ())]
    for user in declared.users if custody else ():
        key = observed.keys.get(user.access_key_id)
        if custody and key is not None and key.file is not None:
            lines += _user_lines(user, key.file, "(hidden)")
            lines += [f"  bucket {name} {access_of(name, key.links, custody.places)}" for name in sorted(key.links)]
    return "".join(f"{line}\n" for line in lines)


def describe_after(declared: Declared, observed: Observed, custody: Custody | None) -> str:
    """Return the declared objects as they will be, a line each, without secrets."""
    lines = [f"bucket {name}" for name in declared.buckets]
    for user in declared.users if custody else ():
        if custody:
            key = observed.keys.get(user.access_key_id)
            found = key.file if key else None
            is_kept = found is None or found.content == custody.key_file(user).content
            lines += _user_lines(user, custody.key_file(user), "(hidden)" if is_kept else "(hidden, changed)")
            lines += [f"  bucket {name} {access}" for name, access in user.grants.items()]
    return "".join(f"{line}\n" for line in lines)


def _user_lines(user: User, file: FileState, secret: str) -> list[str]:
    return [
        f"user {user.name}",
        f"  key {user.access_key_id} in a file of mode {file.mode:04o}, owner {file.uid}:{file.gid}",
        f"  secret {secret}",
    ]
