# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the downloads of a first run are told from its work."""

from __future__ import annotations

import pytest
from benchmark import rows_cold
from benchmark.rows_cold import Cold, measure_downloads, measure_work, read_received

# Recorded in a container of Debian 12.
NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo frame compressed multicast
    lo:  123456     100    0    0    0     0          0         0   123456     100    0    0    0     0       0          0
  eth0:987654321  700000    0    0    0     0          0         0  1234567   20000    0    0    0     0       0          0
docker0:      42       1    0    0    0     0          0         0       42       1    0    0    0     0       0          0
"""  # noqa: E501


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_cold, "cold_up", lambda: Cold(400.0, 90.5, 500_000_000))


def test_what_came_in_is_read_of_the_card_that_leads_out() -> None:
    assert read_received(NET_DEV) == 987654321


def test_the_work_is_the_time_without_the_downloads(measured: None) -> None:
    row = measure_work("work")
    assert (row.value, row.ok) == (309.5, True)
    assert row.detail == "once; 400 s in all, of them 90 s downloads (500 MB)"


def test_the_downloads_are_a_figure_of_their_own(measured: None) -> None:
    row = measure_downloads("downloads")
    assert (row.value, row.unit, row.ok) == (500.0, "MB", True)
