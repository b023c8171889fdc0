# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m benchmark [PART ...]``: take all figures, or those of the named ``rows_PART``; show and keep them.

Writes ``build/benchmark.json``, a list of ``{name, value, unit, bar, ok}``, and ``build/benchmark-details.json`` with
every sample and the conditions that they were taken under. Ends with 1 if a bar does not hold.

A new figure is a new file ``rows_<subject>.py`` with a function ``rows()`` that returns a named measure each.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path

import benchmark
from benchmark.harness import Row

BUILD = Path(__file__).resolve().parents[2] / "build"

Rows = Mapping[str, Callable[[], Row]]


def main(parts: list[str]) -> int:
    """Return 0 if every bar holds."""
    conditions = describe_conditions()
    taken = []
    for name, measure in find_rows(parts).items():
        row = take(name, measure)
        taken.append(row)
        print(format_row(row), flush=True)
    (BUILD / "benchmark.json").write_text(json.dumps([row.as_json() for row in taken], indent=2) + "\n")
    details = {row.name: {"detail": row.detail, "samples": list(row.samples)} for row in taken}
    (BUILD / "benchmark-details.json").write_text(
        json.dumps({"conditions": conditions, "figures": details}, indent=2) + "\n"
    )
    missed = [row.name for row in taken if not row.ok]
    print(f"\n{len(taken) - len(missed)} of {len(taken)} bars hold; {json.dumps(conditions)}")
    return 1 if missed else 0


def find_rows(parts: list[str]) -> dict[str, Callable[[], Row]]:
    """Return the measures of ``rows_*.py`` by name; of the named ones if there are names."""
    found: dict[str, Callable[[], Row]] = {}
    subjects = [module.name.removeprefix("rows_") for module in pkgutil.iter_modules(benchmark.__path__)
                if module.name.startswith("rows_")]  # fmt: skip
    if unknown := set(parts) - set(subjects):
        sys.exit(f"Cannot take the figures of {', '.join(sorted(unknown))}: there are only {', '.join(subjects)}.")
    for subject in parts or subjects:
        rows: Rows = importlib.import_module(f"benchmark.rows_{subject}").rows()
        found.update(rows)
    return found


def take(name: str, measure: Callable[[], Row]) -> Row:
    """Return the row; one without a value if it cannot be taken, so that a broken figure cannot pass for a good one."""
    try:
        return measure()
    except Exception as error:  # noqa: BLE001 (whatever it is, the other figures still count)
        lines = f"{type(error).__name__}: {error}".strip().splitlines()
        return Row(name, None, "", 0.0, f"not taken: {' '.join(lines)[:500]}")


def format_row(row: Row) -> str:
    value = "-" if row.value is None else f"{row.value:.3g}"
    verdict = "ok" if row.ok else "MISSED"
    return f"{verdict:6}  {row.name:60}  {value:>8} {row.unit:8} bar {row.limit:<6g}  {row.detail}"


def describe_conditions() -> dict[str, object]:
    """Return versions, cores and load: without them a figure is a rumour."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "kernel": platform.release(),
        "controller_python": platform.python_version(),
        "host_python": _first_line("/usr/bin/python3", "--version"),
        "ansible": _first_line("ansible", "--version"),
        "engine": _first_line("docker", "version", "--format", "{{.Server.Version}}"),
        "compose": _first_line("docker", "compose", "version", "--short"),
    }


def _first_line(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
