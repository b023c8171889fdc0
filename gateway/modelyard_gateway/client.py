# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m modelyard_gateway prove NAME``, ``rest NAME [SECONDS]`` and ``check``: asks the one that runs beside it.

``check`` has it read the files that it is given, as they are now, and tells whether it uses them.

Where that listens is in its settings, ``/config/settings.json`` unless ``MODELYARD_GATEWAY_SETTINGS`` says otherwise.

==== ==============================================================================
0    done: it is proven, it rests, the files are used
1    no: the service does not wake, something is in flight still, a file is refused and what was read before stays in
     use; standard error says why
64   this is no such command
75   not now: there is no room, the gateway does not run, or does not know the service
==== ==============================================================================
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence

from .errors import GatewayError
from .exchange import ExchangeError, Peer, exchange
from .settings import read_settings

VERBS = ("prove", "rest", "check")
DONE, NO, MISUSED, NOT_NOW = 0, 1, 64, 75

_SETTINGS = "/config/settings.json"
_CHECK = "/-/check"
#: The gateway has limits for all that it does; this is none.
_ANSWER_SECONDS = 2 * 86400.0
_CHECK_SECONDS = 30.0
#: One that was started just now reads its files first.
_START_SECONDS = 10.0
_POLL_SECONDS = 0.25
_CODES = {"proven": DONE, "rested": DONE, "in_use": DONE, "failed": NO, "busy": NO, "refused": NO}


def main(arguments: Sequence[str]) -> int:
    """Carry out a command; return the exit code."""
    path = _path_of(arguments)
    if not path:
        _say("Cannot do that: it is no command of the gateway; give 'prove NAME', 'rest NAME [SECONDS]' or 'check'.")
        return MISUSED
    try:
        settings = read_settings(os.environ.get("MODELYARD_GATEWAY_SETTINGS", _SETTINGS))
        outcome, cause = asyncio.run(_ask(Peer(settings.host, settings.port), path))
    except (GatewayError, ExchangeError) as error:
        outcome, cause = "unreachable", f"the gateway gave {error}" if isinstance(error, ExchangeError) else str(error)
    if cause:
        _say(cause)
    return _CODES.get(outcome, NOT_NOW)


def _path_of(arguments: Sequence[str]) -> str:
    """Return what is asked of the gateway; empty where it is no command."""
    verb, *words = arguments or [""]
    if verb == "check" and not words:
        return _CHECK
    if verb not in ("prove", "rest") or not words or "/" in words[0] or not words[0].isprintable():
        return ""
    name, *seconds = words
    if verb == "rest" and len(seconds) == 1 and seconds[0].isdecimal():
        return f"/-/rest/{name}?seconds={int(seconds[0])}"
    return "" if seconds else f"/-/{verb}/{name}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def _ask(peer: Peer, path: str) -> tuple[str, str]:
    until = time.monotonic() + (_START_SECONDS if path == _CHECK else 0.0)
    while True:
        try:
            return await _ask_once(peer, path)
        except ExchangeError:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(_POLL_SECONDS)


async def _ask_once(peer: Peer, path: str) -> tuple[str, str]:
    seconds = _CHECK_SECONDS if path == _CHECK else _ANSWER_SECONDS
    answer = await exchange(peer, "POST", path, timeout_seconds=seconds)
    try:
        found = json.loads(answer.body)
        return str(found["outcome"]), str(found["cause"])
    except (ValueError, KeyError, TypeError):
        raise ExchangeError(f"status {answer.status} and no report") from None
