# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What any user of the machine sees of a running program: its arguments."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path


class ArgumentWatch:
    """Samples the arguments of every process of the machine, those in containers too, while it is entered."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ArgumentWatch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._done.set()
        self._thread.join()

    def text(self) -> str:
        """Return all arguments that were seen."""
        return b"\n".join(sorted(self.seen)).decode(errors="replace")

    def _watch(self) -> None:
        while not self._done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes())
            time.sleep(0.005)
