# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a contributor waits for before each commit: the gates that need no engine, with warm caches."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial

from support.modules import ROOT

from benchmark.harness import Row, timed, worst

GATES = ("sanity", "lint", "unit")


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    name = "lint + sanity + units, warm"
    return {name: partial(measure_gates, name)}


def measure_gates(name: str) -> Row:
    """Take all of them at once: some wait while others work."""
    run_gates()
    return worst(name, lambda: timed(run_gates), "s", limit=90.0, times=3)


def run_gates() -> None:
    """Run the gates.

    :raises RuntimeError: one of them is red, so that its time means nothing.
    """
    command = ["make", f"--jobs={len(GATES)}", "--output-sync=target", *GATES]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The gates are red:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
