# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Settings: where everything is. The only argument of the program is their file.

::

    {"format": 1, "listen": {"host": "127.0.0.1", "port": 9090}, "engine": "http://docker-proxy:2375",
     "keys": ["/config/keys.json", "/keys/issued.json"], "services": "/config/services.json",
     "state": "/state/asleep.json", "edge": ["site-traefik-traefik-1"], "timing": {"dial_seconds": 10}}

Of the files of keys the first one has to be there; any other one may come and go. ``edge``: the containers that may say
who a request is from; nobody where it is left out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .files import Fields, parse_fields, read_bytes
from .state import Timing

_DAY = 86400.0


@dataclass(frozen=True)
class Settings:
    host: str
    port: int
    engine: str
    keys: tuple[str, ...]
    services: str
    state: str
    timing: Timing
    edge: tuple[str, ...] = ()


def read_settings(path: str) -> Settings:
    """Return the settings in a file.

    :raises GatewayError: it cannot be read, or is not of that form.
    """
    fields = parse_fields(read_bytes(path), path)
    fields.only("format", "listen", "engine", "keys", "services", "state", "edge", "timing")
    listen = fields.inner("listen")
    if listen is None:
        raise fields.wrong("has no listen")
    listen.only("host", "port")
    return Settings(
        host=listen.text("host", "127.0.0.1"),
        port=int(listen.number("port", least=1, most=65535)),
        engine=fields.text("engine"),
        keys=_parse_paths(fields),
        services=fields.text("services"),
        state=fields.text("state"),
        edge=tuple(fields.texts("edge")) if "edge" in fields.found else (),
        timing=_parse_timing(fields.inner("timing")),
    )


def _parse_paths(fields: Fields) -> tuple[str, ...]:
    paths = tuple(fields.texts("keys"))
    if not paths or len(set(paths)) != len(paths):
        raise fields.wrong(f"has keys {list(paths)!r}, which are not one file or several, each once")
    return paths


def _parse_timing(fields: Fields | None) -> Timing:
    if fields is None:
        return Timing()
    names = [field.name for field in dataclasses.fields(Timing)]
    fields.only(*names)
    given: dict[str, Any] = {name: fields.number(name, least=0.001, most=_DAY) for name in fields.found}
    if "most_waiting" in given:
        given["most_waiting"] = int(fields.number("most_waiting", least=1, most=_DAY))
    return Timing(**given)
