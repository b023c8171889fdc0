# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the ``secrets`` module, from what was asked to what came out. It knows nothing of Ansible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from .declaration import Declaration
from .plan import Step, plan_removal, plan_secrets
from .store import SecretStore, Version

if TYPE_CHECKING:
    from .transfer import EncryptedFile


@dataclass(frozen=True)
class Task:
    """What a user asks for."""

    path: str
    declared: Mapping[str, Declaration] = field(default_factory=dict)
    state: Literal["present", "absent"] = "present"
    rotate: tuple[str, ...] = ()
    site_directory: str = "/opt/modelyard"
    marks_site: bool = False
    host_key: bool = False
    sealed: tuple[str, ...] = field(default=(), repr=False)
    seal_for: str | None = None
    import_from: EncryptedFile | None = None
    export_to: EncryptedFile | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run did, or in check mode would do. ``after`` holds no new value in check mode."""

    before: SecretStore
    after: SecretStore
    steps: tuple[Step, ...]
    received: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()
    makes_host_key: bool = False
    exported: bool = False
    sealed: Mapping[str, str] = field(default_factory=dict)

    @property
    def changes_store(self) -> bool:
        """Whether the store's file is another one afterwards."""
        taken = self.received or self.imported or self.makes_host_key
        return bool(taken) or any(step.changes for step in self.steps)

    @property
    def changed(self) -> bool:
        """Whether anything on the host is another one afterwards."""
        return self.changes_store or self.exported

    @property
    def versions(self) -> dict[str, tuple[str, int]]:
        """Kind and version after the run, of every secret that the task is about."""
        taken = {
            name: (self.after.secrets[name].kind, self.after.secrets[name].current)
            for name in (*self.imported, *self.received)
        }
        planned = {step.declaration.name: (step.declaration.kind, step.version) for step in self.steps}
        return {**taken, **{name: found for name, found in planned.items() if found[1]}}


def perform(task: Task, *, check_mode: bool, now: int) -> Outcome:
    """Bring the store to what the task asks for; in check mode only tell.

    A run that finds all as asked takes no lock and touches no file.

    :raises PlatformError: it cannot be; the store is as before.
    """
    outcome = _plan(task, SecretStore.load(task.path), now=now)
    if outcome.changes_store and not check_mode:
        outcome = _change_store(task, now=now)
    if task.export_to is not None:
        outcome = _export(outcome, task.export_to, check_mode=check_mode)
    if task.seal_for is not None:
        outcome = replace(outcome, sealed=_seal(outcome, task.seal_for))
    return outcome


def _plan(task: Task, store: SecretStore, *, now: int) -> Outcome:
    after = store
    imported: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    if task.import_from is not None:
        after, imported = _import(after, task.import_from)
    if task.sealed:
        after, received = _receive(after, task.sealed)
    return Outcome(
        before=store,
        after=after,
        steps=_plan_steps(task, after, now),
        received=received,
        imported=imported,
        makes_host_key=task.host_key and after.host_key is None,
    )


def _plan_steps(task: Task, store: SecretStore, now: int) -> tuple[Step, ...]:
    if task.state == "present":
        return plan_secrets(task.declared, store, rotate=task.rotate, now=now)
    from .releases import versions_in_releases

    return plan_removal(task.declared, store, in_use=versions_in_releases(task.site_directory))


def _change_store(task: Task, *, now: int) -> Outcome:
    from .carry_out import carry_out
    from .store_change import change_lock, write_store

    if task.marks_site:
        from .._compose.site import Site

        Site(task.site_directory).mark()
    with change_lock(task.path):
        # Planned again: another run may have changed the store since we looked.
        outcome = _plan(task, SecretStore.load(task.path), now=now)
        if not outcome.changes_store:
            return outcome
        after = carry_out(outcome.steps, outcome.after, now=now)
        if outcome.makes_host_key:
            from .sealing import make_host_key

            after = replace(after, host_key=make_host_key())
        write_store(_prune(after, task.site_directory))
    return replace(outcome, after=after)


def _prune(store: SecretStore, site_directory: str) -> SecretStore:
    from .releases import versions_in_releases
    from .store_change import prune_versions

    if all(len(secret.versions) <= 2 for secret in store.secrets.values()):
        return store
    return prune_versions(store, versions_in_releases(site_directory))


def _import(store: SecretStore, source: EncryptedFile) -> tuple[SecretStore, tuple[str, ...]]:
    from .._run import run_program
    from .transfer import import_store

    found = import_store(store, source, run=run_program)
    return found, tuple(name for name in found.names() if name not in store.secrets)


def _receive(store: SecretStore, sealed: tuple[str, ...]) -> tuple[SecretStore, tuple[str, ...]]:
    from .._errors import PlatformError
    from .sealing import open_sealed, receive

    host_key = store.host_key
    if host_key is None:
        raise PlatformError(
            f"Cannot open sealed secrets: the store {store.path} has no host key; "
            "run a task with 'host_key: true' on this host first and seal for the key that it returns."
        )
    received = []
    for text in sealed:
        opened = open_sealed(text, host_key)
        found = receive(opened, store)
        if found is not store:
            received.append(opened.name)
        store = found
    return store, tuple(received)


def _export(outcome: Outcome, target: EncryptedFile, *, check_mode: bool) -> Outcome:
    from .._run import run_program
    from .transfer import export_store, needs_export

    if not outcome.changes_store and not needs_export(target, outcome.after.path):
        return outcome
    if not check_mode:
        export_store(outcome.after, target, run=run_program)
    return replace(outcome, exported=True)


def _seal(outcome: Outcome, recipient: str) -> dict[str, str]:
    """Seal what the task is about; in check mode a new version does not exist yet and is left out."""
    from .sealing import seal

    store = outcome.after
    return {
        name: seal(store, name, recipient=recipient)
        for name, (_kind, number) in outcome.versions.items()
        if name in store.secrets and store.secrets[name].current == number
    }


def result_of(outcome: Outcome) -> dict[str, Any]:
    """Return what a user may see of it: names, kinds, versions, public parts, reasons; never a value."""
    result: dict[str, Any] = {
        "changed": outcome.changed,
        "secrets": {name: _visible(outcome, name, *found) for name, found in outcome.versions.items()},
        "plan": [
            {"name": step.declaration.name, "action": step.action, "reason": step.reason}
            for step in outcome.steps
            if step.changes
        ],
        "received": list(outcome.received),
        "held": {
            name: _name_of_version(secret.current, secret.versions[secret.current])
            for name, secret in outcome.after.secrets.items()
            if secret.versions[secret.current].origin == "sealed"
        },
        "imported": list(outcome.imported),
        "exported": outcome.exported,
    }
    if outcome.after.host_key is not None:
        result["host_key"] = outcome.after.host_key.public
    if outcome.sealed:
        result["sealed"] = dict(outcome.sealed)
    return result


def _visible(outcome: Outcome, name: str, kind: str, number: int) -> dict[str, Any]:
    secret = outcome.after.secrets.get(name)
    version = secret.versions.get(number) if secret is not None else None
    return {
        "kind": kind,
        "version": number,
        "held_as": _name_of_version(number, version) if version is not None else "",
        "public": dict(version.public) if version is not None else {},
    }


def _name_of_version(number: int, version: Version) -> str:
    """Return what tells a version from those of all stores: a store that was lost begins to count anew."""
    return f"{number} of {version.created}"


def diff_of(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """Return names, kinds and versions of the secrets that change, before and after."""
    names = [step.declaration.name for step in outcome.steps if step.changes]
    names += [name for name in (*outcome.received, *outcome.imported) if name not in names]
    before = {name: outcome.before.secrets[name] for name in names if name in outcome.before.secrets}
    after = outcome.versions
    return {
        "before": {name: {"kind": secret.kind, "version": secret.current} for name, secret in before.items()},
        "after": {name: {"kind": after[name][0], "version": after[name][1]} for name in names if name in after},
    }
