# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that stands in the way, said at once and before anything is touched."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .._errors import PlatformError


class Problems:
    """Collects errors."""

    def __init__(self) -> None:
        self._found: list[str] = []

    def add(self, problem: str) -> None:
        """Note one; the same text counts once."""
        if problem not in self._found:
            self._found.append(problem)

    @contextlib.contextmanager
    def collected(self) -> Iterator[None]:
        """Note the error that the block raises, and go on behind it."""
        try:
            yield
        except PlatformError as error:
            self.add(str(error))

    def refuse(self, doing: str) -> None:
        """Raise what was noted: one error as it is, several as a list.

        :param doing: *Cannot ...*, of the list.
        :raises PlatformError: something was noted.
        """
        if len(self._found) == 1:
            raise PlatformError(self._found[0])
        if self._found:
            listed = "".join(f"\n- {problem}" for problem in self._found)
            raise PlatformError(f"{doing}, and nothing was touched, for {len(self._found)} reasons:{listed}")
