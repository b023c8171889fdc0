# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a figure is taken and when it holds.

Ours and theirs run in pairs, one after the other, which of them first changes from pair to pair; two pairs warm up and
are thrown away, at least nine count. A bar is compared with the upper quartile of the pairs, a worst-case bar with the
worst of all. A figure that cannot be taken is a row without a value that does not hold: nothing is left out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

PAIRS = 9
WARM_UPS = 2

Measure = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One figure. ``detail`` is for people: spread, sides, or why there is no value.

    :param at_least: the limit is what it has to reach, not what it must not pass.
    """

    name: str
    value: float | None
    unit: str
    limit: float
    detail: str = ""
    samples: Sequence[float] = field(default=())
    at_least: bool = False

    @property
    def ok(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_json(self) -> dict[str, object]:
        """Return what ``build/benchmark.json`` lists."""
        value = None if self.value is None else round(self.value, 4)
        return {"name": self.name, "value": value, "unit": self.unit, "bar": self.limit, "ok": self.ok}


def paired_ratio(name: str, ours: Measure, theirs: Measure, limit: float, *, pairs: int = PAIRS) -> Row:
    """Compare two measures by the ratio of each pair.

    :param ours: runs our side once and returns its seconds; what has to be undone is undone outside of them.
    """
    taken = _take_pairs(ours, theirs, pairs)
    ratios = [our / their for our, their in taken]
    return Row(name, upper_quartile(ratios), "ratio", limit, _sides(taken, ratios), ratios)


def paired_difference(name: str, ours: Measure, theirs: Measure, limit: float, *, pairs: int = PAIRS) -> Row:
    """Compare two measures by what ours takes longer in each pair, in seconds."""
    taken = _take_pairs(ours, theirs, pairs)
    differences = [our - their for our, their in taken]
    return Row(name, upper_quartile(differences), "s", limit, _sides(taken, differences), differences)


def repeated(name: str, measure: Measure, unit: str, limit: float, *, times: int = PAIRS) -> Row:
    """Take a figure that stands for itself; the upper quartile counts."""
    taken = [measure() for _number in range(WARM_UPS + times)][WARM_UPS:]
    return Row(
        name, upper_quartile(taken), unit, limit, f"median {statistics.median(taken):.3g}, {_spread(taken)}", taken
    )


def worst(name: str, measure: Measure, unit: str, limit: float, *, times: int) -> Row:
    """Take a figure whose every single run counts."""
    taken = [measure() for _number in range(times)]
    return Row(name, max(taken), unit, limit, f"worst of {times}, median {statistics.median(taken):.3g}", taken)


def at_least(name: str, taken: Sequence[float], unit: str, limit: float, detail: str) -> Row:
    """Return a figure that is to be high: the lower quartile counts."""
    value = statistics.quantiles(taken, n=4, method="inclusive")[0]
    said = f"{detail}; median {statistics.median(taken):.3g}, {_spread(taken)}"
    return Row(name, value, unit, limit, said, taken, at_least=True)


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that ``action`` took."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def upper_quartile(values: Sequence[float]) -> float:
    """Return the value that three quarters are at or below."""
    return statistics.quantiles(values, n=4, method="inclusive")[2]


def _take_pairs(ours: Measure, theirs: Measure, pairs: int) -> list[tuple[float, float]]:
    if pairs < PAIRS:
        raise ValueError(f"Cannot compare by {pairs} pairs: fewer than {PAIRS} say nothing.")
    taken = []
    for number in range(WARM_UPS + pairs):
        if number % 2:
            their = theirs()
            taken.append((ours(), their))
        else:
            our = ours()
            taken.append((our, theirs()))
    return taken[WARM_UPS:]


def _sides(taken: Sequence[tuple[float, float]], compared: Sequence[float]) -> str:
    ours, theirs = (statistics.median(side) for side in zip(*taken, strict=True))
    return f"ours {ours:.3f} s, theirs {theirs:.3f} s; median {statistics.median(compared):.3g}, {_spread(compared)}"


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g} in {len(values)}"
