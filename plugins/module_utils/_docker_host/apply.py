# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan: packages, settings, the engine's start, the group."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._compose.engine import Engine
from .._errors import PlatformError
from .._files import FileState, ensure_directory, read_state, telling, write_atomically
from .._image.command import mask_credentials
from .._run import Completed, Run, clean_environment
from .observe import DAEMON, GROUP, read_compose_version
from .plan import Observed, Plan
from .settings import render_settings
from .wanted import COMPOSE_FLOOR, DOCKER_KEY_PATH, Wanted, apt_files, is_at_least

READY_SECONDS = 60.0
STOP_SECONDS = 60
LOG = "/var/log/docker.log"
PID_FILE = "/run/docker.pid"
_STARTER_PID_FILE = "/run/docker-ssd.pid"
_POLICY = "/usr/sbin/policy-rc.d"
_FETCH_SECONDS = 30.0
_UNREACHED = re.compile(r"^[WE]: Failed to fetch (\S+)\s+(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Host:
    """What changes a host."""

    wanted: Wanted
    observed: Observed
    engine: Engine
    run: Run
    #: Whether systemd is PID 1.
    has_systemd: bool

    def apply(self, plan: Plan) -> None:
        """Do every step.

        :raises PlatformError: a program failed; the message says which and why.
        """
        if plan.has("settings"):
            self._write_settings(plan)
        if plan.packages:
            self._install(plan)
        if plan.hold:
            self._must(["apt-mark", "hold", *plan.hold], "hold packages")
        self._handle_engine(plan)
        for user in plan.join:
            self._must(["usermod", "--append", "--groups", GROUP, user], f"let user {user!r} use Docker")

    def _write_settings(self, plan: Plan) -> None:
        path = self.wanted.daemon_file
        before = read_state(path)
        content = render_settings(plan.settings).encode()
        state = FileState(content, *((before.mode, before.uid, before.gid) if before else (0o644, 0, 0)))
        with telling(f"write the engine's settings to {path}"):
            ensure_directory(os.path.dirname(path), mode=0o755)
            write_atomically(path, state)

    def _install(self, plan: Plan) -> None:
        updated = self._apt("update")
        if plan.source is not None and self._write_sources(plan):
            updated = self._apt("update")
        with self._no_service_starts(), telling_unreached(updated):
            self._apt("install", "--no-install-recommends", *plan.packages)
        version = read_compose_version(self.run)
        if plan.source is not None and not is_at_least(version or "0", COMPOSE_FLOOR):
            raise PlatformError(
                f"Cannot prepare Docker: Compose is {version or 'missing'} after the installation, and "
                f"{'.'.join(map(str, COMPOSE_FLOOR))} is needed; look at what apt offers (apt-cache policy)."
            )

    def _write_sources(self, plan: Plan) -> bool:
        """Write the apt files of the plan's source; tell whether any was missing."""
        if plan.source is None:
            return False
        files = apt_files(
            plan.source, self.observed.distribution, self.observed.codename,
            mirror=self._find_mirror(), repository=self.wanted.docker_repository,
        )  # fmt: skip
        if plan.source == "docker" and not os.path.exists(DOCKER_KEY_PATH):
            files[DOCKER_KEY_PATH] = self._fetch_key()
        changed = False
        for path, text in files.items():
            state = FileState(text.encode(), 0o644, 0, 0)
            if read_state(path) != state:
                ensure_directory(os.path.dirname(path), mode=0o755)
                write_atomically(path, state)
                changed = True
        return changed

    def _find_mirror(self) -> str:
        """Return the address of the archive that the host's own apt sources name, so that a mirror is kept."""
        done = self.run(
            ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)", "Identifier: Packages"]
        )
        rows = [line.split("|") for line in done.stdout.splitlines()]
        for row in rows:
            if len(row) == 3 and row[0] == "Debian" and row[1] == "main" and "security" not in row[2]:
                return row[2]
        return "http://deb.debian.org/debian"

    def _fetch_key(self) -> str:
        address = f"{self.wanted.docker_repository}/{self.observed.distribution}/gpg"
        try:
            with urllib.request.build_opener().open(address, timeout=_FETCH_SECONDS) as answer:
                text: str = answer.read().decode()
        except (OSError, ValueError) as error:
            raise PlatformError(
                f"Cannot take Docker from its own repository: {address} gives no key ({error}); let the host reach it, "
                "or set 'source' to distribution."
            ) from error
        return text

    @contextlib.contextmanager
    def _no_service_starts(self) -> Iterator[None]:
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

    def _apt(self, *words: str) -> Completed:
        environment = clean_environment({"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"})
        argv = ["apt-get", "--yes", "--quiet", "-o", "DPkg::Lock::Timeout=300", *words]
        return self._must(argv, f"run apt-get {words[0]}", environment=environment)

    def _handle_engine(self, plan: Plan) -> None:
        if plan.has("restart"):
            # With live-restore taken over first, containers live on while their engine is away.
            self._reload()
            self._restart()
        elif plan.has("start"):
            self._start()
        elif plan.has("reload"):
            self._reload()

    def _start(self) -> None:
        if self.has_systemd:
            self._must(["systemctl", "enable", "--now", "docker"], "start the Docker engine")
        else:
            self._must(start_argv(), "start the Docker engine", environment=daemon_environment())
        self._wait_ready()

    def _reload(self) -> None:
        if self.has_systemd:
            self._must(["systemctl", "reload", "docker"], "let the Docker engine read its settings")
        else:
            argv = ["start-stop-daemon", "--stop", "--signal", "HUP", "--pidfile", PID_FILE]
            self._must(argv, "let the Docker engine read its settings")

    def _restart(self) -> None:
        if self.has_systemd:
            self._must(["systemctl", "restart", "docker"], "restart the Docker engine")
        else:
            argv = ["start-stop-daemon", "--stop", "--retry", str(STOP_SECONDS), "--pidfile", PID_FILE]
            self._must(argv, "stop the Docker engine")
            self._must(start_argv(), "start the Docker engine", environment=daemon_environment())
        self._wait_ready()

    def _wait_ready(self) -> None:
        if self.engine.wait_alive(timeout_seconds=READY_SECONDS):
            return
        where = "journalctl --unit docker" if self.has_systemd else LOG
        raise PlatformError(
            f"Cannot start the Docker engine: it does not answer at {self.engine.socket_path} after "
            f"{READY_SECONDS:.0f} s; {where} says why{_last_lines(LOG) if not self.has_systemd else ''}."
        )

    def _must(self, argv: Sequence[str], doing: str, *, environment: dict[str, str] | None = None) -> Completed:
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
