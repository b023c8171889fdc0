# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that failed or changed something is no second run, whoever's it is."""

from __future__ import annotations

import pytest
from benchmark.rows_stock import unchanged
from support.whole_site import Play


def test_a_run_that_changed_nothing_counts() -> None:
    quiet = Play(0, {}, {"site: Say what is where": {"changed": False}}, "")
    assert unchanged("stock", quiet) is quiet


def test_a_run_that_changed_something_does_not_count() -> None:
    with pytest.raises(RuntimeError) as refusal:
        unchanged("stock", Play(0, {"Run MLflow": {"changed": True}, "Run Traefik": {"changed": True}}, {}, ""))
    assert str(refusal.value) == (
        "Cannot count the run of stock: these tasks changed something: Run MLflow, Run Traefik; "
        "run it by hand with --diff, what changes on each run is a fault in its playbook."
    )


def test_a_run_that_failed_does_not_count() -> None:
    with pytest.raises(RuntimeError) as refusal:
        unchanged("ours", Play(2, {}, {}, "no engine answers"))
    assert str(refusal.value) == "Cannot run ours: it ended with 2 and wrote: no engine answers"
