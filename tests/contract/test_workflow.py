# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A build server does what is typed by hand, on every version that is promised, and with no right too many."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.tree import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
each_job = pytest.mark.parametrize("name", JOBS)

#: A target of the Makefile, as root where it needs an engine; the venv's Python is found by PATH.
MAKE_STEP = re.compile(r"""(sudo env "PATH=\$PATH" )?make (?P<target>[a-z0-9-]+)( [A-Z]+=("[^"]*"|'[^']*'|[\w.-]+))*""")
#: The other steps: what the server has to be told, what a bare Debian lacks, the command of the site that was deployed.
OTHER_STEPS = {
    'echo "names=$(make molecule-scenarios)" >> "$GITHUB_OUTPUT"',
    "apt-get -q update && apt-get -q -y install --no-install-recommends ca-certificates git make",
    'git config --global --add safe.directory "$GITHUB_WORKSPACE"',
    "sudo modelyard status",
}


def runs(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z0-9-]+):.* ## ", makefile, re.MULTILINE))


@each_job
def test_steps_are_what_is_typed_by_hand(name: str) -> None:
    assert runs(name), f"{name} runs nothing"
    for run in runs(name):
        found = MAKE_STEP.fullmatch(run)
        assert found or run in OTHER_STEPS, f"{name}: {run!r} is no target of the Makefile; make it one"
        assert "${{" not in run, f"{name}: {run!r}: a value would be run as shell; hand it over in env"


@each_job
def test_targets_are_those_of_the_makefile(name: str) -> None:
    used = {target for run in runs(name) for target in re.findall(r"\bmake ([a-z0-9-]+)", run)}
    assert used <= targets(), f"{name}: the Makefile has no {used - targets()}"


def test_every_gate_of_make_test_is_a_job() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    prerequisites = re.search(r"^test: (.*?) ##", makefile, re.MULTILINE)
    assert prerequisites
    used = {target for job in JOBS for run in runs(job) for target in re.findall(r"\bmake ([a-z0-9-]+)", run)}
    # The engine is set up by those that need one.
    assert set(prerequisites[1].split()) - {"engine"} <= used


@each_job
def test_actions_are_pinned_and_jobs_end(name: str) -> None:
    loose = [
        step["uses"]
        for step in JOBS[name]["steps"]
        if "uses" in step and not re.fullmatch(r"actions/[a-z-]+@(v\d+|[0-9a-f]{40})", step["uses"])
    ]
    assert not loose, f"{name}: {loose}: another's action wants the digest of its commit, one of GitHub's its major"
    assert JOBS[name]["timeout-minutes"] <= 60


def test_no_job_may_write_to_the_repository() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]


def test_secret_values_reach_the_release_alone() -> None:
    asking = [name for name, job in JOBS.items() if "secrets." in yaml.safe_dump(job)]
    assert asking == ["release"]


def test_release_waits_for_every_other_job() -> None:
    assert set(JOBS["release"]["needs"]) == JOBS.keys() - {"release", "scenarios"}


@pytest.mark.parametrize("job", ["check", "sanity"])
def test_each_supported_core_is_tried_on_a_python_that_brings_it(job: str) -> None:
    pinned = re.findall(
        r'^ansible-core==(\d+\.\d+)\.\d+ ; python_version (<|>=) "3\.(\d+)"$',
        (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE,
    )  # fmt: skip
    assert len(pinned) == 2
    tried = {
        entry["core"]: int(entry["python"].removeprefix("3.")) for entry in JOBS[job]["strategy"]["matrix"]["include"]
    }
    assert tried.keys() == {core for core, _sign, _minor in pinned}
    for core, sign, minor in pinned:
        assert (tried[core] < int(minor)) == (sign == "<"), f"Python 3.{tried[core]} does not bring ansible-core {core}"


def scenarios(root: Path) -> str:
    return subprocess.run([str(root / "tools/molecule-scenarios")], check=True, capture_output=True, text=True).stdout


def test_scenarios_are_those_of_the_tree(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    shutil.copy2(ROOT / "tools/molecule-scenarios", tmp_path / "tools")
    assert scenarios(tmp_path) == "[]\n"
    for folder in ("traefik", "default", "no-scenario"):
        (tmp_path / "extensions/molecule" / folder).mkdir(parents=True)
        if folder != "no-scenario":
            (tmp_path / "extensions/molecule" / folder / "molecule.yml").touch()
    assert scenarios(tmp_path) == '["default","traefik"]\n'
