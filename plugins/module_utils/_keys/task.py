# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module ``api_keys``, from what was asked to what came out. It knows nothing of Ansible.

Two files change, and a run may be killed between them. Every issued key stands in the file of issued keys before its
value is in the secret store and until that is gone, so nothing is ever left that no list shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from .._errors import PlatformError
from .._secrets.declaration import Declaration
from .._secrets.store import SecretStore
from .gateway_files import require_gateway
from .issued import IssuedKey
from .known import Known, Places, read_known
from .listing import list_keys, render_keys
from .plan import Plan, make_plan
from .wish import Wish, secret_name


@dataclass(frozen=True)
class Outcome:
    """What a run did, or in check mode would do. ``made`` names the secret of a new key that is there."""

    plan: Plan
    before: Known
    after: Known
    made: str = ""
    store: SecretStore | None = field(default=None, repr=False)


def perform(wish: Wish, places: Places, *, check_mode: bool, now: int) -> Outcome:
    """Do what is asked; in check mode only tell.

    :raises PlatformError: it cannot be done. Where nothing is said of it, all is as before.
    """
    places.issued.site.check_version(program="module api_keys", exactly=False)
    known, store = read_known(places)
    if wish.asked == "list":
        return Outcome(Plan(""), known, known)
    require_gateway(known.gateway, places.gateway or f"{places.site_directory}/projects/*-gateway", wish.doing)
    plan = make_plan(wish, known, now)
    if plan.steps and not check_mode:
        with places.issued.change_lock():
            # Planned again: another run may have changed something since we looked.
            known, store = read_known(places)
            plan = make_plan(wish, known, now)
            store = _carry_out(plan, wish, places, known, now)
    issued = plan.outcome(known.issued, plan.new_key(wish, "", now)) if check_mode else places.issued.read()
    after = replace(known, issued=issued, secrets=_secrets_after(plan, store, check_mode=check_mode))
    made = secret_name(wish.client, plan.new.id) if plan.new and not check_mode else ""
    return Outcome(plan, known, after, made, store)


def _secrets_after(plan: Plan, store: SecretStore, *, check_mode: bool) -> frozenset[str]:
    names = frozenset(store.secrets)
    return names | {secret_name(plan.client, plan.new.id)} if check_mode and plan.new else names


def _carry_out(plan: Plan, wish: Wish, places: Places, known: Known, now: int) -> SecretStore:
    from .._secrets.store_change import change_lock, write_store

    file = places.issued
    # What goes ends at once, whatever becomes of the rest.
    ended = tuple(replace(key, not_after=min(now, key.not_after or now)) for key in plan.removed)
    with change_lock(places.secret_store):
        store = SecretStore.load(places.secret_store)
        after, new = _make(plan, wish, store, places.site_directory, known, now)
        file.write(replace(plan, kept=(*plan.kept, *ended)).outcome(known.issued, new))
        try:
            if after is not store:
                write_store(after)
        except PlatformError:
            # A new key whose value nobody has is of no use, and so the old one does not end for it.
            before = known.issued_client(plan.client)
            kept = tuple(next((one for one in ended if one.id == key.id), key) for key in before.keys)
            file.write(replace(plan, kept=kept, rate=before.rate).outcome(known.issued))
            raise
    if plan.removed:
        file.write(plan.outcome(known.issued, new))
    return after


def _make(
    plan: Plan, wish: Wish, store: SecretStore, site_directory: str, known: Known, now: int
) -> tuple[SecretStore, tuple[IssuedKey, ...]]:
    """Return the store with the new key in it and without those that go, and what is written down of the new key."""
    from .._secrets.carry_out import carry_out
    from .._secrets.plan import plan_secrets

    removed = [key.id for key in plan.removed if not known.is_declared(plan.client, key.id)]
    gone = _not_needed([secret_name(plan.client, name) for name in removed], store, site_directory)
    after = store.without_secrets(gone) if gone else store
    if plan.new is None:
        return after, ()
    name = secret_name(plan.client, plan.new.id)
    after = carry_out(plan_secrets({name: Declaration(name, "api_key")}, after, rotate=(), now=now), after, now=now)
    return after, plan.new_key(wish, after.value(name, "sha256"), now)


def _not_needed(names: list[str], store: SecretStore, site_directory: str) -> list[str]:
    """Return which of the secrets go: one that a kept release of a project refers to stays, though it opens nothing."""
    from .._secrets.releases import versions_in_releases

    there = [name for name in names if name in store.secrets]
    try:
        needed = {name for name, _version in versions_in_releases(site_directory)} if there else set()
    except PlatformError:
        return []  # a damaged release is no reason for a key to stay good
    return [name for name in there if name not in needed]


def result_of(outcome: Outcome, now: int) -> dict[str, Any]:
    """Return what a user may see of it: names, scopes, times; never a key."""
    rows = list_keys(outcome.after, now)
    result: dict[str, Any] = {
        "changed": bool(outcome.plan.steps),
        "plan": [step.as_result() for step in outcome.plan.steps],
        "api_keys": [row.as_result() for row in rows],
        "table": render_keys(rows),
    }
    if outcome.plan.new is not None:
        result["secret"] = secret_name(outcome.plan.client, outcome.plan.new.id)
    return result


def diff_of(outcome: Outcome, now: int) -> dict[str, str]:
    """Return the table of the client's keys before and after."""
    return {"before": _table(outcome.before, outcome, now), "after": _table(outcome.after, outcome, now)}


def _table(known: Known, outcome: Outcome, now: int) -> str:
    rows = [row for row in list_keys(known, now) if row.client == outcome.plan.client]
    return render_keys(rows) if rows else ""
