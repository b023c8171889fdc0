# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway decides of a request, and how it says so to the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .keys import Key

#: Why a request is not let through. Metrics and the audit log name them; clients learn the status alone.
Reason = Literal[
    "no_key",  # none was sent
    "two_keys",  # a header is there twice, or both are there and differ
    "malformed_key",
    "wrong_key",
    "expired_key",
    "wrong_scope",
    "over_rate",
    "unknown_service",  # the gate knows one that the gateway does not: a reload is on its way
    "misasked",  # the gate's own headers are missing or there twice: its configuration is wrong
    "waking",  # held as long as it may be
    "crowded",  # more wait for the service already than may
    "failed",  # the service does not come up
    "removed",  # the service was taken out of the file while the request waited
    "stopping",  # the gateway ends
    "gone",  # the client left while it was held
]

_STATUS: dict[Reason, int] = {
    "no_key": 401, "two_keys": 400, "malformed_key": 403, "wrong_key": 403, "expired_key": 403, "wrong_scope": 403,
    "over_rate": 429,
}  # fmt: skip
_UNAVAILABLE = 503


@dataclass(frozen=True)
class Denial:
    """A request is not let through. ``retry_after``: in how many seconds it may be, 0 where time does not help."""

    reason: Reason
    retry_after: int = 0
    key: Key | None = None

    @property
    def status(self) -> int:
        """What the client gets."""
        return _STATUS.get(self.reason, _UNAVAILABLE)

    @property
    def is_refusal(self) -> bool:
        """Whether the client is to blame, and not the service."""
        return self.reason in _STATUS


@dataclass(frozen=True)
class Grant:
    """A request is let through, from the client of this key. ``address``: to which of a service's containers."""

    key: Key
    address: str


Decision = Denial | Grant


def headers_of(decision: Decision) -> list[tuple[bytes, bytes]]:
    """Return the headers of the answer to the gate; :mod:`.app` describes them."""
    if isinstance(decision, Grant):
        return [(b"x-auth-client", decision.key.client.encode()), (b"x-gate-address", decision.address.encode())]
    headers = [(b"x-gate-status", b"%d" % decision.status)]
    if decision.status == 401:
        headers.append((b"x-gate-challenge", b"Bearer"))
    if decision.retry_after:
        headers.append((b"x-gate-retry-after", b"%d" % decision.retry_after))
    return headers
