# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Points in time as the gateway's files have them, and as people write them."""

from __future__ import annotations

import calendar
import re
import time

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FORM = "%Y-%m-%dT%H:%M:%SZ"


def render_time(seconds: int) -> str:
    """Return Unix seconds as ``2027-01-31T23:59:59Z``."""
    return time.strftime(_FORM, time.gmtime(seconds))


def parse_time(text: str) -> int:
    """Return the Unix seconds of ``2027-01-31T23:59:59Z``.

    :raises ValueError: it is not of that form, or there is no such day.
    """
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError
    return calendar.timegm(time.strptime(text, _FORM))


def parse_end(text: str) -> int:
    """Return the Unix seconds at which what ends so is over: of a day its last second, in UTC.

    :raises ValueError: it is neither a day nor a time, or there is no such day.
    """
    return parse_time(f"{text}T23:59:59Z" if _DAY.fullmatch(text) else text)
