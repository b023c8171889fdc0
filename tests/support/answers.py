# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tasks of a play answer, for tests of what runs on the controller alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.modules import controller_environment


def answers_of(play: Mapping[str, Any], folder: Path, *arguments: str) -> list[tuple[str, dict[str, Any]]]:
    """Run a play in ``folder`` and return the name of each task with the answer of the first host that it succeeded on.

    :param arguments: of ``ansible-playbook``, such as the inventory.
    :raises AssertionError: the play failed; the message is all that it wrote.
    """
    (folder / "play.yml").write_text(yaml.safe_dump([dict(play)], sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [f"{sys.prefix}/bin/ansible-playbook", "play.yml", *arguments],
        check=False, capture_output=True, text=True, cwd=folder, stdin=subprocess.DEVNULL,
        env={**controller_environment(str(folder)), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    succeeded = [event for event in events if event.get("_event") == "v2_runner_on_ok"]
    return [(str(event["task"]["name"]), next(iter(event["hosts"].values()))) for event in succeeded]


def plan_of(inventory: Mapping[str, Any], roles: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Return what ``site_plan`` answers for an inventory, which is written to ``folder``.

    :param roles: role to the group of its hosts.
    """
    (folder / "inventory.yml").write_text(yaml.safe_dump(dict(inventory)), encoding="utf-8")
    task = {"name": "Plan", "run_once": True, "modelyard.platform.site_plan": {"roles": dict(roles)}}
    play = {"name": "Plan", "hosts": "all", "gather_facts": False, "tasks": [task]}
    [(_task, answer)] = answers_of(play, folder, "-i", "inventory.yml")
    return answer
