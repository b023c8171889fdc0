# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes a host: its packages, the engine's settings, the engine's start; whoever asks says why it cannot."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._compose.engine import Engine
from .._errors import PlatformError
from .._files import FileState, ensure_directory, read_state, telling, write_atomically
from .._image.command import mask_credentials
from .._run import Completed, Run, clean_environment
from .observe import DAEMON
from .settings import render_settings

READY_SECONDS = 60.0
STOP_SECONDS = 60
LOG = "/var/log/docker.log"
PID_FILE = "/run/docker.pid"
_STARTER_PID_FILE = "/run/docker-ssd.pid"
_POLICY = "/usr/sbin/policy-rc.d"
_UNREACHED = re.compile(r"^[WE]: Failed to fetch (\S+)\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Machine:
    """A host as far as programs change it."""

    engine: Engine
    run: Run
    #: Whether systemd is PID 1.
    has_systemd: bool

    def write_settings(self, path: str, settings: Mapping[str, Any]) -> None:
        """Write the engine's settings; mode and owner stay."""
        before = read_state(path)
        content = render_settings(settings).encode()
        state = FileState(content, *((before.mode, before.uid, before.gid) if before else (0o644, 0, 0)))
        with telling(f"write the engine's settings to {path}"):
            ensure_directory(os.path.dirname(path), mode=0o755)
            write_atomically(path, state)

    def write_files(self, files: Mapping[str, str]) -> bool:
        """Write files that everybody may read; tell whether any was missing or different."""
        changed = False
        for path, text in files.items():
            state = FileState(text.encode(), 0o644, 0, 0)
            if read_state(path) != state:
                ensure_directory(os.path.dirname(path), mode=0o755)
                write_atomically(path, state)
                changed = True
        return changed

    def install(self, packages: Sequence[str], *, updated: Completed) -> None:
        """Install packages; no service is started by it where there is no systemd.

        :param updated: the last ``apt-get update``, which succeeds where no source answers.
        """
        with self.no_service_starts(), telling_unreached(updated):
            self.apt("install", "--no-install-recommends", *packages)

    @contextlib.contextmanager
    def no_service_starts(self) -> Iterator[None]:
        """Keep the package's init script from starting the daemon where there is no systemd; it cannot.

        It raises limits and mounts cgroups, which a container may refuse. Source: policy-rc.d, invoke-rc.d(8).
        """
        if self.has_systemd or os.path.exists(_POLICY):
            yield
            return
        write_atomically(_POLICY, FileState(b"#!/bin/sh\nexit 101\n", 0o755, 0, 0))
        try:
            yield
        finally:
            os.unlink(_POLICY)

    def apt(self, *words: str) -> Completed:
        environment = clean_environment({"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"})
        argv = ["apt-get", "--yes", "--quiet", "-o", "DPkg::Lock::Timeout=300", *words]
        return self.must(argv, f"run apt-get {words[0]}", environment=environment)

    def start(self) -> None:
        if self.has_systemd:
            self.must(["systemctl", "enable", "--now", "docker"], "start the Docker engine")
        else:
            self.must(start_argv(), "start the Docker engine", environment=daemon_environment())
        self._wait_ready()

    def reload(self) -> None:
        if self.has_systemd:
            self.must(["systemctl", "reload", "docker"], "let the Docker engine read its settings")
        else:
            argv = ["start-stop-daemon", "--stop", "--signal", "HUP", "--pidfile", PID_FILE]
            self.must(argv, "let the Docker engine read its settings")

    def restart(self) -> None:
        if self.has_systemd:
            self.must(["systemctl", "restart", "docker"], "restart the Docker engine")
        else:
            argv = ["start-stop-daemon", "--stop", "--retry", str(STOP_SECONDS), "--pidfile", PID_FILE]
            self.must(argv, "stop the Docker engine")
            self.must(start_argv(), "start the Docker engine", environment=daemon_environment())
        self._wait_ready()

    def _wait_ready(self) -> None:
        if self.engine.wait_alive(timeout_seconds=READY_SECONDS):
            return
        where = "journalctl --unit docker" if self.has_systemd else LOG
        raise PlatformError(
            f"Cannot start the Docker engine: it does not answer at {self.engine.socket_path} after "
            f"{READY_SECONDS:.0f} s; {where} says why{_last_lines(LOG) if not self.has_systemd else ''}."
        )

    def must(self, argv: Sequence[str], doing: str, *, environment: dict[str, str] | None = None) -> Completed:
        try:
            done = self.run(argv, env=environment)
        except FileNotFoundError:
            raise PlatformError(f"Cannot {doing}: the program {argv[0]!r} is missing; install it.") from None
        if done.returncode:
            said = " ".join((done.stderr.strip() or done.stdout.strip()).splitlines()[-5:])
            raise PlatformError(
                f"Cannot {doing}: {said or f'{argv[0]} ended with {done.returncode}'}; mend that first."
            )
        return done


@contextlib.contextmanager
def telling_unreached(updated: Completed) -> Iterator[None]:
    """Name what apt could not fetch as the cause of an installation that fails.

    ``apt-get update`` succeeds where no source answers, and the installation then says that there is no such package.
    Recorded with apt 2.6.1.
    """
    try:
        yield
    except PlatformError as error:
        found = _UNREACHED.search(f"{updated.stdout}\n{updated.stderr}")
        if found is None:
            raise
        raise PlatformError(
            f"Cannot install packages: apt cannot fetch {mask_credentials(found[1])} ({found[2].strip()}); let the "
            "host reach its apt sources, or correct them, then run again."
        ) from error


def start_argv() -> list[str]:
    """Return what starts the daemon where there is no systemd; nothing happens where one runs."""
    daemon = shutil.which(DAEMON, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin") or f"/usr/bin/{DAEMON}"
    return [
        "start-stop-daemon", "--start", "--oknodo", "--background", "--make-pidfile", "--pidfile", _STARTER_PID_FILE,
        "--output", LOG, "--exec", daemon, "--", "-p", PID_FILE,
    ]  # fmt: skip


def daemon_environment() -> dict[str, str]:
    """Return the environment of the daemon: what happens to be set here is no setting of its own."""
    proxies = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **{name: os.environ[name] for name in proxies if name in os.environ},
    }


def _last_lines(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return ": " + " ".join(line.strip() for line in stream.readlines()[-3:])
    except OSError:
        return ""
