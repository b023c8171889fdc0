# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPUs that services of a site ask for, held against what a host has. Pure: what is not known is not guessed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError
from .devices import by_device, memory_of, names_of
from .facts import Facts, Gpu
from .judge import judge
from .judge_driver import GIVEN_AWAY
from .requests import check_names


@dataclass(frozen=True)
class GpuWant:
    """What one service asks for: GPUs by name, the memory that it takes of each, and whether it may do without."""

    service: str
    gpus: tuple[str, ...]
    vram_mib: Mapping[str, int] = field(default_factory=dict)
    fallback: bool = False


@dataclass(frozen=True)
class Unmet:
    """What a host cannot give. ``refused`` stops a deployment; ``noticed`` is said, and the site works."""

    refused: tuple[str, ...] = ()
    noticed: tuple[str, ...] = ()


def parse_wants(given: Iterable[Mapping[str, Any]]) -> tuple[GpuWant, ...]:
    """Return needs of the subject ``gpu``.

    :raises PlatformError: one has another form, or asks for memory of a GPU that it does not name.
    """
    return tuple(_parse(entry) for entry in given)


def _parse(entry: Mapping[str, Any]) -> GpuWant:
    gpus, vram = entry.get("gpus") or [], entry.get("vram_mib") or {}
    service = str(entry.get("service") or "")
    doing = f"Cannot read what service {service!r} asks of GPUs"
    if not service or not isinstance(gpus, Sequence) or isinstance(gpus, str) or not isinstance(vram, Mapping):
        raise PlatformError(f"{doing}: it has 'service', 'gpus', a list, and 'vram_mib', a mapping; correct it.")
    names = tuple(str(name) for name in gpus)
    check_names(names)
    memory = {str(name): int(mib) for name, mib in vram.items()}
    if unnamed := sorted(memory.keys() - set(names)):
        raise PlatformError(f"{doing}: 'vram_mib' has {', '.join(unnamed)}, 'gpus' has not; name each in both.")
    return GpuWant(service, names, memory, bool(entry.get("fallback", False)))


def find_unmet(wants: Sequence[GpuWant], facts: Facts, *, installs_driver: bool = False) -> Unmet:
    """Return what of ``wants`` this host cannot give.

    :param installs_driver: role nvidia is to prepare the host, so that a driver that is not there is no finding yet.
    """
    asking = [want for want in wants if want.gpus]
    if not asking:
        return Unmet()
    if facts.smi.state == "answered" and facts.smi.gpus:
        return Unmet(tuple(text for want in asking for text in _compare(want, facts.smi.gpus)))
    if facts.cards and facts.machine == "host" and installs_driver:
        return _compare_with_bus(asking, facts)
    return _without(asking, facts)


def _compare(want: GpuWant, gpus: Sequence[Gpu]) -> Iterable[str]:
    names, memory_mib = names_of(gpus), memory_of(gpus)
    shown = ", ".join(f"{gpu.index} ({gpu.model})" for gpu in gpus)
    for name in want.gpus:
        if name not in names:
            yield (
                f"Cannot give GPU {name} to service '{want.service}': this host has {shown}; name one of these, or "
                "take the service to another host."
            )
    for device, needed in by_device(want.vram_mib, names, choose=max).items():
        total = memory_mib.get(device)
        if total is not None and needed > total:
            yield (
                f"Cannot give {needed} MiB of GPU {device} to service '{want.service}': it has {total} MiB; take a "
                "smaller model or less 'vram_mib', or another GPU."
            )


def _compare_with_bus(wants: Sequence[GpuWant], facts: Facts) -> Unmet:
    """Judge what the bus tells before there is a driver: how many cards there are, and nothing of their memory."""
    count = sum(card.kernel_driver != GIVEN_AWAY for card in facts.cards)
    # No index is as high as the number of cards.
    beyond = [
        (want, name) for want in wants for name in want.gpus if name.partition(":")[0].isdecimal()
        and int(name.partition(":")[0]) >= count
    ]  # fmt: skip
    refused = [
        f"Cannot give GPU {name} to service '{want.service}': this host has {count} "
        f"{'card' if count == 1 else 'cards'}, counted from 0; name one of these, or take the service to another host."
        for want, name in beyond
    ]
    noticed = (
        f"What services ask of GPUs ({_list(wants)}) is held against their memory when the driver is there, which role "
        "nvidia installs."
    )
    return Unmet(tuple(refused), (noticed,))


def _without(wants: Sequence[GpuWant], facts: Facts) -> Unmet:
    why, fix = _why(facts)
    refused = tuple(
        f"Cannot give a GPU to service '{want.service}': {why}; {fix}, or let the service fall back to the CPU."
        for want in wants
        if not want.fallback
    )
    falling = [want for want in wants if want.fallback]
    noticed = f"On the CPU of this host, as it may: {_list(falling)}. {why[:1].upper()}{why[1:]}."
    return Unmet(refused, (noticed,) if falling else ())


def _why(facts: Facts) -> tuple[str, str]:
    if not facts.cards:
        return "this host has no card of NVIDIA", "take it to a host that has one"
    errors = [finding for finding in judge(facts) if finding.severity == "error" or finding.code == "not_covered"]
    if not errors:
        return "nvidia-smi lists no GPU of this host", "reboot the host"
    cause = errors[0].text.removesuffix(f"; {errors[0].fix}.")
    return f"{cause[:1].lower()}{cause[1:]}", errors[0].fix


def _list(wants: Iterable[GpuWant]) -> str:
    return ", ".join(dict.fromkeys(want.service for want in wants))
