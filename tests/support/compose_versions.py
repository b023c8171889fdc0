# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another Compose than the machine's own: that of Debian sid, unpacked beside it, never installed."""

from __future__ import annotations

import fcntl
import re
import subprocess
import tempfile
from pathlib import Path

from .images import debian_mirror
from .modules import ROOT

CACHE = ROOT / "build" / "cache" / "compose-of-sid"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def newer_compose_config() -> Path:
    """Return a folder for ``DOCKER_CONFIG`` in which the docker CLI finds sid's Compose; fetched once."""
    plugin = CACHE / "cli-plugins" / "docker-compose"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not plugin.exists():
            plugin.parent.mkdir(exist_ok=True)
            _fetch(plugin)
    return CACHE


def version_of(plugin: Path) -> tuple[int, ...]:
    """Return what the plugin says that it is."""
    said = subprocess.run([str(plugin), "version", "--short"], check=True, capture_output=True, text=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:3])


def _fetch(plugin: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as folder:
        for name in ("state/lists/partial", "cache/archives/partial", "root"):
            (Path(folder) / name).mkdir(parents=True)
        sources = Path(folder) / "sources.list"
        sources.write_text(f"deb [signed-by={KEYRING}] {debian_mirror()} sid main\n", encoding="utf-8")
        options = {
            "Dir::State": f"{folder}/state",
            "Dir::Cache": f"{folder}/cache",
            "Dir::Etc::sourcelist": str(sources),
            "Dir::Etc::sourceparts": "-",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        apt = ["apt-get", "--quiet", *(f"--option={name}={value}" for name, value in options.items())]
        _run([*apt, "update"], folder)
        _run([*apt, "download", "docker-compose"], folder)
        [package] = Path(folder).glob("docker-compose_*.deb")
        _run(["dpkg-deb", "--extract", str(package), f"{folder}/root"], folder)
        [found] = [path for path in Path(folder, "root").rglob("cli-plugins/docker-compose") if path.is_file()]
        found.chmod(0o755)
        # By rename: what is there is whole.
        (beside := plugin.with_suffix(".new")).write_bytes(found.read_bytes())
        beside.chmod(0o755)
        beside.rename(plugin)


def _run(command: list[str], folder: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"Cannot fetch Compose of Debian sid: {command[0]} said: {done.stderr.strip()[-500:]}")
