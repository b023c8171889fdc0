# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``secrets`` costs a run that has nothing to make."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from support.modules import run_by_ansible, run_module

from benchmark.harness import Row, paired_difference

LIMIT_SECONDS = 0.15


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    name = "200 secrets, second run, task time minus a ping task"
    return {name: partial(compare_with_ping, name)}


def compare_with_ping(name: str) -> Row:
    """Compare a task that finds every secret made with a task that does nothing at all."""
    with tempfile.TemporaryDirectory(prefix="mytest-secrets-") as folder:
        params = {"path": str(Path(folder) / "etc" / "secrets.json"), "secrets": declarations()}
        run_module("secrets", params)

        def keep() -> float:
            result = run_by_ansible("secrets", params, times=2)
            if result.failed or result.changed:
                raise RuntimeError(f"The task was to find all secrets made: {result.msg or result['plan']}")
            return result.duration

        return paired_difference(
            name, keep, lambda: run_by_ansible("ansible.builtin.ping", {}, times=2).duration, LIMIT_SECONDS
        )


def declarations() -> list[dict[str, Any]]:
    """Return 200 declarations: most are texts, a few of each kind that is costly to make."""
    costly: list[dict[str, Any]] = [
        {"name": "ca", "kind": "x509_ca"},
        *(
            {"name": f"tls_{number}", "kind": "x509_leaf", "of": "ca", "names": [f"{number}.test"]}
            for number in range(5)
        ),
        *({"name": f"pair_{number}", "kind": "ed25519"} for number in range(5)),
        *({"name": f"login_{number}", "kind": "htpasswd", "of": "text_0", "user": "admin"} for number in range(4)),
    ]
    return [*({"name": f"text_{number}", "kind": "password"} for number in range(200 - len(costly))), *costly]
