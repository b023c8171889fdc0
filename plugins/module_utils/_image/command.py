# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a program of ours said, as it may be shown to a user; and a limit to how long it runs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .._errors import PlatformError
from .._run import Completed, Run, clean_environment

#: What ``timeout`` of the coreutils ends with when the time was up.
_TIME_WAS_UP = 124

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_URL_CREDENTIALS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@'\"]+@")


def run_bounded(
    run: Run, argv: Sequence[str], *, timeout_seconds: int, pass_fds: Sequence[int], env: dict[str, str] | None = None
) -> Completed:
    """Run ``argv``; after the time it is asked to end, with all its children, so that it can clean up.

    :raises PlatformError: the time was up, or there is no such program.
    """
    # Not subprocess's own time limit: that kills the program alone, and leaves its children and mounts.
    bounded = ["timeout", "--kill-after=60", str(timeout_seconds), *argv]
    # English: the causes of failures are read from the output.
    completed = run(bounded, env=clean_environment({"LC_ALL": "C.UTF-8", **(env or {})}), pass_fds=pass_fds)
    if completed.returncode == _TIME_WAS_UP:
        raise PlatformError(
            f"Cannot finish '{argv[0]}': it ran for {timeout_seconds} s and was ended; look whether the network is "
            f"slow, or raise timeout_seconds. Its last words:\n{last_lines(output_of(completed), count=5)}"
        )
    return completed


def is_missing(completed: Completed, program: str) -> bool:
    """Tell whether ``timeout`` found no such program."""
    return completed.returncode == 127 and f"'{program}'" in completed.stderr


def output_of(completed: Completed) -> str:
    """Return all that a program said."""
    return completed.stdout + completed.stderr


def proxy_variables() -> tuple[str, ...]:
    """Return the names of the proxy variables that are set; their values go by environment, never by argument."""
    return tuple(name for name in _PROXY_VARIABLES if name in clean_environment())


def mask_credentials(text: str) -> str:
    """Return ``text`` with the user and password of every address in it replaced by ``***``."""
    return _URL_CREDENTIALS.sub(r"\1***@", text)


def last_lines(text: str, *, count: int) -> str:
    """Return the last lines of a program's output that say something, masked."""
    lines = [line.rstrip() for line in mask_credentials(text).splitlines() if line.strip()]
    return "\n".join(lines[-count:])
