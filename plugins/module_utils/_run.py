# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting programs: one function that everything gets passed, so that tests pass another."""

from __future__ import annotations

import os
import subprocess  # nosec: argument lists only, never a shell
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

#: What programs of ours inherit from the environment; anything else could change what Compose reads.
_INHERITED = (
    "PATH", "HOME", "LANG", "DOCKER_HOST", "DOCKER_CONFIG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip


@dataclass(frozen=True)
class Completed:
    """How a program ended; both texts decoded, undecodable bytes replaced."""

    returncode: int
    stdout: str
    stderr: str


class Run(Protocol):
    """Start a program, wait, return how it ended."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        pass_fds: Sequence[int] = (),
        timeout_seconds: float | None = None,
    ) -> Completed: ...


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a program of ours: what any program needs, then ``extra``."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    inherited.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    inherited.setdefault("HOME", "/root")
    return {**inherited, **(extra or {})}


def run_program(
    argv: Sequence[str],
    *,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    timeout_seconds: float | None = None,
) -> Completed:
    """The real :class:`Run`.

    :raises subprocess.TimeoutExpired: it ran longer than ``timeout_seconds`` and was killed.
    """
    # The host command runs this too, where no AnsibleModule with its run_command exists.
    done = subprocess.run(  # pylint: disable=ansible-bad-function
        list(argv),
        input=stdin.encode(),
        capture_output=True,
        env=clean_environment() if env is None else dict(env),
        cwd=cwd,
        pass_fds=tuple(pass_fds),
        timeout=timeout_seconds,
        check=False,
    )
    return Completed(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@contextmanager
def memory_files(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yield a descriptor per text; a child that gets them reads ``/proc/self/fd/N``. Nothing lands on a disk."""
    descriptors: list[int] = []
    try:
        for number, text in enumerate(texts):
            descriptor = os.memfd_create(f"layer-{number + 1}")
            descriptors.append(descriptor)
            with os.fdopen(os.dup(descriptor), "wb") as stream:
                stream.write(text.encode())
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
