# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers that have lost their GPU are restarted; nothing else is.

When systemd reloads its units it sets the device rules of control groups anew, and a container whose GPU the runtime's
hook has added loses it: "Failed to initialize NVML: Unknown Error", until it is started again
(NVIDIA/nvidia-container-toolkit#48). Any other failure of a GPU is none that a restart mends.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal, TextIO

from .._compose.engine import Engine, EngineError, socket_path_of
from .._compose.exec_stream import run_in_container
from .._compose.site import Site
from .._errors import PlatformError
from .._lock import hold_lock

Verdict = Literal["well", "lost", "unknown"]
#: Return exit status and what was written, of a program in a container.
Ask = Callable[[str, Sequence[str]], tuple[int, str]]

_DIRECTORY_LABEL = "modelyard.directory"
_PROJECT_LABEL = "com.docker.compose.project"
_LOST_TEXT = "Failed to initialize NVML: Unknown Error"
_REFUSED_TEXT = "Operation not permitted"
_QUESTION = ("nvidia-smi", "-L")
#: For images that bring no nvidia-smi and let none be mounted. A device that the rules keep away cannot be opened.
_OTHER_QUESTION = ("sh", "-c", ": <>/dev/nvidiactl")
_NOT_FOUND = (126, 127)
#: Of one question; a driver that waits for a lost card never answers.
ANSWER_SECONDS = 60.0
#: A container that has just been started and still has no GPU gets none by another start.
REST_SECONDS = 600
_RESTART_SECONDS = 300.0


@dataclass(frozen=True)
class Container:
    """A running container of the site that asked for a GPU."""

    id: str
    name: str
    project: str
    started_at: datetime


@dataclass(frozen=True)
class Guard:
    """Looks after the containers of one site. Whom it asks is passed in."""

    engine: Engine
    directory: str
    ask: Ask
    #: Whether the host's own programs reach the GPUs: where they do not, a start would fail.
    is_host_well: Callable[[], bool]
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)

    def look(self) -> list[str]:
        """Restart whoever has lost its GPU; return a sentence for each that was restarted, or should have been.

        :raises PlatformError: the engine refuses to say what runs.
        """
        lost = [container for container in self.find_containers() if self.judge(container) == "lost"]
        if not lost:
            return []
        if not self.is_host_well():
            return [f"left {one.name} alone, which has lost its GPU: the host cannot use it either" for one in lost]
        return [self._restart(container) for container in lost]

    def find_containers(self) -> list[Container]:
        """Return the running containers of this site that asked for a GPU."""
        filters = {"label": [f"{_DIRECTORY_LABEL}={self.directory}"], "status": ["running"]}
        listed = self.engine.get("/containers/json", {"filters": filters})
        found = []
        for entry in listed:
            try:
                inspected = self.engine.get(f"/containers/{entry['Id']}/json")
            except EngineError as error:
                if error.status != 404:
                    raise
                continue
            if asks_for_gpu(inspected):
                found.append(_parse(inspected))
        return found

    def judge(self, container: Container) -> Verdict:
        """Return whether a container can still use its GPU, as far as it can be asked."""
        for question in (_QUESTION, _OTHER_QUESTION):
            try:
                status, said = self.ask(container.id, question)
            except PlatformError as error:
                status, said = _NOT_FOUND[0], str(error)
            if _LOST_TEXT in said or (question is _OTHER_QUESTION and _REFUSED_TEXT in said):
                return "lost"
            if status not in _NOT_FOUND:
                return "well" if status == 0 else "unknown"
        return "unknown"

    def _restart(self, container: Container) -> str:
        name = container.name
        if (self.now() - container.started_at).total_seconds() < REST_SECONDS:
            return f"left {name} alone, which has lost its GPU: it was started a moment ago, and had none then either"
        lock = Site(self.directory).lock_path(container.project)
        try:
            if not os.path.exists(lock):
                return self._restart_now(container)
            with hold_lock(lock, purpose=f"restart {name}", wait_seconds=0):
                return self._restart_now(container)
        except PlatformError as error:
            return f"could not restart {name}, which has lost its GPU: {error}"

    def _restart_now(self, container: Container) -> str:
        # Others were asked since; whoever was stopped meanwhile, such as by the gateway, has to stay so.
        inspected = self.engine.get(f"/containers/{container.id}/json")
        if not inspected["State"]["Running"] or _parse(inspected).started_at != container.started_at:
            return f"left {container.name} alone, which had lost its GPU: it was stopped or started anew meanwhile"
        path = f"/containers/{container.id}/restart"
        self.engine.request("POST", path, timeout_seconds=_RESTART_SECONDS)
        return f"restarted {container.name}, which had lost its GPU ({_LOST_TEXT})"


def asks_for_gpu(inspected: Mapping[str, Any]) -> bool:
    """Tell whether a container asked for a GPU of NVIDIA, by its driver, by CDI, or by the runtime."""
    settings = inspected.get("HostConfig") or {}
    return settings.get("Runtime") == "nvidia" or any(map(_is_of_nvidia, settings.get("DeviceRequests") or ()))


def _is_of_nvidia(request: Mapping[str, Any]) -> bool:
    if request.get("Driver") == "cdi":
        return any(str(name).startswith("nvidia.com/") for name in request.get("DeviceIDs") or ())
    has_gpu = any("gpu" in together for together in request.get("Capabilities") or ())
    return request.get("Driver") == "nvidia" or (not request.get("Driver") and has_gpu)


def _parse(inspected: Mapping[str, Any]) -> Container:
    labels = (inspected.get("Config") or {}).get("Labels") or {}
    # Nanoseconds are more than Python reads.
    started = datetime.fromisoformat(str(inspected["State"]["StartedAt"])[:19]).replace(tzinfo=timezone.utc)
    return Container(inspected["Id"], inspected["Name"].lstrip("/"), labels.get(_PROJECT_LABEL, ""), started)


class Asking:
    """Programs in containers, none waited for longer than it may take: one that hangs does not hold up the others."""

    def __init__(self, engine: Engine, *, wait_seconds: float = ANSWER_SECONDS) -> None:
        self._engine = engine
        self._wait_seconds = wait_seconds

    def __call__(self, container_id: str, argv: Sequence[str]) -> tuple[int, str]:
        """Return how a program ended.

        :raises PlatformError: it cannot be started, or does not end.
        """
        ended: list[tuple[int, str] | PlatformError] = []
        thread = threading.Thread(target=lambda: ended.append(self._run(container_id, argv)), daemon=True)
        thread.start()
        thread.join(self._wait_seconds)
        if not ended:
            return 1, f"{argv[0]} does not answer"
        if isinstance(ended[0], PlatformError):
            raise ended[0]
        return ended[0]

    def _run(self, container_id: str, argv: Sequence[str]) -> tuple[int, str] | PlatformError:
        written = io.BytesIO()
        try:
            done = run_in_container(self._engine, container_id, argv, stdout=written)
        except PlatformError as error:
            return error
        except OSError as error:
            return PlatformError(str(error))
        return done.returncode, f"{written.getvalue().decode(errors='replace')}{done.stderr}"


def run(argv: Sequence[str], *, is_host_well: Callable[[], bool], out: TextIO = sys.stdout) -> int:
    """Look once after the site in the folder that is named; return the exit code."""
    if len(argv) != 1:
        out.write("usage: gpu-guard FOLDER_OF_THE_SITE\n")
        return 2
    try:
        engine = Engine(socket_path_of(os.environ))
        if not engine.is_alive():
            return 0
        sentences = Guard(engine, os.path.abspath(argv[0]), Asking(engine), is_host_well).look()
    except PlatformError as error:
        out.write(f"{error}\n")
        return 1
    out.writelines(f"{sentence}\n" for sentence in sentences)
    return 1 if any(sentence.startswith("could not") for sentence in sentences) else 0


def is_host_well() -> bool:
    """Tell whether a program of this host reaches the GPUs; what does not answer is not well."""
    from .host import run_bounded

    try:
        return run_bounded(_QUESTION, ANSWER_SECONDS).returncode == 0
    except OSError:
        return False


def main() -> int:
    """Look once after the site that the command line names."""
    return run(sys.argv[1:], is_host_well=is_host_well)
