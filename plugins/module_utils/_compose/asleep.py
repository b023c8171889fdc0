# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the gateway has written down of the containers that it wakes and puts to sleep.

Its folder is the gateway's own, and who breaks into the gateway writes there what they like. So the file is opened
without following a link, is small, and says nothing but three things, of containers by their id: the exit code of those
put to sleep, which ones ever became ready, and why the last wake of others failed. A text is cut and printable.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field

from .._errors import PlatformError

_MOST_BYTES = 1 << 20
_MOST_CAUSE = 500


@dataclass(frozen=True)
class SleepRecord:
    """By container id: exit codes of those asleep, those that became ready once, causes of those that did not."""

    codes: Mapping[str, int] = field(default_factory=dict)
    woken: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)

    def is_proven(self, container_id: str) -> bool:
        """Whether the container became ready, and did so at its last wake."""
        return container_id in self.woken and container_id not in self.failed


NOTHING_ASLEEP = SleepRecord()


def asleep_path(directory: str) -> str:
    """Return where the gateway of a site writes it."""
    return f"{directory}/state/gateway/asleep.json"


def read_sleep_record(path: str) -> SleepRecord:
    """Return what the gateway has written; nothing without a gateway.

    :raises PlatformError: what is there is no such file.
    """
    content = _read_plain(path)
    if content is None:
        return NOTHING_ASLEEP
    try:
        found = json.loads(content)
        codes, woken, failed = found.get("containers", {}), found.get("woken", []), found.get("failed", {})
        return SleepRecord(
            codes={key: code for key, code in codes.items() if isinstance(code, int) and not isinstance(code, bool)},
            woken=frozenset(key for key in woken if isinstance(key, str)),
            failed={key: _plain(cause) for key, cause in failed.items() if isinstance(cause, str)},
        )
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise PlatformError(f"Cannot read {path}: it is damaged; restore it from a backup, or remove it.") from None


def _read_plain(path: str) -> bytes | None:
    try:
        # Not blocking: opening a pipe waits for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _no_plain_file(path, "Not a regular file")
            content = stream.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _no_plain_file(path, error.strerror) from None
    if len(content) > _MOST_BYTES:
        raise _no_plain_file(path, f"it has more than {_MOST_BYTES} bytes")
    return content


def _no_plain_file(path: str, cause: str | None) -> PlatformError:
    return PlatformError(f"Cannot read {path}: it is no plain file ({cause}); move it away and restart the gateway.")


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MOST_CAUSE]
