# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store that is none of ours: rclone as a plain process, with one key that may do everything."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .rclone_store import PROGRAM

KEY = "root00000,root-secret-1"


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder, whose folders are the buckets; yield the address."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(PROGRAM), "serve", "s3", "--config=/dev/null", f"--cache-dir={folder.parent}/cache"]
    command += [f"--addr=127.0.0.1:{port}", "--dir-cache-time=0s", f"--auth-key={KEY}", str(folder)]
    log = folder.parent / "rclone.log"
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            _wait(port, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.1)
