# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every test of ``ansible-test sanity`` on a copy of the tree, with no ignore file.

A copy, because ansible-test wants the path ``.../ansible_collections/modelyard/platform`` and resolves links. It
holds what git knows or would take: untracked files too, ignored ones not.

ansible-test leaves out what it deems impossible and still succeeds; here each such line is a failure, unless the
test is named with its reason in :data:`LEFT_OUT`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "sanity"
COPY = HOME / "ansible_collections" / "modelyard" / "platform"
#: As long as all others together: it runs beside them, and in two parts, by path.
SLOWEST = "pylint"
LEFT_OUT = {"pslint": "checks PowerShell: it needs pwsh, and the collection has no PowerShell"}

HOST_PYTHON = "/usr/bin/python3"
OLDEST_HOST_PYTHON = "3.10"

# What `pip`-less sanity environments are given instead of a download: the pip that comes with the interpreter.
# ansible-test keeps the script in its cache under the number of the pip that it would have fetched.
BOOTSTRAP_PIP = "import ensurepip\n\nensurepip.bootstrap()\n"


def main() -> int:
    """Return 0 if every test ran and passed."""
    copy_tree()
    environment = make_environment()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    listed = ansible_test(["--list-tests"], environment).stdout.splitlines()
    tests = [name for name in listed if re.fullmatch("[a-z0-9-]+", name) and name not in LEFT_OUT]
    if not tests:
        sys.exit("Cannot run the sanity tests: ansible-test lists none; it says:\n" + "\n".join(listed))
    for name, reason in LEFT_OUT.items():
        print(f"Left out: {name}: {reason}.")
    print(f"Running {len(tests)} sanity tests with Python {version}: {' '.join(tests)}", flush=True)
    parts = [
        [*selected([SLOWEST]), "--exclude", "tests/unit/"],
        selected(name for name in tests if name != SLOWEST),
        [*selected([SLOWEST]), "tests/unit/"],
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        started = [pool.submit(run_tests, ["--python", version, *part], environment) for part in parts]
        started += [pool.submit(test_on_host_python, python, environment) for python in host_pythons()]
    runs = [one.result() for one in started]
    left_out = [line for run in runs for line in run.stdout.splitlines() if "skip" in line.lower()]
    if left_out:
        print("Cannot count this as a pass, ansible-test left something out:", *left_out, sep="\n  ")
    return 1 if left_out or any(run.returncode for run in runs) else 0


def host_pythons() -> list[str]:
    """Return interpreters that stand for hosts: the machine's own, and the oldest that we promise."""
    found = subprocess.run(
        [str(ROOT / "tools" / "find-python"), OLDEST_HOST_PYTHON], check=False, capture_output=True, text=True
    )
    if found.returncode:
        print(f"Left out: compile and import on Python {OLDEST_HOST_PYTHON}: there is none on this machine.")
    if not Path(HOST_PYTHON).exists():
        print(f"Left out: compile and import on {HOST_PYTHON}: there is none yet; `make engine` installs it.")
    return [python for python in (HOST_PYTHON, *found.stdout.split()) if Path(python).exists()]


def test_on_host_python(python: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the tests that depend on the Python of a host."""
    version = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], check=True, capture_output=True, text=True
    ).stdout.strip()
    chosen = ["--python", version, "--python-interpreter", python, *selected(["compile", "import"])]
    # ansible-test asks for pythonX.Y by name too, and a version manager's shim of that name would answer with an error.
    path = f"{Path(python).parent}:{environment['PATH']}"
    return run_tests(chosen, {**environment, "PATH": path})


def selected(names: Iterable[str]) -> list[str]:
    """Return the arguments that select tests."""
    return [word for name in names for word in ("--test", name)]


def run_tests(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run tests, and show what they said when all of them are through: others run at the same time."""
    done = ansible_test(arguments, environment)
    print(done.stdout, end="", flush=True)
    return done


def copy_tree() -> None:
    """Copy what git knows or would take to :data:`COPY`, and nothing else."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, COPY / name
        if source.is_file():  # a file that is deleted but not yet staged is still listed
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # Or ansible-test would ask the git of the checkout, which ignores build/.
    subprocess.run(["git", "init", "--quiet"], cwd=COPY, check=True)


def make_environment() -> dict[str, str]:
    """Return the environment for ansible-test: a home of its own, the venv's programs and real interpreters first."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / f"get_pip_{_pip_version().replace('.', '_')}.py").write_text(BOOTSTRAP_PIP)
    pip_settings = Path.home() / ".config" / "pip"
    (HOME / ".config").mkdir(exist_ok=True)
    if pip_settings.is_dir() and not (HOME / ".config" / "pip").exists():
        (HOME / ".config" / "pip").symlink_to(pip_settings)
    path = [str(Path(sys.prefix) / "bin"), str(Path(sys.base_prefix) / "bin"), os.environ["PATH"]]
    return {**os.environ, "HOME": str(HOME), "PATH": ":".join(path)}


def _pip_version() -> str:
    from ansible_test._internal import python_requirements
    from ansible_test._internal.host_configs import NativePythonConfig

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = NativePythonConfig(version=version, path=sys.executable)
    return str(python_requirements.get_venv_packages(python)["pip"])


def ansible_test(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run ``ansible-test sanity`` in the copy; all that it says is in ``stdout``."""
    return subprocess.run(
        [str(Path(sys.prefix) / "bin" / "ansible-test"), "sanity", *arguments],
        cwd=COPY, env=environment, check=False, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
