# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at a host, without changing anything; a host that has all it needs is asked little."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from .._compose.engine import Engine, EngineError
from .._compose.host import read_default_mtu
from .._errors import PlatformError
from .._run import Run
from .plan import Observed, RunningEngine
from .settings import merge_settings, parse_settings
from .wanted import HELD, Wanted

GROUP = "docker"
DAEMON = "dockerd"
_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_DIRECTORY_LABEL = "modelyard.directory"

# Where the CLI looks for plug-ins. Source: docker/cli, cli-plugins/manager/manager_unix.go.
PLUGIN_FOLDERS = (
    "/root/.docker/cli-plugins", "/usr/local/lib/docker/cli-plugins", "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins", "/usr/libexec/docker/cli-plugins",
)  # fmt: skip


def find_plugin(name: str, folders: Iterable[str] = PLUGIN_FOLDERS) -> str:
    """Return the plug-in that Docker's CLI takes, the first of its folders that has one; empty where none has."""
    found = (f"{folder}/{name}" for folder in folders)
    return next((path for path in found if os.access(path, os.X_OK)), "")


def observe(wanted: Wanted, engine: Engine, run: Run) -> Observed:
    """Return the host as it is.

    :raises PlatformError: its settings cannot be read, or the engine answers with an error.
    """
    distribution, codename = read_distribution()
    settings = read_settings(wanted.daemon_file)
    mtu = read_default_mtu()
    # Only where settings would change does it matter what a restart would stop.
    is_settled = settings == merge_settings(settings, mtu=mtu, is_swarm=False, options=wanted.daemon_options)
    packages = read_packages(run, {*wanted.packages, *HELD})
    return Observed(
        distribution=distribution,
        codename=codename,
        engine=observe_engine(engine, wanted.directory, is_brief=is_settled),
        compose=read_compose_version(run),
        has_buildx=bool(find_plugin("docker-buildx")),
        has_daemon=shutil.which(DAEMON, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin") is not None,
        installed=frozenset(packages),
        held=frozenset(name for name, is_held in packages.items() if is_held),
        settings=settings,
        mtu=mtu,
        members=read_members(wanted.users),
    )


def read_distribution(paths: Iterable[str] = _OS_RELEASE) -> tuple[str, str]:
    """Return ID and code name of the distribution, empty where nothing says them. Source: os-release(5)."""
    for path in paths:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                return parse_os_release(stream.read())
    return "", ""


def parse_os_release(text: str) -> tuple[str, str]:
    """Return ID and code name from the text of os-release(5)."""
    values = dict(word.partition("=")[::2] for word in shlex.split(text, comments=True))
    return values.get("ID", ""), values.get("VERSION_CODENAME", "")


def read_settings(path: str) -> dict[str, Any]:
    """Return the engine's settings; none where there is no file."""
    try:
        with open(path, encoding="utf-8") as stream:
            return parse_settings(stream.read(), path)
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise PlatformError(f"Cannot read the engine's settings in {path}: it is no text; correct the file.") from None


def observe_engine(engine: Engine, directory: str, *, is_brief: bool) -> RunningEngine | None:
    """Return the engine that answers; None where nobody does.

    :param is_brief: only its version is of interest.
    """
    try:
        version = str(engine.get("/version").get("Version", ""))
        if is_brief:
            return RunningEngine(version)
        info, containers = (
            json.loads(answer) for answer in engine.request_all([("/info", {}), ("/containers/json", {})])
        )
    except EngineError as error:
        if error.status:
            raise
        return None
    return RunningEngine(
        version,
        live_restore=bool(info.get("LiveRestoreEnabled")),
        is_swarm=(info.get("Swarm") or {}).get("LocalNodeState") not in (None, "", "inactive"),
        foreign_containers=find_foreign(containers, directory),
    )


def find_foreign(containers: Iterable[Mapping[str, Any]], directory: str) -> tuple[str, ...]:
    """Return the names of the listed containers that are not of the site in ``directory``."""
    return tuple(
        sorted(
            container["Names"][0].lstrip("/")
            for container in containers
            if (container.get("Labels") or {}).get(_DIRECTORY_LABEL) != directory
        )
    )


def read_packages(run: Run, names: Iterable[str]) -> dict[str, bool]:
    """Return each installed one of ``names``, and whether it is held."""
    if shutil.which("dpkg-query") is None:
        return {}
    # It ends with 1 where it does not know a name, and tells of the others all the same.
    done = run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status} ${db:Status-Want}\n", *sorted(names)]
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    return {row[0]: row[2] == "hold" for row in rows if len(row) == 3 and row[1] == "installed"}


def read_compose_version(run: Run) -> str:
    """Return the version of the CLI's Compose plug-in, empty where CLI or plug-in is missing."""
    try:
        done = run(["docker", "compose", "version", "--short"])
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read_members(users: Iterable[str]) -> dict[str, bool]:
    """Return each user that exists, and whether it is in the group of Docker's socket."""
    try:
        group = grp.getgrnam(GROUP)
        members, gid = set(group.gr_mem), group.gr_gid
    except KeyError:
        members, gid = set(), -1
    found: dict[str, bool] = {}
    for user in users:
        try:
            found[user] = user in members or pwd.getpwnam(user).pw_gid == gid
        except KeyError:
            continue
    return found


def read_socket_gid(path: str) -> int:
    """Return the group of the engine's socket; 0 where there is none yet."""
    try:
        return os.stat(path).st_gid
    except FileNotFoundError:
        return 0
