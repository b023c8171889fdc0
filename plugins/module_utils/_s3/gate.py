# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate: every user's own question is asked, until the store answers with what was declared.

rclone asks its auth program again for a key that it knows only 10 s after it asked last, so without this a rotated
secret could be refused to the first who uses it. It keeps one answer for all clients: what is true for us is for them.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from .._errors import PlatformError
from .declaration import User
from .signing import AccessKey, sign_request

_POLL_SECONDS = 0.2
_REQUEST_SECONDS = 10


@dataclass(frozen=True)
class Answer:
    """What the store says to one user: its buckets, or why not."""

    buckets: frozenset[str] | None
    fault: str = ""


def wait_for_users(address: str, users: Iterable[User], *, wait_seconds: float) -> None:
    """Return when each user's own request is answered with the buckets that it has.

    :param address: of the store, as host:port.
    :raises PlatformError: one is not after ``wait_seconds``; says what the store answers.
    """
    deadline = time.monotonic() + wait_seconds
    for user in users:
        while (fault := _fault(ask_for_buckets(address, user), user)) is not None:
            if time.monotonic() >= deadline:
                raise PlatformError(
                    f"Cannot see user '{user.name}' work: asked at {address} with its key, the store {fault} after "
                    f"{wait_seconds:g} s; its files are as they should be, so look at the store's log (docker logs)."
                )
            time.sleep(_POLL_SECONDS)


def _fault(answer: Answer, user: User) -> str | None:
    if answer.buckets is None:
        return answer.fault
    if answer.buckets == frozenset(user.grants):
        return None
    return f"shows the buckets {', '.join(sorted(answer.buckets)) or '(none)'}"


def ask_for_buckets(address: str, user: User) -> Answer:
    """Send ``GET /`` signed by the user's key."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    connection = http.client.HTTPConnection(address, timeout=_REQUEST_SECONDS)
    try:
        connection.request("GET", "/", headers=sign_list_buckets(address, user, now=now))
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return Answer(None, f"does not answer ({error})")
    finally:
        connection.close()
    if response.status != 200:
        return Answer(None, f"answers {response.status}")
    # Of names that S3 allows, none is escaped in XML.
    return Answer(frozenset(re.findall(r"<Bucket>.*?<Name>([^<]*)</Name>", body, re.DOTALL)))


def sign_list_buckets(address: str, user: User, *, now: str) -> dict[str, str]:
    """Return the headers of a signed ``GET /``.

    :param now: the time in UTC, as 20261121T113000Z.
    """
    key = AccessKey(user.access_key_id, user.secret_access_key)
    return sign_request("GET", "/", address=address, key=key, now=now)
