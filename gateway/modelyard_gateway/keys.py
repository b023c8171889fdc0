# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys: who a request is from, and what that client may call.

The file holds the SHA-256 of each key and no key::

    {"format": 1, "clients": {"webui": {
        "rate": {"per_minute": 600, "burst": 50},
        "keys": [{"id": "2026-11", "sha256": "5e88...", "scopes": ["chat"], "not_after": "2027-01-31T00:00:00Z"}]}}}

A client has any number of keys, so that it can change over from one to the next. A scope is a service's name, a word
that services share, or ``*`` for all. ``rate`` and ``not_after`` may be left out. A revoked key is one that is not
there any more. What else is written down of a key (:data:`NOTES`) is for people.

There may be several such files, one that the site declares and one of keys that were issued since. A client may be in
more than one: it has the keys of all, and the rate of the first file that says one. A key that is in more than one
counts as the first one has it.

**Looking up is quick and gives no timing away.** The digest is looked up in a dict, whose time may depend on the
digest: but nobody can choose a digest. To use what a digest's first bytes would tell, one would have to find keys
whose SHA-256 begins as wanted, and would then know a digest, from which no key follows. So a comparison in constant
time, of each key with the given one, would only make it slow with the number of keys.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .files import Fields, parse_fields
from .rate import Rate

#: What a client or an id may be called: both stand in headers and in the log.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
#: What ``modelyard.platform.api_keys`` writes beside what counts.
NOTES = ("issued_at", "issued_by", "replaced_by")
ALL_SERVICES = "*"
_MOST_PER_MINUTE = 1e9


@dataclass(frozen=True)
class Key:
    """One key of one client. ``not_after``: Unix seconds from which on it is none, or None."""

    client: str
    id: str
    scopes: frozenset[str]
    not_after: float | None
    rate: Rate | None

    def is_expired(self, now: float) -> bool:
        """Whether it is none any more.

        :param now: Unix seconds.
        """
        return self.not_after is not None and now >= self.not_after

    def opens(self, scopes: frozenset[str]) -> bool:
        """Whether it has one of a service's scopes."""
        return ALL_SERVICES in self.scopes or not self.scopes.isdisjoint(scopes)


class Keyring:
    """All keys, by the SHA-256 of each."""

    def __init__(self, keys: dict[bytes, Key]) -> None:
        self._keys = keys
        self.clients = frozenset(key.client for key in keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key: bytes) -> Key | None:
        """Return what is known of a key as a client sent it."""
        return self._keys.get(hashlib.sha256(key).digest())


def parse_keys(content: bytes, path: str, others: Iterable[tuple[bytes, str]] = ()) -> Keyring:
    """Return the keys that a file declares, and those of ``others``, pairs of content and path.

    A key counts as the first file has it that names it, by its digest or by client and id: what was issued and is
    declared by now counts as it is declared. So no file stands in another one's way.

    :raises GatewayError: one is not of that form, or has one key twice; no digest is quoted.
    """
    found: dict[bytes, Key] = {}
    rates: dict[str, Rate] = {}
    for one in ((content, path), *others):
        taken = {(key.client, key.id) for key in found.values()}
        for digest, key in _parse_file(*one, rates).items():
            if (key.client, key.id) not in taken:
                found.setdefault(digest, key)
    return Keyring({digest: replace(key, rate=rates.get(key.client)) for digest, key in found.items()})


def _parse_file(content: bytes, path: str, rates: dict[str, Rate]) -> dict[bytes, Key]:
    """Return the keys of one file by their digest, and note the rate of each client that has none in ``rates`` yet."""
    fields = parse_fields(content, path)
    fields.only("format", "clients")
    found: dict[bytes, Key] = {}
    for client, declared in fields.named("clients").items():
        if not _NAME.fullmatch(client):
            raise declared.wrong("has a name that is not of letters, digits and ._@-, at most 64")
        declared.only("rate", "keys")
        rate = _parse_rate(declared.inner("rate"))
        if rate is not None:
            rates.setdefault(client, rate)
        keys = [_parse_key(client, one) for one in declared.objects("keys")]
        if len({key.id for _digest, key in keys}) != len(keys):
            raise declared.wrong("has two keys with one id")
        for digest, key in keys:
            same = found.setdefault(digest, key)
            if same is not key:
                raise declared.wrong(
                    f"has the key {key.id!r}, which is there twice, as {same.id!r} of client {same.client!r} too"
                )
    return found


def _parse_rate(fields: Fields | None) -> Rate | None:
    if fields is None:
        return None
    fields.only("per_minute", "burst")
    per_minute = fields.number("per_minute", least=1e-3, most=_MOST_PER_MINUTE)
    return Rate(per_minute, fields.number("burst", least=1, most=_MOST_PER_MINUTE))


def _parse_key(client: str, fields: Fields) -> tuple[bytes, Key]:
    fields.only("id", "sha256", "scopes", "not_after", *NOTES)
    name, digest = fields.text("id"), fields.text("sha256")
    if not _NAME.fullmatch(name):
        raise fields.wrong("has an id that is not of letters, digits and ._@-, at most 64")
    if not _SHA256.fullmatch(digest):
        raise fields.wrong("has a sha256 that is not 64 digits of 0-9a-f")
    not_after = None if fields.found.get("not_after") is None else _parse_time(fields)
    return bytes.fromhex(digest), Key(client, name, frozenset(fields.texts("scopes")), not_after, None)


def _parse_time(fields: Fields) -> float:
    text = fields.text("not_after")
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.datetime.fromisoformat(f"{text.removesuffix('Z')}+00:00").timestamp()
    except ValueError:
        raise fields.wrong(f"has not_after {text!r}, which is not of the form 2027-01-31T00:00:00Z") from None
