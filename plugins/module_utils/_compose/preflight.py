# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would make an apply fail half-way, found before it begins."""

from __future__ import annotations

from .._errors import PlatformError
from .host import free_bytes
from .ports import published_ports, refuse_taken_ports
from .prepare import Host, Prepared

#: State and logs of an apply fit in this with room to spare; what files of the project need comes on top.
RESERVE_BYTES = 32 * 1024 * 1024


def refuse_obstacles(host: Host, prepared: Prepared) -> None:
    """Refuse an apply that cannot go well.

    :raises PlatformError: too little disk, or a host port that another process holds.
    """
    _refuse_full_disk(host, prepared)
    services = prepared.target.services
    wanted = published_ports(services[name] for name in prepared.plan.services("create", "recreate", "start"))
    if wanted:
        refuse_taken_ports(wanted, project=prepared.target.name, listed=host.engine.get("/containers/json"))


def _refuse_full_disk(host: Host, prepared: Prepared) -> None:
    needed = RESERVE_BYTES + 2 * sum(len(file.state.content) for file in prepared.files.write)
    free = free_bytes(host.site.directory)
    if free < needed:
        raise PlatformError(
            f"Cannot apply project {prepared.target.name!r}: {host.site.directory} has {free // 2**20} MiB free, "
            f"{-(-needed // 2**20)} MiB are needed; make room (docker system df shows what images take)."
        )
