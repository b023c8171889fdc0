# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``nvidia-smi`` answers: its XML, its list of MIG instances, and what it says where it fails.

Read from the output of drivers 470 to 615 (``nvsmi_device_v11.dtd`` to ``v13``). Elements come and go with drivers, so
each is looked for where any of them has it, and what is not understood is unknown, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from xml.etree import ElementTree  # nosec: the driver's own program wrote it, and entities are refused

from .._run import Completed
from .facts import Gpu, MemoryRepair, MigInstance, MigMode, Smi
from .host import LATE, Host
from .pci import normalise_address

_MIB = 1024 * 1024
_UNITS = {"B": 1, "KiB": 1024, "MiB": _MIB, "GiB": 1024 * _MIB}
#: Stands where a value would be once a GPU no longer answers.
_PROBLEMS = re.compile(r"GPU is lost|GPU requires reset|Unknown Error|GPU access blocked", re.IGNORECASE)
#: No more digits than a number of bytes can have.
_NUMBER = re.compile(r"[0-9]{1,18}")
_LIST_GPU = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)")
_LIST_MIG = re.compile(r"^\s+MIG (\S+)\s+Device\s+([0-9]{1,9}): \(UUID: (MIG-[^)]+)\)")
_LIBRARY = re.compile(r"NVML library version: (\d+(?:\.\d+)+)")
#: What stands before every document.
_HEAD = re.compile(r"<\?xml[^>]*>|<!DOCTYPE[^>]*>")
_LONGEST = 300


def read_smi(host: Host, *, is_loaded: bool) -> Smi:
    """Ask ``nvidia-smi`` for everything, and for the names of MIG instances where there are some.

    :param is_loaded: the kernel module is. Where it is not nothing is asked, because the question would load it.
    """
    if not is_loaded:
        return Smi("not_asked")
    done = host.ask("nvidia-smi", "-q", "-x")
    if done is None:
        return Smi("missing")
    smi = parse_answer(done)
    if not any(gpu.mig_instances for gpu in smi.gpus):
        return smi
    listed = host.ask("nvidia-smi", "-L")
    names = parse_list(listed.stdout) if listed is not None and listed.returncode == 0 else {}
    return replace(smi, gpus=tuple(name_instances(gpu, names) for gpu in smi.gpus))


def parse_answer(done: Completed) -> Smi:
    """Return what one run of ``nvidia-smi -q -x`` says, also where it says why it cannot."""
    if done.returncode == LATE:
        return Smi("late", LATE)
    start = done.stdout.find("<nvidia_smi_log")
    # Warnings stand before the document, and its DOCTYPE names a file that is nowhere.
    before = done.stdout[:start] if start >= 0 else done.stdout
    said = " ".join(f"{_HEAD.sub('', before)}\n{done.stderr}".split())[:_LONGEST]
    try:
        root = ElementTree.fromstring(done.stdout[start:]) if start >= 0 else None
    except ElementTree.ParseError as error:
        return Smi("failed", done.returncode, f"its XML is damaged ({error})")
    if root is None or (done.returncode != 0 and root.find("gpu") is None):
        library = _LIBRARY.search(said)
        text = said if start < 0 else "it lists no GPU"
        return Smi("failed", done.returncode, text, library_version=library[1] if library else "")
    gpus = tuple(_parse_gpu(index, element) for index, element in enumerate(root.iterfind("gpu")))
    return Smi("answered", done.returncode, said, gpus, _text(root, "cuda_version"))


def parse_list(text: str) -> dict[tuple[str, int], tuple[str, str]]:
    """Map UUID of a GPU and index of a MIG instance to profile and UUID of the instance.

    From ``nvidia-smi -L``, the only place that tells both: a line per GPU, below it an indented line per instance.
    """
    found: dict[tuple[str, int], tuple[str, str]] = {}
    uuid = ""
    for line in text.splitlines():
        if gpu := _LIST_GPU.match(line):
            uuid = gpu[2]
        elif instance := _LIST_MIG.match(line):
            found[uuid, int(instance[2])] = (instance[1], instance[3])
    return found


def name_instances(gpu: Gpu, names: dict[tuple[str, int], tuple[str, str]]) -> Gpu:
    """Return the GPU with profile and UUID of each of its instances that ``names`` knows."""
    named = []
    for instance in gpu.mig_instances:
        profile, uuid = names.get((gpu.uuid, instance.index), (instance.profile, instance.uuid))
        named.append(replace(instance, profile=profile, uuid=uuid))
    return replace(gpu, mig_instances=tuple(named))


def parse_bytes(text: str) -> int | None:
    """Return bytes from ``40960 MiB``; None where it says ``N/A`` or anything else."""
    number, _between, unit = text.strip().partition(" ")
    return int(number) * _UNITS[unit] if _NUMBER.fullmatch(number) and unit in _UNITS else None


def _parse_gpu(index: int, element: ElementTree.Element) -> Gpu:
    number = _text(element, "minor_number")
    return Gpu(
        index=index,
        uuid=_text(element, "uuid"),
        model=_text(element, "product_name"),
        architecture=_known(_text(element, "product_architecture")),
        pci_address=normalise_address(element.get("id") or _text(element, "pci/pci_bus_id")),
        device_number=int(number) if _NUMBER.fullmatch(number) else None,
        memory_total_bytes=parse_bytes(_text(element, "fb_memory_usage/total")),
        memory_used_bytes=parse_bytes(_text(element, "fb_memory_usage/used")),
        mig_mode=_parse_mig_mode(_text(element, "mig_mode/current_mig")),
        mig_mode_pending=_parse_mig_mode(_text(element, "mig_mode/pending_mig")),
        mig_instances=tuple(_parse_instance(entry) for entry in element.iterfind("mig_devices/mig_device")),
        has_persistence={"Enabled": True, "Disabled": False}.get(_text(element, "persistence_mode")),
        compute_mode=_known(_text(element, "compute_mode")),
        recovery_action=_known(_text(element, "gpu_recovery_action")),
        memory_repair=_parse_repair(element),
        problem=_find_problem(element),
    )


def _parse_instance(element: ElementTree.Element) -> MigInstance:
    numbers = {name: _text(element, name) for name in ("index", "gpu_instance_id", "compute_instance_id")}
    known = {name: int(text) for name, text in numbers.items() if _NUMBER.fullmatch(text)}
    return MigInstance(
        index=known.get("index", 0),
        gpu_instance_id=known.get("gpu_instance_id"),
        compute_instance_id=known.get("compute_instance_id"),
        uuid=_known(_text(element, "uuid")),
        memory_total_bytes=parse_bytes(_text(element, "fb_memory_usage/total")),
        memory_used_bytes=parse_bytes(_text(element, "fb_memory_usage/used")),
    )


def _parse_mig_mode(text: str) -> MigMode:
    modes: dict[str, MigMode] = {"Enabled": "enabled", "Disabled": "disabled"}
    return modes.get(text, "unsupported")


def _parse_repair(element: ElementTree.Element) -> MemoryRepair:
    # Ampere and later remap rows, cards before them retire pages; each card has one of the two, the other is N/A.
    if _text(element, "remapped_rows/remapped_row_failure") == "Yes":
        return "failed"
    pending = ("remapped_rows/remapped_row_pending", "retired_pages/pending_retirement")
    return "pending" if "Yes" in [_text(element, path) for path in pending] else "none"


def _find_problem(element: ElementTree.Element) -> str:
    # Only where what is asked of every GPU should stand: many cards answer Unknown Error for their fan.
    texts = [_text(element, path) for path in ("uuid", "fb_memory_usage/total", "performance_state", "compute_mode")]
    return _first(text.strip("[]") for text in texts if _PROBLEMS.search(text))


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _known(text: str) -> str:
    return "" if text in ("N/A", "None", "[N/A]") else text


def _first(texts: Iterable[str]) -> str:
    return next(iter(texts), "")
