# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m modelyard_gateway prove NAME`` and ``... rest NAME [SECONDS]``: asks the gateway that runs beside it.

Where that listens is in its settings, ``/config/settings.json`` unless ``MODELYARD_GATEWAY_SETTINGS`` says otherwise.

==== ==============================================================================
0    done: it is proven, or it rests
1    no: the service does not wake, or something is in flight still; standard error says why
64   this is no such command
75   not now: there is no room, the gateway does not run, or does not know the service
==== ==============================================================================
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence

from .errors import GatewayError
from .exchange import ExchangeError, Peer, exchange
from .settings import read_settings

VERBS = ("prove", "rest")
DONE, NO, MISUSED, NOT_NOW = 0, 1, 64, 75

_SETTINGS = "/config/settings.json"
#: The gateway has limits for all that it does; this is none.
_ANSWER_SECONDS = 2 * 86400.0
_CODES = {"proven": DONE, "rested": DONE, "failed": NO, "busy": NO}


def main(arguments: Sequence[str]) -> int:
    """Carry out a command; return the exit code."""
    try:
        verb, name, *rest = arguments
        query = f"?seconds={int(rest[0])}" if rest else ""
        is_meant = verb in VERBS and len(rest) <= int(verb == "rest") and "/" not in name and name.isprintable()
    except ValueError:
        is_meant = False
    if not is_meant:
        _say("Cannot do that: it is no command of the gateway; give 'prove NAME' or 'rest NAME [SECONDS]'.")
        return MISUSED
    try:
        settings = read_settings(os.environ.get("MODELYARD_GATEWAY_SETTINGS", _SETTINGS))
        outcome, cause = asyncio.run(_ask(Peer(settings.host, settings.port), f"/-/{verb}/{name}{query}"))
    except (GatewayError, ExchangeError) as error:
        outcome, cause = "unreachable", f"the gateway gave {error}" if isinstance(error, ExchangeError) else str(error)
    if cause:
        _say(cause)
    return _CODES.get(outcome, NOT_NOW)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def _ask(peer: Peer, path: str) -> tuple[str, str]:
    answer = await exchange(peer, "POST", path, timeout_seconds=_ANSWER_SECONDS)
    try:
        found = json.loads(answer.body)
        return str(found["outcome"]), str(found["cause"])
    except (ValueError, KeyError, TypeError):
        raise ExchangeError(f"status {answer.status} and no report") from None
