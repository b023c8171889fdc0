# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services may use of each GPU together, and what each of them takes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._errors import PlatformError
from .devices import by_device


def plan_room(
    services: Iterable[Mapping[str, Any]], limits_mib: Mapping[str, Any], brief: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``gpus``, device to the MiB that may be used of it, and ``services`` with ``vram_mib`` by device.

    However a card is named it is one device. One whose service may do without a GPU takes no memory of one that is not
    there.

    :param services: as the need ``gated`` has them.
    :param limits_mib: what an operator allows of GPUs, by any name; of others it is what they have.
    :param brief: :func:`.answer.to_brief` of the host; empty where nobody has looked.
    :raises PlatformError: nobody knows how much memory a GPU has.
    """
    names, memory = brief.get("names") or {}, brief.get("memory_mib") or {}
    budget = by_device(_mebibytes(limits_mib, "gateway_gpu_memory_mib"), names, choose=min)
    planned = []
    for service in services:
        given = service.get("vram_mib")
        if not given:
            planned.append(dict(service))
            continue
        wanted = by_device(_mebibytes(given, f"vram_mib of service {service.get('name')!r}"), names, choose=max)
        if service.get("cpu_fallback"):
            wanted = {device: mib for device, mib in wanted.items() if device in budget or device in memory}
        planned.append({**service, "vram_mib": wanted})
        for device in wanted.keys() & memory.keys() - budget.keys():
            budget[device] = _told(device, memory[device])
    return {"gpus": dict(sorted(budget.items())), "services": planned}


def _mebibytes(given: Mapping[str, Any], what: str) -> dict[str, int]:
    try:
        return {str(name): int(mib) for name, mib in given.items()}
    except (TypeError, ValueError, AttributeError):
        raise PlatformError(
            f"Cannot keep services within the memory of GPUs: {what} is {given!r:.80}; give MiB by GPU, such as "
            "{'0': 24000}."
        ) from None


def _told(device: str, mib: int | None) -> int:
    if mib is None:
        raise PlatformError(
            f"Cannot keep services within the memory of GPU {device}: its driver does not tell how much it has; say it "
            "in gateway_gpu_memory_mib."
        )
    return mib
