# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk that fills up in the middle of an apply: a clean error, whole files, and the next run converges."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from support.fingerprint import litter
from support.modules import run_module
from support.site import Site
from support.traps import Trap, counting, moments_of, paused, pick_moment

DISK_MEBIBYTES = 48
PHASES = ("begin", "files", "up", "record")
KILLS = 4
CASES = [(phase, number) for phase in PHASES for number in range(KILLS)]


@pytest.fixture
def small_disk(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Site]:
    """Yield a site on a disk of its own."""
    directory = tmp_path / "site"
    directory.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEBIBYTES}m,mode=755", "none", str(directory)], check=True
    )
    site = Site(engine, directory)
    yield site
    site.remove()
    subprocess.run(["umount", str(directory)], check=True)


def params(site: Site, images: dict[str, str], version: str) -> dict[str, Any]:
    service = {
        "image": images[version],
        "environment": {"VERSION": version},
        "volumes": ["./one:/etc/one:ro", "./two:/etc/two:ro"],
    }
    return {
        "name": site.name("full"),
        "directory": str(site.directory),
        "layers": [{"services": {"app": service}}],
        # More than a page each: the last free page must not be enough.
        "files": [{"path": name, "content": f"{version}\n" * 20_000} for name in ("one", "two")],
        "pull": "never",
    }


def fill(directory: Path) -> Path:
    """Write a file that takes all the room there is."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(65536))
        except OSError:
            return filler


@pytest.mark.parametrize(
    ("phase", "number"), [pytest.param(*case, marks=[] if case[1] == 0 else [pytest.mark.long]) for case in CASES]
)
def test_the_run_after_a_full_disk_converges(
    phase: str, number: int, small_disk: Site, app_images: dict[str, str], seed: int, tmp_path: Path
) -> None:
    site, name = small_disk, small_disk.name("full")
    first = run_module("compose_project", params(site, app_images, "v1"), environment=counting(tmp_path / "moments"))
    assert not first.failed, first.msg
    chance = random.Random(f"{seed} {phase} {number}")
    trap = Trap(phase, pick_moment(chance, moments_of(tmp_path / "moments")[phase]), "pause", tmp_path / "sprang")
    context = f"full at moment {trap.moment} of {phase}, seed {seed}"

    with paused(params(site, app_images, "v2"), trap) as held:
        filler = fill(site.directory)
    result = held.answer()

    assert "Traceback" not in result.stdout + result.stderr, f"{context}: {result.stderr or result.stdout}"
    assert result.values, f"{context}: no answer"
    if result.failed:
        assert result.msg.startswith(f"Cannot apply project {name!r}: "), context
        assert "No space left on device" in result.msg, f"{context}: {result.msg}"
    folder = site.directory / "projects" / name
    for file in ("one", "two"):
        assert (folder / file).read_text() in ("v1\n" * 20_000, "v2\n" * 20_000), context
    assert list(site.directory.rglob(".*-tmp")) == [], context

    filler.unlink()
    after = run_module("compose_project", params(site, app_images, "v2"))
    assert not after.failed, f"{context}: {after.msg}"
    assert {file: (folder / file).read_text()[:3] for file in ("one", "two")} == {"one": "v2\n", "two": "v2\n"}
    assert after["services"] == {"app": "healthy"}
    assert litter(site.engine, site, name) == [], context
    check = run_module("compose_project", params(site, app_images, "v2"), check=True)
    assert not check.changed, f"{context}: {check}"
