# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that may change at any time, read anew without a restart."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from .errors import GatewayError
from .files import read_bytes
from .metrics import Metrics

LOG = logging.getLogger("modelyard_gateway")
_Stamp = tuple[int, int, int]


@dataclass
class WatchedFile:
    """A file and what is done with it.

    Its *folder* has to be mounted: who replaces a file by a rename makes a new one, which a mount of the file never
    shows.

    :param name: for metrics.
    :param use: takes the file's content and its path; raises :class:`GatewayError` and changes nothing if it is wrong.
    :param beside: files that ``use`` reads too; each of them may be missing.
    :param refusal: why what is there now is not used; empty where it is.
    """

    name: str
    path: str
    use: Callable[[bytes, str], None]
    beside: tuple[str, ...] = ()
    seen: tuple[_Stamp | None, ...] = ()
    refusal: str = ""

    def load(self) -> None:
        """Read it for the first time.

        :raises GatewayError: it is not there or wrong: there is nothing to go on with.
        """
        self.seen = self._stamps()
        self.use(read_bytes(self.path), self.path)

    def look(self, metrics: Metrics, *, anyway: bool = False) -> None:
        """Read it again if it changed. What was good before stays in use while it is wrong."""
        # Taken before the file is read: what changes meanwhile is read again at the next look.
        stamps = self._stamps()
        if stamps == self.seen and not anyway:
            return
        self.seen = stamps
        try:
            self.use(read_bytes(self.path), self.path)
        except GatewayError as error:
            self.refusal = str(error)
            LOG.error("%s What was read before stays in use.", error)
            metrics.reloaded(self.name, succeeded=False)
            return
        self.refusal = ""
        LOG.info("Read %s anew.", " and ".join((self.path, *self.beside)))
        metrics.reloaded(self.name, succeeded=True)

    def _stamps(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in (self.path, *self.beside))


def _stamp(path: str) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
