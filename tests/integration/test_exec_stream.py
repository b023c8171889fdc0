# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams through a real engine: of any size, both ways at once, with the memory of one block."""

from __future__ import annotations

import hashlib
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker
import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, EngineError
from ansible_collections.modelyard.platform.plugins.module_utils._compose.exec_stream import Ended, run_in_container
from docker.models.containers import Container
from support.modules import HOST_PYTHON, host_environment
from support.site import Site

SIZE_MEBIBYTES = 200
LIMIT_MEBIBYTES = 40

COPY = """
import sys
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.exec_stream import run_in_container
with open(sys.argv[2], "rb") as stdin, open(sys.argv[3], "wb") as stdout:
    ended = run_in_container(Engine(), sys.argv[1], ["cat"], stdin=stdin, stdout=stdout)
with open("/proc/self/status") as status:  # ru_maxrss would count the program that started this one
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
print(ended.returncode, int(peak) // 1024)
"""


@pytest.fixture
def sleeper(engine: docker.DockerClient, site: Site, base_image: str) -> Iterator[Container]:
    container = engine.containers.run(base_image, name=site.name("sleeper"), detach=True, init=True)
    yield container
    container.remove(force=True)


def run(container: Container, *argv: str, **streams: IO[bytes]) -> Ended:
    return run_in_container(Engine(), str(container.id), argv, **streams)


def test_a_large_stream_goes_through_whole_with_little_memory(sleeper: Container, tmp_path: Path) -> None:
    given, taken = tmp_path / "given", tmp_path / "taken"
    block = hashlib.sha512(b"seed").digest() * (2**20 // 64)
    with given.open("wb") as stream:
        for number in range(SIZE_MEBIBYTES):
            stream.write(number.to_bytes(4, "big") + block[4:])
    done = subprocess.run(
        [HOST_PYTHON, "-c", COPY, str(sleeper.id), str(given), str(taken)],
        env=host_environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    returncode, peak_mebibytes = map(int, done.stdout.split())
    assert returncode == 0
    assert peak_mebibytes <= LIMIT_MEBIBYTES
    subprocess.run(["cmp", str(given), str(taken)], check=True)


def test_exit_code_and_both_outputs_are_kept_apart(sleeper: Container) -> None:
    output = io.BytesIO()
    ended = run(sleeper, "sh", "-c", "echo said; echo complained >&2; exit 7", stdout=output)
    assert ended == Ended(7, "complained")
    assert output.getvalue() == b"said\n"


def test_input_that_the_program_does_not_want_is_no_failure(sleeper: Container) -> None:
    output = io.BytesIO()
    assert run(sleeper, "head", "-c", "3", stdin=io.BytesIO(b"abc" * 2**22), stdout=output) == Ended(0, "")
    assert output.getvalue() == b"abc"


def test_the_end_of_the_input_is_seen(sleeper: Container) -> None:
    output = io.BytesIO()
    assert run(sleeper, "sh", "-c", "cat; echo end", stdin=io.BytesIO(b""), stdout=output).returncode == 0
    assert output.getvalue() == b"end\n"


def test_an_output_that_cannot_be_written_is_the_callers_error(sleeper: Container) -> None:
    class Full(io.RawIOBase):
        def write(self, _data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        run(sleeper, "yes", stdout=Full())  # type: ignore[arg-type]


def test_an_input_that_cannot_be_read_is_the_callers_error(sleeper: Container) -> None:
    class Broken(io.RawIOBase):
        def read(self, _size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        run(sleeper, "cat", stdin=Broken())  # type: ignore[arg-type]


def test_a_container_that_does_not_run_is_refused(sleeper: Container) -> None:
    sleeper.stop(timeout=1)
    with pytest.raises(EngineError, match="is not running"):
        run(sleeper, "true")
