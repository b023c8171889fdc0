# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From facts to findings: pure, so that what is told of a host can be tried without one."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Facts, Finding, make_finding
from .judge_containers import judge_containers
from .judge_driver import GIVEN_AWAY, judge_driver
from .judge_gpus import judge_gpus

_ORDER = {"error": 0, "warning": 1, "info": 2}
_NOT_COVERED = {
    "jetson": ("a Jetson, whose driver is a part of its board's software", "use NVIDIA's own tools for it (JetPack)"),
    "wsl": ("WSL, whose driver is that of Windows", "look at it in Windows, or use a machine that runs Linux itself"),
}


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Return what is wrong, the gravest first; nothing where there is no card of NVIDIA."""
    return tuple(sorted(_judge(facts), key=lambda finding: _ORDER[finding.severity]))


def is_good(findings: tuple[Finding, ...]) -> bool:
    """Tell whether nothing is so wrong that programs or containers cannot use a GPU."""
    return all(finding.severity != "error" for finding in findings)


def _judge(facts: Facts) -> Iterator[Finding]:
    if facts.machine != "host":
        what, fix = _NOT_COVERED[facts.machine]
        yield make_finding("not_covered", "warning", f"Cannot judge the GPU of this machine: it is {what}", fix)
        return
    yield from judge_driver(facts)
    # A host that gives all of its cards to virtual machines needs no more.
    if any(card.kernel_driver != GIVEN_AWAY for card in facts.cards):
        yield from judge_gpus(facts)
        yield from judge_containers(facts)
