# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry on this machine, from Debian's package but not installed: unpacked once, started as a process of ours."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import bcrypt

from .modules import ROOT

_UNPACKED = ROOT / "build" / "cache" / "docker-registry"

_CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: info, accesslog: {{disabled: false}}}}
"""


#: Source: distribution's manual, "auth", "htpasswd". It knows bcrypt alone.
_AUTH = """\
auth: {{htpasswd: {{realm: test, path: {folder}/registry.htpasswd}}}}
"""


@contextlib.contextmanager
def run_registry(folder: Path, users: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the ``host:port`` of an empty registry that keeps its data below ``folder``.

    :param users: names to passwords of those whom it lets in; everybody where there are none.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "registry.yml"
    config.write_text((_CONFIG + (_AUTH if users else "")).format(folder=folder, port=port), encoding="utf-8")
    set_users(folder, users or {})
    with (folder / "registry.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([_program(), "serve", str(config)], stdout=log, stderr=log)
    try:
        _wait(f"http://127.0.0.1:{port}/v2/", process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def set_users(folder: Path, users: Mapping[str, str]) -> None:
    """Let these users in and no others; a registry that runs knows it by its next request."""
    lines = [f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for name, word in users.items()]
    (folder / "registry.htpasswd").write_text("".join(lines), encoding="utf-8")


def _program() -> str:
    program = _UNPACKED / "usr" / "bin" / "docker-registry"
    _UNPACKED.mkdir(parents=True, exist_ok=True)
    with (_UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            subprocess.run(
                ["apt-get", "download", "-q", "docker-registry"], cwd=_UNPACKED, check=True, capture_output=True
            )
            package = next(_UNPACKED.glob("docker-registry_*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, _UNPACKED], check=True)
    return str(program)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code == 401:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"Cannot start the registry: it does not answer at {address}; see its log.")
