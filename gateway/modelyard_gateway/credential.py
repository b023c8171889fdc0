# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From the headers of a request to its client, or to why it is not let through."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .decision import Denial, Reason
from .keys import Key, Keyring
from .rate import Buckets, whole_seconds

#: Checked before anything is hashed. It is the token of RFC 6750, and every key of the secret store fits.
_KEY = re.compile(rb"[A-Za-z0-9._~+/=-]{16,1024}")
_BEARER = re.compile(rb"bearer(?: +(.*))?", re.DOTALL | re.IGNORECASE)


def given_key(api_keys: Sequence[bytes], authorizations: Sequence[bytes]) -> tuple[bytes, Reason | None]:
    """Return the key of a request; with a reason, there is none that could be looked up.

    :param api_keys: the values of every ``X-API-Key``.
    :param authorizations: the values of every ``Authorization``. A scheme other than Bearer is no key.
    """
    if len(api_keys) > 1 or len(authorizations) > 1:
        return b"", "two_keys"
    bearer = _bearer_of(authorizations[0]) if authorizations else None
    # Which of two is meant is not for two programs to decide, each in its own way.
    if api_keys and authorizations and api_keys[0] != bearer:
        return b"", "two_keys"
    key = api_keys[0] if api_keys else bearer
    if not key:
        return b"", "no_key"
    return (key, None) if _KEY.fullmatch(key) else (b"", "malformed_key")


def _bearer_of(authorization: bytes) -> bytes | None:
    found = _BEARER.fullmatch(authorization)
    return None if found is None else found[1] or b""


class Porter:
    """Decides who may ask for a service, whatever the service is doing."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self._buckets = Buckets()

    def use(self, keyring: Keyring) -> None:
        """Take other keys from now on. It is one assignment: no request sees half of them, or none."""
        self.keyring = keyring
        self._buckets.keep(keyring.clients)

    def check(
        self,
        api_keys: Sequence[bytes],
        authorizations: Sequence[bytes],
        scopes: frozenset[str],
        *,
        wall: float,
        now: float,
    ) -> Key | Denial:
        """Return the key that a request came with, or why it may not ask for a service of these scopes.

        Only what a key may ask for counts against its client's rate: a mistaken program does not shut out a good one.

        :param wall: Unix seconds.
        :param now: seconds of a clock that never goes back.
        """
        key = self.look_up(api_keys, authorizations, scopes, wall=wall)
        if isinstance(key, Denial):
            return key
        wait_seconds = self._buckets.take(key.client, key.rate, now)
        return Denial("over_rate", whole_seconds(wait_seconds), key) if wait_seconds else key

    def look_up(
        self, api_keys: Sequence[bytes], authorizations: Sequence[bytes], scopes: frozenset[str], *, wall: float
    ) -> Key | Denial:
        """Return the same, whatever the client's rate: of a request that was counted before it was held."""
        given, reason = given_key(api_keys, authorizations)
        if reason is not None:
            return Denial(reason)
        key = self.keyring.find(given)
        if key is None:
            return Denial("wrong_key")
        if key.is_expired(wall):
            return Denial("expired_key", key=key)
        return key if key.opens(scopes) else Denial("wrong_scope", key=key)
