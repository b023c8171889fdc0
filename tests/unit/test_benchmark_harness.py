# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The harness of the benchmarks: how pairs are taken and what counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from benchmark.__main__ import take
from benchmark.harness import (
    PAIRS,
    WARM_UPS,
    Row,
    at_least,
    paired_difference,
    paired_ratio,
    upper_quartile,
    worst,
)


def replay(values: list[float], calls: list[str] | None = None, side: str = "") -> Callable[[], float]:
    """Return a measure that gives the values one after the other and notes down its calls."""
    left = iter(values)

    def measure() -> float:
        if calls is not None:
            calls.append(side)
        return next(left)

    return measure


def test_warm_ups_are_thrown_away_and_the_upper_quartile_counts() -> None:
    ours = replay([100.0, 100.0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    theirs = replay([1.0] * 11)
    row = paired_ratio("figure", ours, theirs, limit=7.0)
    assert (row.value, row.ok) == (7.0, True)
    assert row.as_json() == {"name": "figure", "value": 7.0, "unit": "ratio", "bar": 7.0, "ok": True}


def test_the_side_that_goes_first_changes_from_pair_to_pair() -> None:
    calls: list[str] = []
    paired_ratio("figure", replay([1.0] * 11, calls, "ours"), replay([1.0] * 11, calls, "theirs"), limit=1)
    assert len(calls) == 2 * (WARM_UPS + PAIRS)
    assert calls[:4] == ["ours", "theirs", "theirs", "ours"]


def test_a_difference_is_taken_pair_by_pair() -> None:
    drift = [float(number) for number in range(11)]
    row = paired_difference("figure", replay([value + 0.25 for value in drift]), replay(drift), limit=0.15)
    assert (row.value, row.ok) == (0.25, False)


def test_one_slow_run_of_fifty_misses_a_worst_case_bar() -> None:
    assert not worst("figure", replay([0.1] * 49 + [0.6]), "s", limit=0.5, times=50).ok


@pytest.mark.parametrize(("limit", "holds"), [(2.0, True), (2.1, False)])
def test_a_figure_that_is_to_be_high_counts_by_its_lower_quartile(limit: float, holds: bool) -> None:
    row = at_least("figure", [1.0, 2.0, 3.0, 4.0, 5.0], "1/s", limit, "told")
    assert (row.value, row.ok, row.detail) == (2.0, holds, "told; median 3, 1 to 5 in 5")


def test_fewer_than_nine_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Cannot compare by 8 pairs: fewer than 9 say nothing\.$"):
        paired_ratio("figure", replay([]), replay([]), limit=1, pairs=8)


def test_a_figure_that_cannot_be_taken_does_not_hold() -> None:
    def broken() -> Row:
        raise RuntimeError("no such module")

    row = take("figure", broken)
    assert row.as_json() == {"name": "figure", "value": None, "unit": "", "bar": 0.0, "ok": False}
    assert row.detail == "not taken: RuntimeError: no such module"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3, 4, 5], 4), ([5, 1, 3, 2, 4], 4), ([1, 1, 1, 1, 9], 1)],
    ids=["of sorted values", "of unsorted values", "is not moved by one outlier of five"],
)
def test_upper_quartile(values: list[float], expected: float) -> None:
    assert upper_quartile(values) == expected
