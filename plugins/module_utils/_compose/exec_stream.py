# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs inside a container, with streams of any size in and out and the memory of one block."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from .._errors import PlatformError
from .engine import Engine

_BLOCK_BYTES = 65536
_HEADER_BYTES = 8
_STDERR = 2
_TAIL_BYTES = 4096
#: The engine notices the end of a program a moment after its last output.
_EXIT_SECONDS = 30.0


@dataclass(frozen=True)
class Ended:
    """How a program in a container ended; ``stderr`` is the last part of what it said."""

    returncode: int
    stderr: str


@dataclass
class FrameReader:
    """Takes the engine's multiplexed stream apart: 8 bytes (stream, 0, 0, 0, size as big endian), then the block.

    Source: the Engine API's manual, "Attach to a container", stream format.
    """

    stdout: IO[bytes] | None = None
    stderr: bytearray = field(default_factory=bytearray)
    _header: bytes = b""
    _left: int = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, wherever they were cut."""
        while chunk:
            if self._left:
                block, chunk = chunk[: self._left], chunk[self._left :]
                self._left -= len(block)
                self._take(block)
                continue
            if len(self._header) == _HEADER_BYTES:
                self._header = b""
            missing = _HEADER_BYTES - len(self._header)
            self._header, chunk = self._header + chunk[:missing], chunk[missing:]
            if len(self._header) == _HEADER_BYTES:
                self._left = int.from_bytes(self._header[4:], "big")

    def _take(self, block: bytes) -> None:
        if self._header[0] == _STDERR:
            self.stderr += block
            del self.stderr[:-_TAIL_BYTES]
        elif self.stdout is not None:
            self.stdout.write(block)


def run_in_container(
    engine: Engine,
    container_id: str,
    argv: Sequence[str],
    *,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
) -> Ended:
    """Run ``argv`` as the container's own user and wait for its end, however long it takes.

    When we are killed, the program sees the end of its input and a closed output.

    :param stdin: read to its end.
    :param stdout: gets the program's output as it comes; without it the output is dropped.
    :raises EngineError: the container does not run, or the engine was stopped meanwhile.
    :raises OSError: ``stdin`` cannot be read, or ``stdout`` not written (the disk is full).
    """
    created = engine.request(
        "POST",
        f"/containers/{container_id}/exec",
        body={"AttachStdin": stdin is not None, "AttachStdout": True, "AttachStderr": True, "Cmd": list(argv)},
    )
    exec_id = json.loads(created)["Id"]
    connection, early = engine.open_raw(f"/exec/{exec_id}/start", {"Detach": False, "Tty": False})
    reader = FrameReader(stdout)
    with connection, _sending(connection, stdin):
        reader.feed(early)
        while chunk := connection.recv(_BLOCK_BYTES):
            reader.feed(chunk)
    return Ended(_exit_code(engine, exec_id, argv[0]), reader.stderr.decode(errors="replace").strip())


@contextlib.contextmanager
def _sending(connection: socket.socket, stdin: IO[bytes] | None) -> Iterator[None]:
    """Send ``stdin`` while the output is read: a program that waits for the one must not stop the other."""
    if stdin is None:
        yield
        return
    failures: list[OSError] = []
    sender = threading.Thread(target=_send, args=(connection, stdin, failures), daemon=True)
    sender.start()
    try:
        yield
    finally:
        # A program that ended before it read all leaves the sender waiting.
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    if failures:
        raise failures[0]


def _send(connection: socket.socket, stdin: IO[bytes], failures: list[OSError]) -> None:
    while True:
        try:
            block = stdin.read(_BLOCK_BYTES)
        except OSError as error:
            failures.append(error)
            block = b""
        try:
            if not block:
                connection.shutdown(socket.SHUT_WR)
                return
            connection.sendall(block)
        except OSError:
            return  # The program has closed its input; its exit code tells whether it missed something.


def _exit_code(engine: Engine, exec_id: str, program: str) -> int:
    deadline = time.monotonic() + _EXIT_SECONDS
    while time.monotonic() < deadline:
        found = engine.get(f"/exec/{exec_id}/json")
        if not found["Running"] and found["ExitCode"] is not None:
            return int(found["ExitCode"])
        time.sleep(0.05)
    raise PlatformError(
        f"Cannot tell how {program!r} ended: it still runs {_EXIT_SECONDS:g} s after it closed its output; "
        "look at the container's processes (docker top) and run again."
    )
