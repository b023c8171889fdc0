# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CDI specs of NVIDIA: what they hand to containers, and what of it is no longer true.

Source: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md. Of one name in two folders the engine
takes that in the latter; of one name in two files of one folder it takes none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from .block_yaml import Value, parse_block_yaml
from .facts import Driver, Gpu, Smi, Spec, SpecNode
from .host import Host

#: In the order in which engines read them.
FOLDERS = ("/etc/cdi", "/var/run/cdi")
KIND = "nvidia.com/gpu"
_ENDINGS = (".yaml", ".yml", ".json")
#: Of the driver's own libraries. Those of other projects in it count for themselves (libnvidia-egl-wayland.so.1.1.13).
_LIBRARY = re.compile(r"\.so\.(\d{3,}\.\d+(?:\.\d+)?)$")
#: Names of a whole GPU and of a MIG instance, by number or by UUID. Any other name is somebody's own.
_NUMBERED = re.compile(r"(?:gpu)?(\d+)")
_INSTANCE = re.compile(r"(?:mig)?(\d+):(\d+)")
_NUMBER = re.compile(r"[0-9]{1,9}")
_FEW = 3


def read_specs(host: Host) -> tuple[Spec, ...]:
    """Return every spec of NVIDIA, and those that may be one but cannot be read."""
    paths = [
        f"{folder}/{name}" for folder in FOLDERS for name in host.list_names(folder) if name.endswith(_ENDINGS)
    ]  # fmt: skip
    specs = [parse_spec(host.read(path), path) for path in paths]
    return tuple(_compare(host, spec) for spec in specs if is_of_nvidia(spec))


def is_of_nvidia(spec: Spec) -> bool:
    """Tell whether a spec concerns NVIDIA's devices; one that could not be read, by its name."""
    vendor = spec.kind.partition("/")[0] if spec.kind else spec.path.rpartition("/")[2].partition(".")[0]
    return "nvidia" in vendor


def parse_spec(text: str | None, path: str) -> Spec:
    """Return the spec in a file; where it cannot be understood, one that says why."""
    if text is None:
        return Spec(path, problem="it is not for this user to read")
    try:
        value = json.loads(text) if text.lstrip().startswith("{") else parse_block_yaml(text)
    except ValueError as error:
        return Spec(path, problem=str(error))
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return Spec(path, problem="it names no kind of devices")
    devices = [device for device in _items(value, "devices") if isinstance(device, dict)]
    edits = [_edits_of(holder) for holder in (value, *devices)]
    nodes = dict.fromkeys(_parse_node(node) for edit in edits for node in _items(edit, "deviceNodes"))
    mounts = [mount.get("hostPath") for edit in edits for mount in _items(edit, "mounts") if isinstance(mount, dict)]
    return Spec(
        path,
        kind=str(value["kind"]),
        devices=tuple(str(device.get("name", "")) for device in devices),
        nodes=tuple(node for node in nodes if node.path),
        host_paths=tuple(dict.fromkeys(str(mount) for mount in mounts if mount)),
    )


def find_staleness(spec: Spec, driver: Driver, smi: Smi) -> tuple[str, ...]:
    """Return what of a spec is no longer true, a clause each; empty where it is fresh, or nothing else is known."""
    return (*_other_versions(spec, driver), *_missing(spec), *_renumbered(spec), *_other_gpus(spec, smi))


def driver_versions(spec: Spec) -> list[str]:
    """Return the versions of the driver whose libraries a spec names."""
    found = (_LIBRARY.search(path) for path in spec.host_paths)
    return sorted({match[1] for match in found if match})


def find_conflicts(specs: Iterable[Spec]) -> Iterator[tuple[Spec, Spec, tuple[str, ...]]]:
    """Yield pairs of specs in one folder that tell different truths of one device, with the names of the devices."""
    known = [spec for spec in specs if spec.kind == KIND]
    for number, first in enumerate(known):
        for second in known[number + 1 :]:
            both = sorted(set(first.devices) & set(second.devices))
            if both and _folder(first) == _folder(second):
                yield first, second, tuple(both)


def is_overridden(spec: Spec, specs: Iterable[Spec]) -> bool:
    """Tell whether the engine takes every device of a spec from one in a later folder."""
    place = FOLDERS.index(_folder(spec))
    later = [other for other in specs if other.kind == spec.kind and FOLDERS.index(_folder(other)) > place]
    return bool(later) and set(spec.devices) <= {name for other in later for name in other.devices}


def expected_names(gpus: Iterable[Gpu]) -> list[tuple[str, frozenset[str]]]:
    """Return each device that programs can use, as findings call it, with the names that specs give it.

    A GPU in MIG mode is used by its instances alone.
    """
    devices = []
    for gpu in gpus:
        if gpu.mig_mode == "enabled":
            for mig in gpu.mig_instances:
                names = {f"{gpu.index}:{mig.index}", f"mig{gpu.index}:{mig.index}", mig.uuid} - {""}
                devices.append((f"MIG instance {gpu.index}:{mig.index}", frozenset(names)))
        else:
            devices.append((gpu.name, frozenset({str(gpu.index), f"gpu{gpu.index}", gpu.uuid})))
    return devices


def quote_few(paths: Sequence[str]) -> str:
    """Return the first few of many, and how many there are besides."""
    more = f" and {len(paths) - _FEW} more" if len(paths) > _FEW else ""
    return ", ".join(paths[:_FEW]) + more


def _compare(host: Host, spec: Spec) -> Spec:
    found = {node.path: host.read_node(node.path) for node in spec.nodes}
    missing = [path for path, node in found.items() if node is None]
    missing += [path for path in spec.host_paths if not host.exists(path)]
    renumbered = [
        f"{wanted.path} ({wanted.major}:{wanted.minor} in it, {node.major}:{node.minor} on this host)"
        for wanted in spec.nodes
        if (node := found[wanted.path]) is not None
        and wanted.major is not None
        and (wanted.major, wanted.minor) != (node.major, node.minor)
    ]
    return replace(spec, missing_paths=tuple(missing), renumbered=tuple(renumbered))


def _parse_node(node: Value) -> SpecNode:
    if not isinstance(node, dict):
        return SpecNode("")
    # Numbers are text in YAML as it is read here, and numbers in JSON. 0 stands for "as on the host".
    major, minor = (str(node.get(name, "")) for name in ("major", "minor"))
    path = str(node.get("hostPath") or node.get("path") or "")
    if not _NUMBER.fullmatch(major) or int(major) == 0:
        return SpecNode(path)
    return SpecNode(path, int(major), int(minor) if _NUMBER.fullmatch(minor) else 0)


def _edits_of(holder: dict[str, Value]) -> dict[str, Value]:
    edits = holder.get("containerEdits")
    return edits if isinstance(edits, dict) else {}


def _items(holder: dict[str, Value], key: str) -> list[Value]:
    value = holder.get(key)
    return value if isinstance(value, list) else []


def _other_versions(spec: Spec, driver: Driver) -> Iterator[str]:
    others = [version for version in driver_versions(spec) if version != driver.user_space_version]
    if driver.user_space_version and others:
        yield f"it names libraries of driver {', '.join(others)}, this host has {driver.user_space_version}"


def _missing(spec: Spec) -> Iterator[str]:
    if spec.missing_paths:
        yield f"this host has no {quote_few(spec.missing_paths)}"


def _renumbered(spec: Spec) -> Iterator[str]:
    if spec.renumbered:
        yield f"device nodes have other numbers now, {quote_few(spec.renumbered)}"


def _other_gpus(spec: Spec, smi: Smi) -> Iterator[str]:
    if smi.state != "answered" or spec.kind != KIND:
        return
    expected = expected_names(smi.gpus)
    named = set(spec.devices)
    known = frozenset().union(*(names for _place, names in expected))
    recognised = {name for name in named if _is_of_gpu(name)}
    gone = sorted(recognised - known)
    if gone:
        yield f"it names devices that this host does not have ({quote_few(gone)})"
    # A spec with other names alone, as "all", was not made to name each.
    unnamed = [device for device, names in expected if not names & named] if recognised else []
    if unnamed:
        yield f"it does not name {quote_few(unnamed)}"


def _is_of_gpu(name: str) -> bool:
    is_number = _NUMBERED.fullmatch(name) or _INSTANCE.fullmatch(name)
    return bool(is_number) or name.startswith(("GPU-", "MIG-"))


def _folder(spec: Spec) -> str:
    return spec.path.rpartition("/")[0]
