# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stopping, starting and removing single containers; one that is gone is never an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from .engine import Engine, EngineError

#: What the engine does when a container does not say how long it may take to stop.
_DEFAULT_GRACE_SECONDS = 10
_STOP_MARGIN_SECONDS = 60.0


@contextlib.contextmanager
def gone_is_fine() -> Iterator[None]:
    """Pass over a container that is gone (404), or that the engine is removing already (409)."""
    try:
        yield
    except EngineError as error:
        if error.status not in (404, 409):
            raise


def stop_container(engine: Engine, container_id: str) -> None:
    """Stop a container; it gets the grace that it asks for."""
    with gone_is_fine():
        found = engine.get(f"/containers/{container_id}/json")
        limit = _grace_seconds(found) + _STOP_MARGIN_SECONDS
        engine.request("POST", f"/containers/{container_id}/stop", timeout_seconds=limit)


def remove_container(engine: Engine, container_id: str) -> None:
    """Stop a container and remove it; its volumes stay."""
    stop_container(engine, container_id)
    with gone_is_fine():
        engine.request("DELETE", f"/containers/{container_id}", {"v": "0", "force": "true"})


def start_container(engine: Engine, container_id: str) -> None:
    """Start a container that is stopped."""
    with gone_is_fine():
        engine.request("POST", f"/containers/{container_id}/start")


def _grace_seconds(found: Mapping[str, Any]) -> int:
    grace = found["Config"].get("StopTimeout")
    return _DEFAULT_GRACE_SECONDS if grace is None else int(grace)
