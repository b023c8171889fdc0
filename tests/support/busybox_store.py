# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for upstream's image of rclone, which no registry is asked for: laid out as its Dockerfile says.

Alpine's BusyBox is Debian's static one here: no bash, no coreutils. It starts as root, ``/data`` is root's, and nothing
declares a volume. Source: github.com/rclone/rclone, ``Dockerfile``.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from . import images
from .rclone_store import PROGRAM

_DOCKERFILE = """
FROM scratch
COPY busybox /bin/busybox
RUN ["/bin/busybox", "mkdir", "/usr", "/usr/bin", "/usr/sbin", "/usr/local", "/usr/local/bin", "/sbin", "/data"]
RUN ["/bin/busybox", "--install", "-s"]
RUN mkdir -m 1777 /tmp
COPY --chmod=0755 rclone /usr/local/bin/rclone
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin XDG_CONFIG_HOME=/config
ENTRYPOINT ["rclone"]
WORKDIR /data
"""


def ensure_image() -> str:
    """Build the image where it is missing; return its reference."""
    content = hashlib.sha256(PROGRAM.read_bytes() + _DOCKERFILE.encode()).hexdigest()
    reference = f"{images.REPOSITORY}/rclone-busybox:{content[:12]}"
    with images.LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run(["docker", "image", "inspect", reference], check=False, capture_output=True).returncode:
            _build(reference)
    return reference


def _build(reference: str) -> None:
    with tempfile.TemporaryDirectory(prefix="modelyard-test-") as name:
        folder = Path(name)
        _run(["apt-get", "download", "--quiet", "busybox-static"], folder)
        [package] = folder.glob("*.deb")
        _run(["dpkg-deb", "--extract", package.name, "unpacked"], folder)
        [busybox] = [path for path in folder.glob("unpacked/**/bin/busybox") if path.is_file()]
        shutil.copy(busybox, folder / "busybox")
        shutil.copy(PROGRAM, folder)
        (folder / "Dockerfile").write_text(_DOCKERFILE, encoding="utf-8")
        _run(["docker", "buildx", "build", "--quiet", "--load", "--network=none", "--tag", reference, "."], folder)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"Cannot build the stand-in of rclone's image: {' '.join(command[:2])}: {done.stderr}")
