# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room in the GPUs: which services have to sleep so that another one can be awake. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .services import Mebibytes


def used_mib(awake: Iterable[Mebibytes]) -> dict[str, int]:
    """Return what services use of each GPU together."""
    used: dict[str, int] = {}
    for needs in awake:
        for gpu, mib in needs.items():
            used[gpu] = used.get(gpu, 0) + mib
    return used


def shortage_mib(wanted: Mebibytes, used: Mebibytes, budget: Mebibytes) -> dict[str, int]:
    """Return what is missing of each GPU for ``wanted`` beside ``used``; empty where it fits.

    A GPU that is not in the budget has none.
    """
    missing = {gpu: mib + used.get(gpu, 0) - budget.get(gpu, 0) for gpu, mib in wanted.items()}
    return {gpu: mib for gpu, mib in missing.items() if mib > 0}


def choose_sleepers(candidates: Sequence[tuple[str, Mebibytes]], missing: Mebibytes) -> list[str]:
    """Return whom to put to sleep so that ``missing`` becomes free; nobody if all of them are not enough.

    :param candidates: name and use of each that may be, the one that was idle for longest first. If one alone is
        enough, it is the first such one. Else as many as it takes, of which each is needed.
    """
    if not missing:
        return []
    for name, needs in candidates:
        if _is_enough([needs], missing):
            return [name]
    chosen: list[tuple[str, Mebibytes]] = []
    for name, needs in candidates:
        if needs.keys() & missing.keys():
            chosen.append((name, needs))
    if not _is_enough([needs for _name, needs in chosen], missing):
        return []
    # From the one used last on: whoever is not needed stays awake.
    for one in reversed(list(chosen)):
        rest = [other for other in chosen if other is not one]
        if _is_enough([needs for _name, needs in rest], missing):
            chosen = rest
    return [name for name, _needs in chosen]


def _is_enough(freed: Iterable[Mebibytes], missing: Mebibytes) -> bool:
    total = used_mib(freed)
    return all(total.get(gpu, 0) >= mib for gpu, mib in missing.items())
