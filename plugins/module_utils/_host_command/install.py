# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command's file on a host: compared with what it should be, then written or removed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Literal

from .._errors import PlatformError
from .._files import FileState, read_state, telling, write_atomically
from .pack import is_ours

MODE = 0o755


@dataclass(frozen=True)
class Installation:
    """The plan for one path."""

    path: str
    action: Literal["write", "remove", "none"]
    reason: str
    before: str = ""
    after: str = ""

    @property
    def changes(self) -> bool:
        return self.action != "none"

    def describe(self) -> list[str]:
        """Return what changes, a sentence."""
        return [f"{self.action} {self.path}: {self.reason}"] if self.changes else []


def describe_command(content: bytes) -> str:
    """Return what :func:`describe_file` says of a file that is the command as it should be."""
    return _describe(FileState(content, MODE, 0, 0))


def describe_file(path: str) -> str:
    """Return mode, owner and digest of what is at a path; empty where there is no plain file."""
    try:
        return _describe(_read(path))
    except PlatformError:
        return ""


def plan_installation(path: str, content: bytes | None) -> Installation:
    """Compare the file at ``path`` with what it should be.

    :param content: None where the command should not be there.
    :raises PlatformError: something that is not the command has that name, or would be written over.
    """
    found = _read(path)
    before = _describe(found)
    if content is None:
        # What has the name and is not ours was never our business.
        if found is None or not is_ours(found.content):
            return Installation(path, "none", "not there", before, before)
        return Installation(path, "remove", "not wanted", before, "")
    wanted = FileState(content, MODE, 0, 0)
    if found is not None and not is_ours(found.content):
        raise PlatformError(
            f"Cannot write {path}: a file that is not the command modelyard is there; move it away, or give another "
            "path."
        )
    after = _describe(wanted)
    if found == wanted:
        return Installation(path, "none", "as it should be", before, after)
    return Installation(path, "write", _reason(found, wanted), before, after)


def _read(path: str) -> FileState | None:
    try:
        return read_state(path)
    except OSError as error:
        raise PlatformError(
            f"Cannot read {path}: it is no plain file ({error.strerror}); move it away, or give another path."
        ) from None


def _reason(found: FileState | None, wanted: FileState) -> str:
    if found is None:
        return "missing"
    return "another content" if found.content != wanted.content else "another mode or owner"


def _describe(state: FileState | None) -> str:
    if state is None:
        return ""
    digest = hashlib.sha256(state.content).hexdigest()
    return f"mode {state.mode:04o}, owner {state.uid}:{state.gid}, sha256 {digest}\n"


def carry_out(plan: Installation, content: bytes | None) -> None:
    """Do what the plan says; the file is the old one or the new one, never half of one.

    :raises PlatformError: the disk refuses it.
    """
    if plan.action == "write" and content is not None:
        with telling(f"write {plan.path}"):
            os.makedirs(os.path.dirname(plan.path), mode=0o755, exist_ok=True)
            write_atomically(plan.path, FileState(content, MODE, 0, 0))
    elif plan.action == "remove":
        with telling(f"remove {plan.path}"):
            os.unlink(plan.path)
