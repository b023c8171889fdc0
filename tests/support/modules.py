# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two ways to run a module: as a user does, and at once.

* :func:`run_by_ansible` is a real ``ansible-playbook`` over a local connection, on the system's own Python.
* :func:`run_module` and :func:`start_module` run the module's file with the system's own Python, with the parameters
  that the controller would send: several times faster, and its process can be watched and killed.

Neither imports ``plugins/``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "modelyard.platform"
#: Modules run on hosts, so never on the venv's Python.
HOST_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class ModuleResult:
    """What a module answered. ``stdout`` and ``stderr`` are all that it, or Ansible, wrote."""

    values: Mapping[str, Any]
    rc: int
    stdout: str
    stderr: str
    #: Of the task, as Ansible measured it, or of the process; seconds.
    duration: float = 0.0

    @property
    def changed(self) -> bool:
        return bool(self.values.get("changed"))

    @property
    def failed(self) -> bool:
        return bool(self.values.get("failed"))

    @property
    def msg(self) -> str:
        return str(self.values.get("msg", ""))

    def __getitem__(self, key: str) -> Any:
        return self.values[key]


class RunningModule:
    """A module at work, in a process group of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self, *, with_children: bool) -> None:
        """Send SIGKILL to the module, or also to all that it has started, in whatever session that lives."""
        if with_children:
            kill_tree(self.pid)
        else:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, *, timeout: float = 300) -> ModuleResult:
        """Return its answer; of a killed one ``values`` is empty and ``rc`` negative."""
        stdout, stderr = self.process.communicate(timeout=timeout)
        return ModuleResult(_parse_answer(stdout), self.process.returncode, stdout, stderr)


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and all that it has started, in whatever session that lives, as a power cut would.

    Each is stopped before its children are looked for, so that none is started in between.
    """
    stopped = _stop_tree(pid)
    for one in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def _stop_tree(pid: int) -> list[int]:
    """Stop a process and what it and its threads have started; return all of them."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text(encoding="ascii").split()]
    return [pid, *(found for child in children for found in _stop_tree(child))]


def start_module(
    name: str,
    params: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    environment: Mapping[str, str] | None = None,
    python: str = HOST_PYTHON,
) -> RunningModule:
    """Start a module of this collection on ``python`` and return while it works.

    :param environment: set beside the machine's own, for instance ``DOCKER_HOST``.
    """
    sent = {**params, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_no_log": False}
    process = subprocess.Popen(
        [python, "-m", f"ansible_collections.{COLLECTION}.plugins.modules.{name}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        env=host_environment(environment), start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps({"ANSIBLE_MODULE_ARGS": sent}))
    process.stdin.close()
    process.stdin = None  # communicate() would flush it again
    return RunningModule(process)


def run_module(
    name: str,
    params: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    environment: Mapping[str, str] | None = None,
    python: str = HOST_PYTHON,
    timeout: float = 300,
) -> ModuleResult:
    """Run a module of this collection on ``python`` and return its answer; see :func:`start_module`."""
    running = start_module(name, params, check=check, diff=diff, environment=environment, python=python)
    return running.wait(timeout=timeout)


def run_by_ansible(
    name: str,
    params: Mapping[str, Any],
    *,
    check: bool = False,
    diff: bool = False,
    environment: Mapping[str, str] | None = None,
    verbosity: int = 0,
    timeout: float = 600,
    times: int = 1,
) -> ModuleResult:
    """Run any module, named in full or of this collection, as the task of a real playbook, and return its answer.

    ``times`` tasks are the same, but all before the last one, whose answer is returned, are in check mode: with the
    first one of its kind Ansible packs the module, which a play with several of them pays once.

    Parameters are sent as they are: what looks like a template is not expanded. ``stdout`` holds all that Ansible
    wrote, for tests that look for secrets in it.
    """
    action = name if "." in name else f"{COLLECTION}.{name}"
    task = {"name": "Run the module", action: params}
    tasks = [{**task, "check_mode": True}] * (times - 1) + [task]
    play = [{"name": "Test", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}]
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as folder:
        playbook = Path(folder) / "play.yml"
        playbook.write_text(yaml.dump(play, Dumper=_UnsafeDumper, allow_unicode=True), encoding="utf-8")
        command = [str(Path(sys.prefix) / "bin" / "ansible-playbook"), "--inventory", "localhost,", str(playbook)]
        command += ["--check"] * check + ["--diff"] * diff + (["-" + "v" * verbosity] if verbosity else [])
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=timeout, cwd=folder, stdin=subprocess.DEVNULL,
            env=controller_environment(folder, environment),
        )  # fmt: skip
    return _parse_play(done)


def host_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a module that runs without Ansible: only what a host has, and the way to our files."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": os.environ.get("HOME", "/root"),
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(ROOT / "build" / "host-python"),
        # Our own files would otherwise be compiled on each run, or leave their bytecode in the tree.
        "PYTHONPYCACHEPREFIX": str(ROOT / "build" / "cache" / "pyc"),
        **(extra or {}),
    }


def controller_environment(folder: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of Ansible in tests and benchmarks: no setting of the user's counts."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {
        **kept,
        "ANSIBLE_HOME": f"{folder}/ansible-home",
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
        "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
        "ANSIBLE_PYTHON_INTERPRETER": HOST_PYTHON,
        "ANSIBLE_CONFIG": str(ROOT / "tests" / "support" / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        **(extra or {}),
    }


class _UnsafeDumper(yaml.SafeDumper):
    """Writes every text so that Ansible takes it as it is."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    tag = "!unsafe" if "{" in text else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, text, style='"' if "{" in text else None)


_UnsafeDumper.add_representer(str, _represent_text)


def _parse_answer(stdout: str) -> dict[str, Any]:
    """Return the one JSON object that a module writes; empty if it was killed before."""
    lines = [line for line in stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


def _parse_play(done: subprocess.CompletedProcess[str]) -> ModuleResult:
    start = done.stdout.find("{\n")
    if start < 0:
        raise RuntimeError(f"Cannot run the play: it answered with no JSON.\n{done.stdout}\n{done.stderr}")
    task = json.JSONDecoder().raw_decode(done.stdout[start:])[0]["plays"][0]["tasks"][-1]
    return ModuleResult(
        task["hosts"]["localhost"], done.returncode, done.stdout, done.stderr, _seconds(task["task"]["duration"])
    )


def _seconds(duration: Mapping[str, str]) -> float:
    start, end = (datetime.fromisoformat(duration[name].replace("Z", "+00:00")) for name in ("start", "end"))
    return (end - start).total_seconds()
