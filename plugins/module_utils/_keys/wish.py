# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an operator asks of API keys, checked without looking at any host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .._errors import PlatformError
from .issued import Rate
from .times import parse_end, render_time

Asked = Literal["list", "issue", "revoke", "rotate"]
ALL_SERVICES = "*"
#: Client and id stand in a secret's name of at most 63 characters, and in the gateway's log.
_CLIENT = re.compile(r"[a-z][a-z0-9_]{0,31}")
_ID = re.compile(r"[a-z0-9][a-z0-9_]{0,16}")
_MOST_OVERLAP_DAYS = 365
_MOST_PER_MINUTE = 1e9
_DAY_SECONDS = 86400
_VERBS = {"issue": "issue a key for", "revoke": "revoke keys of", "rotate": "rotate a key of"}
_MOST_WHO = 64


@dataclass(frozen=True)
class Wish:
    """What is asked. ``id`` is empty where none is named, ``not_after`` None where the key is not to end."""

    asked: Asked
    client: str = ""
    id: str = ""
    scopes: tuple[str, ...] = ()
    not_after: int | None = None
    rate: Rate | None = None
    overlap_seconds: int = 7 * _DAY_SECONDS
    issued_by: str = ""

    @property
    def doing(self) -> str:
        """What is done, to complete *Cannot ...*."""
        return f"{_VERBS[self.asked]} client {self.client!r}" if self.asked in _VERBS else "list keys"


def secret_name(client: str, key: str) -> str:
    """Return the name of the secret that holds a client's key."""
    return f"gateway_key_{client}_{key}"


def parse_wish(params: Mapping[str, Any], *, who: str, now: int) -> Wish:
    """Return what is asked by the options of the module.

    :param who: who asks, where the options do not say.
    :raises PlatformError: a name, a number or a time is none.
    """
    wish = Wish(
        asked=params["action"],
        client=params["client"] or "",
        id=params["id"] or "",
        scopes=tuple(dict.fromkeys(params["scopes"] or ())),
        issued_by=_printable(params["issued_by"] or who),
        overlap_seconds=params["overlap_days"] * _DAY_SECONDS,
    )
    if wish.asked == "list":
        return wish
    _check_names(wish)
    if not 0 <= params["overlap_days"] <= _MOST_OVERLAP_DAYS:
        raise PlatformError(
            f"Cannot {wish.doing}: an overlap of {params['overlap_days']} days was asked for; "
            f"give a number from 0 to {_MOST_OVERLAP_DAYS}."
        )
    not_after = _parse_end(wish, params["expires"], now)
    return Wish(**{**vars(wish), "not_after": not_after, "rate": _parse_rate(wish, params["rate"])})


def _check_names(wish: Wish) -> None:
    if not wish.client:
        raise PlatformError(f"Cannot {wish.asked} a key: no client is named; say whose key it is (client).")
    if not _CLIENT.fullmatch(wish.client):
        raise PlatformError(
            f"Cannot {wish.doing}: it is no name; use up to 32 of a-z, 0-9 and '_', a letter first, such as alice."
        )
    if wish.id and not _ID.fullmatch(wish.id):
        raise PlatformError(
            f"Cannot {wish.doing}: the key's id {wish.id!r} is no name; use up to 17 of a-z, 0-9 and '_', a letter or "
            "digit first, such as laptop."
        )


def _parse_end(wish: Wish, text: str | None, now: int) -> int | None:
    if not text:
        return None
    try:
        found = parse_end(text)
    except ValueError:
        raise PlatformError(
            f"Cannot {wish.doing}: its end {text!r} is no day; write one such as 2027-01-31, or a time such as "
            "2027-01-31T12:00:00Z."
        ) from None
    if found <= now:
        raise PlatformError(
            f"Cannot {wish.doing}: its end {render_time(found)} has passed, it is {render_time(now)} now; "
            "give a day that is to come."
        )
    return found


def _parse_rate(wish: Wish, given: Mapping[str, Any] | None) -> Rate | None:
    if given is None:
        return None
    per_minute, burst = given["per_minute"], given["burst"]
    burst = max(1.0, per_minute / 60) if burst is None else burst
    if not 1e-3 <= per_minute <= _MOST_PER_MINUTE or not 1 <= burst <= _MOST_PER_MINUTE:
        raise PlatformError(
            f"Cannot {wish.doing}: {per_minute:g} requests a minute and {burst:g} at once are no limit; give a "
            "number above 0 for the first, and at least 1 for the second."
        )
    return Rate(per_minute, burst)


def _printable(who: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in who)[:_MOST_WHO]
