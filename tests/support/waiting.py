# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for what others do."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(claim: Callable[[], bool], said: str, *, seconds: float = 60, pause: float = 0.05) -> None:
    """Return as soon as a claim holds; fail with what was ``said`` of it."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {said}"
        time.sleep(pause)
