# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Peak memory of a running module and its children."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

from support.modules import RunningModule

SAMPLE_SECONDS = 0.005
#: Compose and its CLI are not ours; neither is what they start.
COMPOSE = frozenset({"docker", "docker-compose", "docker-buildx"})

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def peak_mebibytes(running: RunningModule) -> float:
    """Return the largest sum of resident memory while the module ran; it has ended, but nobody waited for it yet.

    Memory that processes share is counted for each, so this is an upper bound.
    """
    peak = 0
    while running.process.poll() is None:
        peak = max(peak, _resident_bytes(running.pid, without=COMPOSE))
        time.sleep(SAMPLE_SECONDS)
    return peak / 2**20


def _resident_bytes(pid: int, *, without: Collection[str]) -> int:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                    for child in (task / "children").read_text().split()]  # fmt: skip
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return 0  # ended between two reads
    if name in without:
        return 0
    return pages * _PAGE_BYTES + sum(_resident_bytes(child, without=without) for child in children)
