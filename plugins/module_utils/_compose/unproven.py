# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of services that the last apply had to leave unproven, because the gateway had no room or did not run.

The gateway has woken them since, or tried to, and has written that down by container. One that came up is proven. One
that did not makes the release a failed one: the one before it comes back, as it would have when it was applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from .apply import ApplyError, after_failure
from .asleep import read_sleep_record
from .prepare import Host, Prepared
from .release import ReleaseStore
from .site import read_json, write_json
from .unchanged import snapshot_path

if TYPE_CHECKING:
    from .job import Settings


def settle_unproven(host: Host, prepared: Prepared, settings: Settings) -> dict[str, str]:
    """Write down what is known by now of the unproven services; return those of which nothing is.

    :raises ApplyError: one did not wake; the release before serves again if the text says so.
    """
    store, unproven = ReleaseStore(host.site, prepared.target.name), prepared.recorded.unproven
    if prepared.progress.in_progress is not None:
        return dict(unproven)  # this run brings the interrupted apply to its end, and proves them
    record, observed = read_sleep_record(host.site.asleep_path), prepared.observed
    ids = {name: [container.id for container in observed.of(name)] for name in unproven}
    left = {name: why for name, why in unproven.items() if not any(map(record.is_proven, ids[name]))}
    if left != unproven:
        _write_down(store, prepared.progress.current, left)
    stays = {name for name, step in prepared.plan.steps.items() if step.action not in ("create", "recreate", "remove")}
    causes = {name: record.failed[key] for name in left for key in ids[name] if key in record.failed and name in stays}
    if causes:
        _go_back(host, prepared, settings, store, causes)
    return left


def _write_down(store: ReleaseStore, number: int | None, unproven: Mapping[str, str]) -> None:
    if number is None:
        return
    path = snapshot_path(store.path(number))
    if (snapshot := read_json(path)) is not None:
        write_json(path, {**snapshot, "unproven": dict(unproven)})
    store.note_unproven(number, unproven)


def _go_back(
    host: Host, prepared: Prepared, settings: Settings, store: ReleaseStore, causes: Mapping[str, str]
) -> None:
    """Take back the current release. The first one of all has nothing behind it: this run tries it once more."""
    current = prepared.progress.current
    good = [number for number in store.numbers() if store.load(number).result == "ok"]
    earlier = [number for number in good if current is not None and number < current]
    if current is None or not earlier:
        return
    told = "\n".join(f"service {name!r}: the gateway could not wake it: {cause}" for name, cause in causes.items())
    cause = prepared.secrets.mask(f"release {current} was not proven when it was applied. {told}")
    store.finish(store.load(current), "failed", cause=cause)
    store.save_progress(replace(store.progress(), current=earlier[-1], in_progress=current))
    state = after_failure(host, settings, store, prepared.secrets)
    verdicts = dict.fromkeys(causes, "failed")
    raise ApplyError(f"Cannot apply project {prepared.target.name!r}: {cause}\n{state}", verdicts)
