# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By which names services ask for GPUs, and which devices they get. Pure.

A device is a card, called by its index, or a MIG instance, called ``0:1``. No two share memory: of a card that is
divided only its instances are devices, since programs see no more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .facts import Gpu
from .requests import ALL


def to_mib(memory_bytes: int | None) -> int | None:
    """Return whole MiB; None where the driver does not tell."""
    return None if memory_bytes is None else memory_bytes // 2**20


def memory_of(gpus: Sequence[Gpu]) -> dict[str, int | None]:
    """Map each device to its memory in MiB, None where the driver does not tell."""
    found: dict[str, int | None] = {}
    for gpu in gpus:
        instances = {f"{gpu.index}:{mig.index}": mig.memory_total_bytes for mig in gpu.mig_instances}
        own = instances or {str(gpu.index): gpu.memory_total_bytes}
        found |= {device: to_mib(memory) for device, memory in own.items()}
    return found


def names_of(gpus: Sequence[Gpu]) -> dict[str, list[str]]:
    """Map each name to its devices: index and UUID of a card or of a MIG instance, and ``all``."""
    found: dict[str, list[str]] = {ALL: list(memory_of(gpus))}
    for gpu in gpus:
        own = list(memory_of([gpu]))
        found |= {str(gpu.index): own, gpu.uuid: own}
        for mig in gpu.mig_instances:
            device = f"{gpu.index}:{mig.index}"
            found |= {device: [device], mig.uuid: [device]}
    # A card that is lost tells no UUID.
    return {name: devices for name, devices in found.items() if name}


def by_device(
    mib: Mapping[str, int], names: Mapping[str, Sequence[str]], *, choose: Callable[[int, int], int]
) -> dict[str, int]:
    """Return what is said of GPUs by name as of devices; a name that nobody knows stays.

    :param choose: which of two counts, where two names lead to one device.
    """
    found: dict[str, int] = {}
    for name, value in mib.items():
        for device in names.get(name, (name,)):
            found[device] = choose(value, found.get(device, value))
    return found
