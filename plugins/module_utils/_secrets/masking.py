# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secret values taken out of text that people will see: log lines, error output."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from .store import SecretStore

MASK = "***"

#: A shorter value ('a', '80') stands in half of all words: masked wherever it occurs it would make the
#: text unreadable, and the holes would still give it away. As a whole word it is most likely the secret.
SHORTEST_MASKED_ANYWHERE = 4

_PEM_MARK = "-----"


def secret_values(store: SecretStore) -> Iterator[str]:
    """Yield every spelling of every secret value in the store, of all kept versions; public parts are left out."""
    for secret in store.secrets.values():
        for version in secret.versions.values():
            for value in version.secret.values():
                yield from spellings(value)
    if store.host_key is not None:
        yield from spellings(store.host_key.private)


def spellings(value: str) -> frozenset[str]:
    """Return ``value`` as it may stand in a file, a log or a request; of several lines also each line."""
    found = _escaped(value)
    lines = value.splitlines()
    if len(lines) > 1:
        for line in lines:
            if line.strip() and not line.startswith(_PEM_MARK):
                found |= _escaped(line.strip())
    return frozenset(found - {""})


def _escaped(value: str) -> set[str]:
    encoded = value.encode("utf-8", "surrogatepass")
    return {
        value,
        value.replace("$", "$$"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(encoded, safe=""),
        quote(encoded),
        quote_plus(encoded),
        *_base64_spellings(encoded),
    }


def _base64_spellings(encoded: bytes) -> Iterator[str]:
    """Yield what base64 makes of the value, alone and inside of longer text ('user:value').

    Base64 turns three bytes into four characters, so the value shows in three forms, by where it starts;
    characters that mix its bits with those of its neighbours are cut off.
    """
    yield base64.b64encode(encoded).decode()
    yield base64.urlsafe_b64encode(encoded).decode()
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(encoded)) * 8 // 6
        padded = bytes(before) + encoded
        for text in (base64.b64encode(padded).decode(), base64.urlsafe_b64encode(padded).decode()):
            if last - first >= SHORTEST_MASKED_ANYWHERE:
                yield text[first:last]


def mask(text: str, values: Iterable[str]) -> str:
    """Return ``text`` with each of ``values`` replaced by ``***``, the longest first.

    Values of fewer than four characters are replaced only where they stand as a whole word.
    """
    present = sorted({value for value in values if value and value in text}, key=lambda value: (-len(value), value))
    for value in present:
        if len(value) >= SHORTEST_MASKED_ANYWHERE:
            text = text.replace(value, MASK)
        else:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", MASK, text)
    return text
