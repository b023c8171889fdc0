# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What authorities have given to Traefik: one file per authority in the volume of its project. Names alone, no key."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from .._compose.engine import Engine, EngineError

#: Names of a file, as Traefik writes it for the resolver of role traefik.
_RESOLVER = "acme"


def read_certificates(folder: str) -> dict[str, list[str]]:
    """Return file to the names that its certificates are for.

    A file that Traefik has not filled yet has none.
    """
    found = {}
    for entry in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if entry.endswith(".json"):
            with open(f"{folder}/{entry}", encoding="utf-8") as stream:
                found[entry] = parse_names(stream.read())
    return found


def parse_names(text: str) -> list[str]:
    """Return the names of all certificates in the text of one file. Recorded with Traefik 3.7.15.

    Text that is no JSON has none: Traefik writes the file in place, so a reader may meet half of it.
    """
    try:
        stored = json.loads(text or "{}")
    except ValueError:
        return []
    certificates = (stored.get(_RESOLVER) or {}).get("Certificates") or ()
    domains = [entry.get("domain") or {} for entry in certificates]
    return sorted({name for domain in domains for name in (domain.get("main"), *(domain.get("sans") or ())) if name})


def is_certified(name: str, certified: Collection[str]) -> bool:
    """Tell whether a name has a certificate: its own, or that of a wildcard, for which Traefik asks no second one."""
    return name in certified or f"*.{name.partition('.')[2]}" in certified


def find_volume(engine: Engine, name: str) -> str:
    """Return where a volume's content is on this host; empty where there is no such volume, or no engine."""
    try:
        return str(engine.get(f"/volumes/{name}").get("Mountpoint") or "")
    except EngineError:
        return ""


def refusals_in(log: str, names: Iterable[str]) -> dict[str, list[str]]:
    """Return name to the reasons why no certificate was given for it, in their order. Recorded with Traefik 3.7.15.

    :param log: of Traefik, in JSON, a message per line.
    """
    wanted = set(names)
    found: dict[str, list[str]] = {}
    for message in _errors_of(log):
        for name in wanted.intersection(message.get("domains") or ()):
            found.setdefault(name, []).append(" ".join(str(message["error"]).split()))
    return found


def _errors_of(log: str) -> Iterator[dict[str, Any]]:
    for line in log.splitlines():
        start = line.find("{")
        try:
            message = json.loads(line[start:]) if start >= 0 else None
        except ValueError:
            continue
        if isinstance(message, dict) and message.get("level") == "error" and message.get("error"):
            yield message
