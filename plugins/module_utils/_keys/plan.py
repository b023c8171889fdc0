# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would happen to the keys of a client, and why. Pure: check mode and the real run use the same plan."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from .._errors import PlatformError
from .issued import Issued, IssuedClient, IssuedKey, Rate, with_keys
from .known import Known
from .times import render_time
from .wish import ALL_SERVICES, Wish, secret_name

#: ``end``: it ends earlier than it would have. ``forget``: one that was replaced, and whose time is over.
Action = Literal["issue", "limit", "end", "revoke", "forget"]


@dataclass(frozen=True)
class Step:
    """What happens to one key, or (``limit``) to a client."""

    action: Action
    client: str
    id: str
    reason: str

    def as_result(self) -> dict[str, str]:
        return {"action": self.action, "client": self.client, "id": self.id, "reason": self.reason}


@dataclass(frozen=True)
class NewKey:
    """A key that is to be made."""

    id: str
    scopes: tuple[str, ...]
    not_after: int | None


@dataclass(frozen=True)
class Plan:
    """What is to be done to a client's keys: first ``kept`` and ``new`` are written, then those ``removed`` go."""

    client: str
    steps: tuple[Step, ...] = ()
    kept: tuple[IssuedKey, ...] = ()
    removed: tuple[IssuedKey, ...] = ()
    new: NewKey | None = None
    rate: Rate | None = None

    def new_key(self, wish: Wish, digest: str, now: int) -> tuple[IssuedKey, ...]:
        """Return the new key as it is written down; none where none is to be made."""
        if self.new is None:
            return ()
        return (IssuedKey(self.new.id, digest, self.new.scopes, now, wish.issued_by, self.new.not_after),)

    def outcome(self, issued: Issued, new: tuple[IssuedKey, ...] = ()) -> dict[str, Any]:
        """Return what is issued afterwards."""
        return with_keys(issued, self.client, (*self.kept, *new), self.rate)


def make_plan(wish: Wish, known: Known, now: int) -> Plan:
    """Return what a wish means for what there is.

    :raises PlatformError: it cannot be done.
    """
    if wish.asked == "revoke":
        return _plan_revoke(wish, known)
    return _plan_issue(wish, known, now) if wish.asked == "issue" else _plan_rotate(wish, known, now)


def _plan_issue(wish: Wish, known: Known, now: int) -> Plan:
    _check_scopes(wish, known)
    client = known.issued_client(wish.client)
    if wish.id and (there := client.key(wish.id)):
        _check_same(wish, there, now)
        return Plan(wish.client, kept=client.keys, rate=client.rate)
    if wish.id and known.has_id(wish.client, wish.id):
        raise PlatformError(
            f"Cannot {wish.doing}: the id {wish.id!r} is taken, secret {secret_name(wish.client, wish.id)!r} is "
            "another key's; choose another id, or leave it out."
        )
    new = NewKey(wish.id or _free_id(wish.client, known, now), wish.scopes, wish.not_after)
    rate = wish.rate or client.rate
    return _with_new(wish, client, known, Plan(wish.client, _limit(wish, client), client.keys, (), new, rate), now)


def _check_scopes(wish: Wish, known: Known) -> None:
    scopes = ", ".join(sorted(known.gateway.scopes)) or "none"
    if not wish.scopes:
        raise PlatformError(
            f"Cannot {wish.doing}: no scope says what it may call; services have {scopes}, name some of "
            f"them, or '{ALL_SERVICES}' for all that there ever are."
        )
    wrong = [scope for scope in wish.scopes if scope != ALL_SERVICES and scope not in known.gateway.scopes]
    if wrong:
        raise PlatformError(
            f"Cannot {wish.doing}: no gated service has the scope {', '.join(map(repr, wrong))}, there are {scopes}; "
            "correct the scope, or deploy the service first."
        )


def _check_same(wish: Wish, there: IssuedKey, now: int) -> None:
    """A key that is there as asked stays, so that a play that names ids may run again."""
    differs = []
    if set(there.scopes) != set(wish.scopes):
        differs.append(f"opens {', '.join(there.scopes)}")
    if there.not_after != wish.not_after:
        differs.append("has no end" if there.not_after is None else f"ends at {render_time(there.not_after)}")
    if there.is_over(now):
        differs = ["is over"]
    if differs:
        raise PlatformError(
            f"Cannot {wish.doing}: its key {there.id!r} is there and {' and '.join(differs)}; choose another id, or "
            "revoke that one first."
        )


def _limit(wish: Wish, client: IssuedClient) -> tuple[Step, ...]:
    if wish.rate is None or wish.rate == client.rate:
        return ()
    said = f"{wish.rate.per_minute:g} requests a minute, {wish.rate.burst:g} at once"
    return (Step("limit", wish.client, "", said),)


def _free_id(client: str, known: Known, now: int) -> str:
    """Return today's date, with a number where that is taken: it says in logs and lists which key is how old."""
    day = time.strftime("%Y%m%d", time.gmtime(now))
    number = 1
    while known.has_id(client, name := day if number == 1 else f"{day}_{number}"):
        number += 1
    return name


def _with_new(wish: Wish, client: IssuedClient, known: Known, plan: Plan, now: int) -> Plan:
    """Add the step of the new key, and drop what earlier rotations have left."""
    new = plan.new
    if new is None:
        raise ValueError("a plan without a new key")
    end = "without end" if new.not_after is None else f"until {render_time(new.not_after)}"
    first = not client.keys and wish.client not in known.gateway.declared
    said = f"{'the first key of a new client' if first else 'it was asked for'}, for {', '.join(new.scopes)}, {end}"
    over = tuple(key for key in plan.kept if key.replaced_by and key.is_over(now))
    forgotten = [
        Step("forget", wish.client, key.id, f"{key.replaced_by!r} has taken its place, and its time is over")
        for key in over
    ]
    return replace(
        plan,
        steps=(Step("issue", wish.client, new.id, said), *plan.steps, *forgotten),
        kept=tuple(key for key in plan.kept if key not in over),
        removed=(*plan.removed, *over),
    )


def _plan_revoke(wish: Wish, known: Known) -> Plan:
    client = _require_client(wish, known)
    gone = tuple(key for key in client.keys if wish.id in ("", key.id))
    if not gone:
        raise _no_such_key(wish, client)
    steps = tuple(Step("revoke", wish.client, key.id, _why_revoked(wish, key, known)) for key in gone)
    kept = tuple(key for key in client.keys if key not in gone)
    return Plan(wish.client, steps, kept, gone, rate=client.rate)


def _why_revoked(wish: Wish, key: IssuedKey, known: Known) -> str:
    if not known.is_declared(wish.client, key.id):
        return "it was asked for"
    return (
        "it was asked for; it is declared too, and good as long as the inventory (gateway_clients) or a role names it"
    )


def _plan_rotate(wish: Wish, known: Known, now: int) -> Plan:
    client = _require_client(wish, known)
    old = _rotated(wish, client, now)
    if wish.scopes:
        _check_scopes(wish, known)
    not_after = wish.not_after or old.not_after
    if not_after is not None and not_after <= now:
        raise PlatformError(
            f"Cannot {wish.doing}: key {old.id!r} ended at {render_time(not_after)}, and so would the one in its "
            "place; say when that is to end."
        )
    name = _free_id(wish.client, known, now)
    end = now + wish.overlap_seconds
    end = end if old.not_after is None else min(end, old.not_after)
    ended = replace(old, not_after=end, replaced_by=name)
    step = Step("end", wish.client, old.id, f"{name!r} takes its place, it ends at {render_time(end)}")
    kept = tuple(ended if key is old else key for key in client.keys)
    new = NewKey(name, wish.scopes or old.scopes, not_after)
    plan = Plan(wish.client, (step, *_limit(wish, client)), kept, (), new, wish.rate or client.rate)
    return _with_new(wish, client, known, plan, now)


def _rotated(wish: Wish, client: IssuedClient, now: int) -> IssuedKey:
    """Return the key that gets a successor: the one that was named, or the only one that has none."""
    if wish.id:
        found = client.key(wish.id)
        if found is None:
            raise _no_such_key(wish, client)
        if found.replaced_by:
            raise PlatformError(
                f"Cannot {wish.doing}: key {found.id!r} has been replaced by {found.replaced_by!r} already; "
                "rotate that one."
            )
        return found
    current = [key for key in client.keys if not key.replaced_by]
    if len(current) > 1:
        current = [key for key in current if not key.is_over(now)] or current
    if len(current) != 1:
        ids = ", ".join(key.id for key in current) or "none that has not been replaced"
        raise PlatformError(f"Cannot {wish.doing}: it has {ids}; say which one by its id.")
    return current[0]


def _require_client(wish: Wish, known: Known) -> IssuedClient:
    found = known.issued.get(wish.client)
    if found is not None:
        return found
    if wish.client in known.gateway.declared:
        raise PlatformError(
            f"Cannot {wish.doing}: its keys are declared, by the inventory (gateway_clients) or by a role; take them "
            "out there or name their secrets in site_rotate, and deploy the site."
        )
    others = ", ".join(sorted(known.issued)) or "none"
    raise PlatformError(
        f"Cannot {wish.doing}: no key was ever issued to a client of that name, or all are revoked; clients with "
        f"keys are {others}, correct the name."
    )


def _no_such_key(wish: Wish, client: IssuedClient) -> PlatformError:
    ids = ", ".join(key.id for key in client.keys)
    return PlatformError(f"Cannot {wish.doing}: it has no key {wish.id!r}; it has {ids}, name one of these.")
