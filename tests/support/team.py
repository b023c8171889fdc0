# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A team that has the collection as Galaxy gives it, a repository of its own, and servers that it reaches by SSH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.hosts import Host
from support.modules import ROOT

_PROGRAMS = Path(sys.prefix) / "bin"
#: A host of a test is new each time, so nobody knows its key; a folder of a test is too long for a shared connection.
_SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ControlPath=none -o ConnectTimeout=10"


def build_collection(folder: Path) -> Path:
    """Return the artifact of this checkout, made in ``folder``."""
    _must([
        "ansible-galaxy", "collection", "build", "--output-path", str(folder), str(ROOT)
    ], folder, {"ANSIBLE_HOME": str(folder / "home")})  # fmt: skip
    [artifact] = folder.glob("*.tar.gz")
    return artifact


@dataclass(frozen=True)
class Team:
    """Somebody at a machine with Ansible: a folder to work in, a key, and nothing of this checkout but the artifact.

    ``environment``: what is set beside the machine's own.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Path:
        return self.folder / "home/key"

    def install(self, artifact: Path, folder: Path) -> None:
        """Install the collection as ``collections`` of a folder, from nothing but the artifact."""
        arguments = ["collection", "install", str(artifact), "-p", str(folder / "collections"), "--offline"]
        _must(["ansible-galaxy", *arguments], self.folder, self._environment(folder))

    def make_key(self) -> str:
        """Make the team's key for SSH, once, and return its public half."""
        if not self.key.exists():
            self.key.parent.mkdir(parents=True, exist_ok=True)
            _must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], self.folder, {})
        return self.key.with_suffix(".pub").read_text(encoding="utf-8")

    def admit_to(self, host: Host) -> None:
        """Let the team log in to a host, as its unprivileged user with sudo."""
        host.authorize(self.make_key())

    def run(self, *command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program of Ansible as it is typed in ``folder``, and return what came of it, whatever that is."""
        return subprocess.run(
            [str(_PROGRAMS / command[0]), *command[1:]], cwd=folder, env={**self._environment(folder), **environment},
            check=False, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _environment(self, folder: Path) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_"))}
        return {
            **kept, "ANSIBLE_HOME": str(self.folder / "home"), "ANSIBLE_NOCOLOR": "1", "PWD": str(folder),
            "ANSIBLE_LOCAL_TEMP": str(self.folder / "tmp"), "ANSIBLE_PRIVATE_KEY_FILE": str(self.key),
            "ANSIBLE_SSH_COMMON_ARGS": _SSH, **self.environment,
        }  # fmt: skip


def _must(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
