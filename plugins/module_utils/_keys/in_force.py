# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the gateway goes by the keys as they are written down by now."""

from __future__ import annotations

import os

from .._compose.engine import Engine, socket_path_of
from .._compose.project import Sleeper
from .._compose.sleepers import NO_WORD, ask_gateway
from .._errors import PlatformError

_SERVICE = "gateway"


def have_read(gateway: str, doing: str) -> str:
    """Have the gateway read the keys now; return why it could not be asked, empty if it goes by them.

    :param gateway: the folder of its configuration, in that of its project.
    :param doing: completes *Cannot ...*.
    :raises PlatformError: it refuses one of its files, and goes by what it read before.
    """
    sleeper = Sleeper(os.path.basename(os.path.dirname(gateway)), _SERVICE, "")
    try:
        code, said = ask_gateway(Engine(socket_path_of(os.environ)), sleeper, "check")
    except PlatformError as error:
        return str(error)  # DOCKER_HOST names another machine
    if code and code not in NO_WORD:
        raise PlatformError(
            f"Cannot {doing} for now: it is written down, and the gateway goes by what it has read before. {said}"
        )
    return said if code else ""
