# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a failed build means to the user, read from the tools' output.

The sentences were recorded with apt 2.6 (Debian 12), mmdebstrap 1.3.5 and buildx 0.13.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .._errors import PlatformError
from .._run import Completed
from .base import Base
from .command import is_missing, last_lines, mask_credentials, output_of

LINES_SHOWN = 20

_MISSING_PACKAGE = re.compile(
    r"E: (?:Unable to locate package (\S+)"
    r"|Package '([^']+)' has no installation candidate"
    r"|Version '[^']*' for '([^']+)' was not found)"
)
_NO_RELEASE_FILE = re.compile(r"E: The repository '(\S+) (\S+) Release' does not have a Release file")
_EXPIRED = re.compile(r"E: Release file for (\S+) is expired \(invalid since ([^)]*)\)")
_NO_SPACE = "No space left on device"
# buildx's plain progress: every line starts with its step's number; '#6 [3/3] RUN ...' names it, '#6 0.078 text' is
# what it said, '#6 ERROR: ...' its end. The summary at the end has only the last lines, so it is not used.
_STEP_ERROR = re.compile(r"^(#\d+) ERROR: ", re.MULTILINE)
_STEP_OUTPUT = re.compile(r"\d+\.\d+ (.*)")


def base_failure(base: Base, sources: Sequence[str], completed: Completed, *, folder: str) -> PlatformError:
    """Return the error for a bootstrap that failed."""
    subject = f"Cannot build base image {base.reference}"
    output = output_of(completed)
    if is_missing(completed, "mmdebstrap"):
        return PlatformError(f"{subject}: there is no mmdebstrap; install it (apt-get install mmdebstrap).")
    if _NO_SPACE in output:
        return no_space(subject, folder)
    if missing := missing_packages(output):
        return PlatformError(f"{subject}: {base.suite} has no {_packages(missing)}; correct base.packages.")
    if found := _NO_RELEASE_FILE.search(output):
        return PlatformError(
            f"{subject}: there is no suite '{found[2]}' at {mask_credentials(found[1])}; "
            "correct base.suite, or set base.mirror."
        )
    if found := _EXPIRED.search(output):
        return PlatformError(
            f"{subject}: the mirror's list of {base.suite} expired {found[2]} ago; use another base.mirror, or accept "
            "old lists by adding 'Acquire::Check-Valid-Until \"false\"' to base.apt_options."
        )
    return PlatformError(
        f"{subject}: mmdebstrap ended with exit code {completed.returncode} for {'; '.join(sources)}; "
        f"its last words say why:\n{last_lines(output, count=LINES_SHOWN)}"
    )


def build_failure(name: str, completed: Completed, *, folder: str) -> PlatformError:
    """Return the error for an image build that failed."""
    subject = f"Cannot build image {name}"
    output = output_of(completed)
    if is_missing(completed, "docker"):
        return PlatformError(
            f"{subject}: there is no docker command; install it (package docker-cli, or docker.io before Debian 13)."
        )
    if _NO_SPACE in output:
        return no_space(subject, folder)
    if "'buildx' is not a docker command" in output or "unknown flag: --builder" in output:
        return PlatformError(f"{subject}: the docker CLI has no buildx; install it (apt-get install docker-buildx).")
    step, said = failed_step(output)
    if not step:
        return PlatformError(
            f"{subject}: docker buildx build ended with exit code {completed.returncode}; its last words say why:\n"
            f"{last_lines(output, count=LINES_SHOWN)}"
        )
    if missing := missing_packages(said):
        return PlatformError(f"{subject}: in step {step} apt has no {_packages(missing)}; correct the Dockerfile.")
    shown = last_lines(said, count=LINES_SHOWN) or "(nothing)"
    return PlatformError(f"{subject}: step {step} failed; mend the recipe. It said:\n{shown}")


def failed_step(output: str) -> tuple[str, str]:
    """Return the step that failed, such as '[2/3] RUN false', and what it said; empty texts where none did."""
    found = _STEP_ERROR.search(output)
    if found is None:
        return "", ""
    prefix = found[1] + " "
    lines = [line.removeprefix(prefix) for line in output.splitlines() if line.startswith(prefix)]
    said = (_STEP_OUTPUT.fullmatch(line) for line in lines)
    step = next((line for line in lines if line.startswith("[")), "")
    return mask_credentials(step), "\n".join(match[1] for match in said if match)


def check_failure(name: str, command: str, *, exit_code: int | None, seconds: float, output: str) -> PlatformError:
    """Return the error for a built image that did not pass a command of ``smoke``."""
    how = f"did not end within {seconds:g} s" if exit_code is None else f"ended with exit code {exit_code}"
    said = last_lines(output, count=LINES_SHOWN)
    return PlatformError(
        f"Cannot build image {name}: the check '{command}' in the new image {how}, so the image was dropped; mend the "
        f"recipe or the check. It said:\n{said or '(nothing)'}"
    )


def no_space(subject: str, folder: str) -> PlatformError:
    """Return the error for a disk that is full."""
    return PlatformError(
        f"{subject}: the disk is full, below {folder} or below Docker's own folder; free some space "
        "(state: pruned removes images that no release needs) and run again."
    )


def missing_packages(output: str) -> tuple[str, ...]:
    """Return the packages that apt did not find, in its order, each once."""
    names = (next(filter(None, found)) for found in _MISSING_PACKAGE.findall(output))
    return tuple(dict.fromkeys(names))


def _packages(names: Sequence[str]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names)
    return f"package {quoted}" if len(names) == 1 else f"packages {quoted}"
