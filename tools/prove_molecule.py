# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show that each Molecule scenario fails when the main task of its role is gone, and print that as a table.

``make molecule-proof SCENARIO="postgres mlflow"``, without names all of them. The task is removed from a copy of the
tracked tree; the scenario's site is then deployed from that copy, which may fail, and tried, which has to fail on both
hosts. All on the same hosts; between two scenarios the site is removed by the whole tree. Ends with 1 where a scenario
noticed nothing.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
COPIES = ROOT / "build/molecule/copies"
STATE = ROOT / "build/molecule/state"
_RELEASES = ("bookworm", "trixie")
#: Scenario to the file of tasks and the action of the task without which there is nothing of the role. The role docker
#: comes first: its hosts have to be bare.
MAIN_TASKS = {
    "docker": ("docker/tasks/main.yml", "modelyard.platform.docker_host"),
    "default": ("site/tasks/main.yml", "ansible.builtin.include_role"),
    "client": ("client/tasks/main.yml", "modelyard.platform.client_trust"),
    "firewall": ("firewall/tasks/main.yml", "modelyard.platform.published_ports"),
    "gateway": ("gateway/tasks/main.yml", "modelyard.platform.compose_project"),
    "inference": ("inference/tasks/main.yml", "modelyard.platform.compose_project"),
    "homepage": ("homepage/tasks/main.yml", "modelyard.platform.compose_project"),
    "host_command": ("host_command/tasks/main.yml", "modelyard.platform.host_command"),
    "mlflow": ("mlflow/tasks/main.yml", "modelyard.platform.compose_project"),
    "nvidia": ("nvidia/tasks/prepare.yml", "modelyard.platform.nvidia_host"),
    "object_store": ("object_store/tasks/main.yml", "modelyard.platform.compose_project"),
    "open_webui": ("open_webui/tasks/main.yml", "modelyard.platform.compose_project"),
    "postgres": ("postgres/tasks/main.yml", "modelyard.platform.compose_project"),
    "rustdesk": ("rustdesk/tasks/main.yml", "modelyard.platform.compose_project"),
    "site": ("site/tasks/main.yml", "ansible.builtin.include_role"),
    "traefik": ("traefik/tasks/apply.yml", "modelyard.platform.compose_project"),
    "two-hosts": ("traefik/tasks/apply.yml", "modelyard.platform.compose_project"),
    "verify": ("verify/tasks/main.yml", "modelyard.platform.site_verify"),
}
#: Scenario to how many times its tests run, where that is not once for each host.
_RUNS = {"two-hosts": 1}
#: Of a pytest with option -q, wherever Ansible shows it.
_LAST_LINE = re.compile(r"^\s*(\d+ (?:failed|passed|error).* in [\d.]+s.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What came of a scenario without its main task; the tests are those of the host on which fewer failed."""

    scenario: str
    converged: bool
    failed: int
    passed: int
    #: The tests failed as such, on each host: nothing else went wrong with them.
    is_noticed: bool

    @property
    def row(self) -> str:
        deployed = "goes through" if self.converged else "fails"
        tried = f"{self.failed} of {self.failed + self.passed} fail" if self.is_noticed else "**nothing noticed**"
        date = datetime.datetime.now(datetime.timezone.utc).date()
        return f"| `{self.scenario}` | `{MAIN_TASKS[self.scenario][1]}` | {deployed} | {tried} | {date} |"


def main() -> int:
    if unknown := set(sys.argv[1:]) - MAIN_TASKS.keys():
        sys.exit(f"Cannot prove {sorted(unknown)}: known are {', '.join(MAIN_TASKS)}; add it to MAIN_TASKS.")
    scenarios = [scenario for scenario in MAIN_TASKS if scenario in (sys.argv[1:] or MAIN_TASKS)]
    outcomes = []
    shutil.rmtree(STATE, ignore_errors=True)
    try:
        _must("create", "default")
        for scenario in scenarios:
            outcomes.append(_prove(scenario))
            print(outcomes[-1].row, flush=True)
    finally:
        _molecule("destroy", "default", ROOT)
        shutil.rmtree(COPIES, ignore_errors=True)
        shutil.rmtree(STATE, ignore_errors=True)
    return int(not all(outcome.is_noticed for outcome in outcomes))


def _prove(scenario: str) -> Outcome:
    if scenario != "docker":
        _must("prepare", scenario)
    copy = _copy_without(scenario)
    converged = _molecule("converge", scenario, copy)
    verified = _molecule("verify", scenario, copy)
    found = sorted(map(_counts, _LAST_LINE.findall(verified.stdout)))
    if scenario != "docker":
        _must("cleanup", scenario)
    failed, passed = found[0] if found else (0, 0)
    is_noticed = verified.returncode != 0 and len(found) == _RUNS.get(scenario, len(_RELEASES)) and failed > 0
    return Outcome(scenario, converged.returncode == 0, failed, passed, is_noticed)


def _counts(line: str) -> tuple[int, int]:
    """Return how many tests failed and how many passed, from the last line of a pytest."""
    found = {word: int(number) for number, word in re.findall(r"(\d+) (failed|passed|error)", line)}
    return found.get("failed", 0) + found.get("error", 0), found.get("passed", 0)


def _copy_without(scenario: str) -> Path:
    """Return a copy of the tracked tree, with what is built, whose role lacks its main task."""
    copy = COPIES / scenario
    shutil.rmtree(copy, ignore_errors=True)
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    link = copy / "build/collections/ansible_collections/modelyard/platform"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../../..")
    for name in ("host-python", "molecule", "venv-molecule"):
        (copy / "build" / name).symlink_to(ROOT / "build" / name)
    name, action = MAIN_TASKS[scenario]
    path = copy / "roles" / name
    tasks = yaml.safe_load(path.read_text(encoding="utf-8"))
    kept = [task for task in tasks if not _is_main(task, action)]
    assert len(kept) == len(tasks) - 1, f"{name} has {len(tasks) - len(kept)} tasks with {action}, and needs one"
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return copy


def _is_main(task: Mapping[str, Any], action: str) -> bool:
    """Tell whether it is the main task: of those that include a role, the one that goes through all of them."""
    return action in task and (action != "ansible.builtin.include_role" or "loop" in task)


def _must(step: str, scenario: str) -> None:
    done = _molecule(step, scenario, ROOT)
    if done.returncode:
        sys.exit(f"Cannot prove scenario {scenario!r}: {step} of the whole tree failed:\n{done.stdout[-4000:]}")


def _molecule(step: str, scenario: str, tree: Path) -> subprocess.CompletedProcess[str]:
    # One state for all trees, so that each finds the hosts made, and one folder of Ansible's own for each tree.
    environment = {
        **os.environ, "PATH": f"{ROOT}/build/venv-molecule/bin:{os.environ['PATH']}", "NO_COLOR": "1",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(STATE),
        "ANSIBLE_HOME": str(tree / "build/ansible-home"), "PYTHONPYCACHEPREFIX": str(tree / "build/cache/pyc"),
    }  # fmt: skip
    command = ["molecule", step, "--scenario-name", scenario, "--no-command-borders"]
    if step == "prepare":
        command.append("--force")
    return subprocess.run(
        command, cwd=tree, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
