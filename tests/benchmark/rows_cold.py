# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a newcomer waits for: the first ``make up`` on a bare Debian 12, with its downloads apart.

It runs once a benchmark: nothing of it can be repeated without a new machine, and the figure of interest is minutes.
A download is what comes in at the host's network card. The time of the downloads is that of the intervals in which
at least :data:`BUSY_BYTES_PER_SECOND` came in; where less comes in, as between a question and its answer, the time is
counted as ours.
"""

from __future__ import annotations

import functools
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from support.hosts import Host, running_host

from benchmark.harness import Row

RELEASE = "bookworm"
INTERVAL_SECONDS = 0.25
BUSY_BYTES_PER_SECOND = 256 * 2**10
MEGABYTE = 10**6


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    measures: dict[str, Callable[[str], Row]] = {
        "cold make up on a bare machine, without its downloads": measure_work,
        "downloads of a cold make up": measure_downloads,
    }
    return {name: partial(measure, name) for name, measure in measures.items()}


def measure_work(name: str) -> Row:
    """Take the time of the whole command without that of its downloads."""
    cold = cold_up()
    own = cold.seconds - cold.download_seconds
    detail = (
        f"once; {cold.seconds:.0f} s in all, of them {cold.download_seconds:.0f} s downloads "
        f"({cold.downloaded / MEGABYTE:.0f} MB)"
    )
    return Row(name, own, "s", 360.0, detail, [own])


def measure_downloads(name: str) -> Row:
    """Take what has to come in over the line, which is what a newcomer on a slow one waits for."""
    cold = cold_up()
    megabytes = cold.downloaded / MEGABYTE
    return Row(name, megabytes, "MB", 1000.0, f"once; in {cold.download_seconds:.0f} s", [megabytes])


@dataclass(frozen=True)
class Cold:
    """One first run."""

    seconds: float
    download_seconds: float
    downloaded: int


@functools.cache
def cold_up() -> Cold:
    """Return what ``make up`` took on a machine that has nothing of ours; the machine is made for it, and removed."""
    with running_host(RELEASE) as host:
        host.put_clone()
        with Meter(host) as meter:
            begin = time.monotonic()
            done = host.run("make up", timeout=3600)
            seconds = time.monotonic() - begin
        if done.returncode or "failed=0 " not in done.stdout:
            raise RuntimeError(f"make up failed on the bare host: {done.stdout[-300:]}{done.stderr[-300:]}")
        host.wait_well()
    return Cold(seconds, meter.busy_seconds, meter.received)


@dataclass
class Meter:
    """Counts what comes in at a host's network card, while it is entered."""

    host: Host
    received: int = 0
    busy_seconds: float = 0.0
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Meter:
        shown = subprocess.run(
            ["docker", "inspect", "--format", "{{.State.Pid}}", self.host.name],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        # The host's own view of its network, read from outside so that looking costs the host nothing.
        counters = Path(f"/proc/{shown.stdout.strip()}/net/dev")
        self._thread = threading.Thread(target=self._count, args=(counters,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _count(self, counters: Path) -> None:
        before, seen_at = read_received(counters.read_text(encoding="ascii")), time.monotonic()
        while not self._end.wait(INTERVAL_SECONDS):
            now, looked_at = read_received(counters.read_text(encoding="ascii")), time.monotonic()
            passed = looked_at - seen_at
            if now - before >= BUSY_BYTES_PER_SECOND * passed:
                self.busy_seconds += passed
            self.received += now - before
            before, seen_at = now, looked_at


def read_received(text: str) -> int:
    """Return the bytes that the card ``eth0`` has received. Source: proc(5), ``/proc/net/dev``."""
    line = next(line for line in text.splitlines() if line.strip().startswith("eth0:"))
    return int(line.partition(":")[2].split()[0])
