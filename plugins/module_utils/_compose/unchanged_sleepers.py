# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the quick look that is about services which the gateway starts and stops as it likes.

Such a container is as it was when it runs, when it was never started, and when it ended as the gateway says it did.
Read only where a project has any.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .asleep import asleep_path, read_sleep_record
from .lost_networks import known_networks, lost_networks
from .unchanged import Snapshot, remember

_SERVICE_LABEL = "com.docker.compose.service"


class Sleepers:
    """The sleepers of a snapshot, and what the gateway says of them."""

    def __init__(self, snapshot: Snapshot, directory: str) -> None:
        self._expected: Mapping[str, Any] = snapshot["sleepers"]
        self._unproven = snapshot.get("unproven", {})
        self._record = read_sleep_record(asleep_path(directory))

    def codes(self) -> set[int]:
        """Return the exit codes of those that sleep: hardly ever more than one."""
        return {code for key, code in self._record.codes.items() if key in self._expected and code >= 0}

    def without(self, answer: bytes) -> bytes:
        """Return a list of containers without them; any other answer as it is."""
        try:
            found = json.loads(answer)
        except ValueError:
            return answer  # events
        return json.dumps([entry for entry in found if entry.get("Id") not in self._expected]).encode()

    def judge(self, answers: Mapping[str, bytes]) -> dict[str, str] | None:
        """Return service to verdict when all are as they were and well, and nothing is new of the unproven; else None.

        :param answers: of the engine, by what was asked: ``all``, ``ill``, ``networks``, and
            ``asleep CODE`` of each code.
        """
        listed = {kind: json.loads(answer) for kind, answer in answers.items() if kind not in ("images", "deaths")}
        found = {entry["Id"]: entry for entry in listed["all"] if entry["Id"] in self._expected}
        ill = {entry["Id"] for entry in listed["ill"]}
        if found.keys() != self._expected.keys() or not all(map(self._is_same, found.values())):
            return None
        known = known_networks(listed["networks"])
        if any(lost_networks(entry, known) for entry in found.values()):
            return None  # the gateway could not wake it
        verdicts = {}
        for key, entry in found.items():
            service, state = entry["Labels"][_SERVICE_LABEL], entry["State"]
            ended_as_said = key in {other["Id"] for other in listed.get(f"asleep {self._record.codes.get(key)}", ())}
            is_asleep = state == "created" or (state == "exited" and ended_as_said)
            # To the engine, what has a health check and does not run is unhealthy.
            if key in self._record.failed or not (is_asleep or (state == "running" and key not in ill)):
                return None
            if service in self._unproven and key in self._record.woken:
                return None
            is_healthy = "(healthy)" in entry.get("Status", "")
            verdicts[service] = "asleep" if is_asleep else "healthy" if is_healthy else "running"
        return verdicts

    def _is_same(self, entry: Mapping[str, Any]) -> bool:
        expected, now = self._expected[entry["Id"]], remember(entry)
        return all(now[key] == expected[key] for key in ("image_id", "labels"))
