# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting until an authority has given Traefik a certificate for each of some names, or has said why not."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from .._compose.engine import Engine
from .._errors import PlatformError
from .certificates import find_volume, is_certified, parse_names, refusals_in

_POLL_SECONDS = 0.5
_LOG_LINES = 1000
_LONGEST_REASON = 400


@dataclass(frozen=True)
class WantedCertificates:
    """A task's options. ``project`` and ``service``: whose container Traefik is."""

    volume: str
    file: str
    names: Collection[str]
    project: str
    service: str = "traefik"
    wait_seconds: float = 180.0


def missing_names(engine: Engine, wanted: WantedCertificates) -> list[str]:
    """Return the wanted names that have no certificate in the file."""
    folder = find_volume(engine, wanted.volume)
    try:
        with open(f"{folder}/{wanted.file}", encoding="utf-8") as stream:
            found = parse_names(stream.read())
    except FileNotFoundError:
        found = []
    return sorted(name for name in set(wanted.names) if not is_certified(name, found))


def wait_for_certificates(engine: Engine, wanted: WantedCertificates) -> None:
    """Return when each name has its certificate.

    What was refused before is asked for once more: Traefik itself would wait for its next change of routes.

    :raises PlatformError: a name was refused, or has none when the time is over.
    """
    missing = missing_names(engine, wanted)
    if not missing:
        return
    container = _find_container(engine, wanted)
    before = refusals_in(engine.logs(container, lines=_LOG_LINES), missing)
    if before:
        # It reads its files again, and asks for every certificate that it has not got.
        engine.request("POST", f"/containers/{container}/kill", {"signal": "HUP"})
    deadline = time.monotonic() + wanted.wait_seconds
    while missing := missing_names(engine, wanted):
        refused = refusals_in(engine.logs(container, lines=_LOG_LINES), missing)
        new = {name: reasons[-1] for name, reasons in refused.items() if len(reasons) > len(before.get(name, ()))}
        if new.keys() >= set(missing) or time.monotonic() > deadline:
            raise PlatformError(_describe(missing, new, wanted.wait_seconds))
        time.sleep(_POLL_SECONDS)


def _find_container(engine: Engine, wanted: WantedCertificates) -> str:
    labels = [f"com.docker.compose.project={wanted.project}", f"com.docker.compose.service={wanted.service}"]
    found = engine.get("/containers/json", {"filters": {"label": labels}})
    if not found:
        raise PlatformError(
            f"Cannot wait for certificates: service {wanted.service!r} of project {wanted.project!r} does not run; "
            "apply the project first."
        )
    return str(found[0]["Id"])


def _describe(missing: Collection[str], refused: Mapping[str, str], wait_seconds: float) -> str:
    lines = []
    for name in missing:
        why = refused.get(name, f"no authority answered within {wait_seconds:g} s")
        short = why if len(why) <= _LONGEST_REASON else f"{why[:_LONGEST_REASON]}..."
        lines.append(
            f"Cannot get a certificate for '{name}': {short}; see that the name leads to this edge from everywhere, at "
            "port 80 for HTTP-01 and 443 for TLS-ALPN-01, and run again."
        )
    return "\n".join(lines)
