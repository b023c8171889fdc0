# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second Docker engine beside the machine's, for tests that stop one. Its containers have no way out."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import docker

READY_SECONDS = 60.0
#: Beside what engines choose by themselves.
ADDRESS_POOL = "base=10.213.0.0/16,size=24"


class OwnEngine:
    """Runs ``dockerd`` with all of its state in one folder; use as a context manager."""

    def __init__(self) -> None:
        # A short path: below it are unix sockets, whose paths have 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="mytest-engine-"))
        self.docker_host = f"unix://{self.folder}/docker.sock"
        # Its own network: a second engine beside another one deletes docker0 as it starts, though the other uses it.
        subprocess.run(["ip", "netns", "add", self.folder.name], check=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.client: docker.DockerClient

    def __enter__(self) -> OwnEngine:
        self.start()
        self.client = docker.DockerClient(base_url=self.docker_host, version="auto", timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        command = [
            "nsenter", f"--net=/run/netns/{self.folder.name}",
            "dockerd", f"--host={self.docker_host}", f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid", "--bridge=none", "--iptables=false",
            "--ip-masq=false", f"--default-address-pool={ADDRESS_POOL}",
        ]  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the second engine does not start: {self._last_words()}")
            time.sleep(0.1)

    def end(self, how: signal.Signals) -> None:
        """End the daemon and wait until it is gone; with SIGKILL its containers run on."""
        assert self._process is not None, "it was never started"
        self._process.send_signal(how)
        self._process.wait(timeout=READY_SECONDS)
        # A killed daemon takes its containerd along. Where PID 1 reaps nobody, that looks alive to the next daemon.
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def load(self, references: list[str]) -> None:
        """Bring images over from the machine's engine."""
        archive = self.folder / "images.tar"
        subprocess.run(["docker", "save", "--output", str(archive), *references], check=True)
        subprocess.run(["docker", "--host", self.docker_host, "load", "--quiet", "--input", str(archive)], check=True)
        archive.unlink()

    def _answers(self) -> bool:
        done = subprocess.run(["docker", "--host", self.docker_host, "version"], check=False, capture_output=True)
        return done.returncode == 0

    def _last_words(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-2000:]

    def _remove(self) -> None:
        """Remove the containers with their processes, the daemon, its mounts and its folder."""
        assert self._process is not None, "it was never started"
        if self._process.poll() is not None:
            self.start()
        for container in self.client.containers.list(all=True):
            container.remove(force=True)
        self.client.close()
        self.end(signal.SIGTERM)
        for line in reversed(Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()):
            if (place := line.split()[1]).startswith(f"{self.folder}/"):
                subprocess.run(["umount", place], check=True)
        shutil.rmtree(self.folder)
