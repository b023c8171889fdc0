# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one way to look at a host: its files below a root folder, its device nodes, its programs, its engine."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess  # nosec: argument lists only, never a shell
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from .._compose.engine import Engine, socket_path_of
from .._errors import PlatformError
from .._run import Completed, clean_environment
from .facts import Node

#: Exit status of a program that did not answer in time, as timeout(1) has it.
LATE = 124

#: Where programs are looked for: a user's PATH may lack the second half.
FOLDERS = (
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
)  # fmt: skip
_MOST_LINKS = 40

Run = Callable[[Sequence[str], float], Completed]
AskEngine: TypeAlias = "Callable[[], Mapping[str, Any] | None]"


def run_bounded(argv: Sequence[str], wait_seconds: float) -> Completed:
    """Run a program that may hang; return after ``wait_seconds`` whatever it does, with the status :data:`LATE` then.

    A program that waits for a lost GPU sleeps in the kernel, where no signal reaches it, so it is killed but not waited
    for: ``subprocess.run`` would wait for ever.

    :raises FileNotFoundError: there is no such program.
    """
    environment = clean_environment({"LC_ALL": "C", "PATH": ":".join(FOLDERS)})
    child = subprocess.Popen(  # pylint: disable=ansible-bad-function
        list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        start_new_session=True,
    )  # fmt: skip
    try:
        stdout, stderr = child.communicate(timeout=wait_seconds)
    except subprocess.TimeoutExpired:
        _abandon(child)
        return Completed(LATE, "", "")
    return Completed(child.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def _abandon(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for stream in (child.stdout, child.stderr):
        if stream is not None:
            stream.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=1)


def ask_engine() -> Mapping[str, Any] | None:
    """Return what the engine of this host says of itself; None where none answers."""
    try:
        answer = Engine(socket_path_of(os.environ)).get("/info")
    except PlatformError:
        return None
    return answer if isinstance(answer, dict) else None


class Host:
    """Reads, and never writes. What is not there, or not for this user to read, is None or empty."""

    def __init__(
        self, *, root: str = "/", run: Run = run_bounded, ask_engine: AskEngine = ask_engine, wait_seconds: float = 60
    ) -> None:
        self._root = root.rstrip("/")
        self._run = run
        self._wait_seconds = wait_seconds
        self.ask_engine = ask_engine

    def read_bytes(self, path: str) -> bytes | None:
        """Return the content of a file."""
        try:
            with open(self._root + path, "rb") as stream:
                return stream.read()
        except OSError:
            return None

    def read(self, path: str) -> str | None:
        """Return the text of a file, bytes that are no text replaced."""
        content = self.read_bytes(path)
        return None if content is None else content.decode(errors="replace")

    def list_names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder."""
        try:
            return sorted(os.listdir(self._root + folder))
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Tell whether there is something of that name at the end of all links."""
        return os.path.lexists(self._root + self.resolve(path))

    def may_read(self, path: str) -> bool:
        """Tell whether there is a file that this user may read."""
        return os.access(self._root + path, os.R_OK)

    def read_link_name(self, path: str) -> str:
        """Return the last name of where a link leads, empty where there is no link."""
        try:
            return os.path.basename(os.readlink(self._root + path))
        except OSError:
            return ""

    def resolve(self, path: str) -> str:
        """Return where the links that ``path`` is lead, as a path of this host."""
        if not self._root:
            return os.path.realpath(path)
        # Below a folder that stands for a host, an absolute link means that folder's own files.
        for _number in range(_MOST_LINKS):
            try:
                target = os.readlink(self._root + path)
            except OSError:
                break
            path = os.path.normpath(os.path.join(os.path.dirname(path), target))
        return path

    def find_program(self, name: str) -> str:
        """Return the path of a program, empty where there is none."""
        return next((f"{folder}/{name}" for folder in FOLDERS if self.exists(f"{folder}/{name}")), "")

    def read_node(self, path: str) -> Node | None:
        """Return a character device."""
        try:
            found = os.stat(self._root + path)
        except OSError:
            return None
        if not stat.S_ISCHR(found.st_mode):
            return None
        return Node(path, stat.S_IMODE(found.st_mode), os.major(found.st_rdev), os.minor(found.st_rdev))

    def ask(self, *argv: str) -> Completed | None:
        """Return how a program ended; None where it cannot be started."""
        try:
            return self._run(argv, self._wait_seconds)
        except OSError:
            return None
