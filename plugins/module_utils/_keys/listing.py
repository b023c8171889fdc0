# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All keys of a gateway as rows, for programs and for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .._table import render_table
from .times import render_time
from .wish import secret_name

if TYPE_CHECKING:
    from .gateway_files import DeclaredKey
    from .issued import IssuedKey
    from .known import Known

#: ``lost``: the secret store has no value of it, so nobody can read it any more.
State = Literal["active", "ends_soon", "replaced", "expired", "lost"]
_SOON_DAYS = 14
_DAY_SECONDS = 86400


@dataclass(frozen=True)
class Row:
    """One key. ``source``: whether it was issued or is declared."""

    client: str
    id: str
    scopes: tuple[str, ...]
    not_after: int | None
    state: State
    source: Literal["issued", "declared"]
    note: str = ""
    issued: IssuedKey | None = None

    def as_result(self) -> dict[str, Any]:
        """Return what the module returns of it."""
        return {
            "client": self.client, "id": self.id, "scopes": list(self.scopes), "state": self.state,
            "expires": None if self.not_after is None else render_time(self.not_after), "source": self.source,
            "issued_at": self.issued and render_time(self.issued.issued_at),
            "issued_by": self.issued and self.issued.issued_by,
            "replaced_by": self.issued and self.issued.replaced_by,
            "secret": secret_name(self.client, self.id),
        }  # fmt: skip


def list_keys(known: Known, now: int) -> list[Row]:
    """Return a row for every key, by client, and the oldest of each first."""
    rows = [*_issued_rows(known, now), *_declared_rows(known, now)]
    return sorted(rows, key=lambda row: row.client)


def _issued_rows(known: Known, now: int) -> Iterator[Row]:
    for client, found in known.issued.items():
        for key in found.keys:
            is_lost = secret_name(client, key.id) not in known.secrets
            state, note = _state(key.not_after, now)
            if state != "expired" and is_lost:
                state, note = "lost", "its value is not in the secret store; revoke it"
            elif state != "expired" and key.replaced_by:
                state, note = "replaced", f"by {key.replaced_by}, {_ends(key, now)}"
            if known.is_declared(client, key.id):
                note = "the declared one counts; revoke this one"
            yield Row(client, key.id, key.scopes, key.not_after, state, "issued", note, key)


def _declared_rows(known: Known, now: int) -> Iterator[Row]:
    for client, keys in known.gateway.declared.items():
        for key in keys:
            yield Row(client, key.id, key.scopes, key.not_after, *_declared_state(key, now))


def _declared_state(key: DeclaredKey, now: int) -> tuple[State, Literal["declared"], str]:
    state, note = _state(key.not_after, now)
    return state, "declared", f"{note}, declared" if note else "declared"


def _state(not_after: int | None, now: int) -> tuple[State, str]:
    if not_after is None or not_after - now > _SOON_DAYS * _DAY_SECONDS:
        return "active", ""
    if not_after <= now:
        return "expired", ""
    return "ends_soon", f"in {_days(not_after - now)}"


def _ends(key: IssuedKey, now: int) -> str:
    return "without end" if key.not_after is None else f"ends in {_days(key.not_after - now)}"


def _days(seconds: int) -> str:
    days = seconds // _DAY_SECONDS
    return "less than a day" if days < 1 else f"{days} day{'s' if days > 1 else ''}"


def render_keys(rows: Sequence[Row]) -> str:
    """Return a line for every key."""
    if not rows:
        return "No key was issued here, and none is declared.\n"
    cells = [("CLIENT", "ID", "SCOPES", "EXPIRES", "STATE")]
    for row in rows:
        expires = "never" if row.not_after is None else render_time(row.not_after)
        state = row.state.replace("_", " ")
        shown = f"{state} ({row.note})" if row.note else state
        cells.append((row.client, row.id, ",".join(row.scopes) or "none", expires, shown))
    return render_table(cells)
