# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of a host's NVIDIA GPUs: values alone, as they were seen. What they mean is judged elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "info"]

#: What findings are called; once told, a code keeps its meaning.
Code = Literal[
    "card_given_away", "cdi_conflict", "cdi_missing", "cdi_stale", "cdi_unreadable", "compute_mode",
    "driver_mismatch", "driver_missing", "driver_too_new", "engine_settings", "gpu_lost", "gpu_missing",
    "gpu_not_set_up", "gpu_recovery", "hook_missing", "kernel_log", "memory_failed", "memory_repair", "mig_empty",
    "mig_pending", "module_kind", "module_missing", "module_not_loaded", "node_missing", "node_mode", "not_covered",
    "nouveau", "persistence_off", "reboot_pending", "runtime_not_taken_over", "runtime_program",
    "runtime_unregistered", "secure_boot", "smi_failed", "smi_late", "smi_missing", "toolkit_missing",
    "toolkit_unsafe", "uvm_missing", "xid",
]  # fmt: skip

#: ``jetson`` and ``wsl`` have a driver of another make, of which little here would be true.
MachineKind = Literal["host", "jetson", "wsl"]

#: How ``nvidia-smi`` ended. It is not asked where the kernel module is not loaded, because it would load it.
SmiState = Literal["answered", "not_asked", "missing", "late", "failed"]

MigMode = Literal["enabled", "disabled", "unsupported"]

#: What the driver says of memory that it has replaced or must replace.
MemoryRepair = Literal["none", "pending", "failed"]

#: Empty where no module is loaded.
ModuleKind = Literal["open", "proprietary", ""]


@dataclass(frozen=True)
class Card:
    """A display controller of NVIDIA on the PCI bus, with or without a driver."""

    pci_address: str
    device_id: str
    #: ``nvidia``, ``nouveau``, ``vfio-pci``, ...; empty where none has taken it.
    kernel_driver: str = ""


@dataclass(frozen=True)
class MigInstance:
    """A part of a GPU that programs see as a GPU of its own."""

    index: int
    gpu_instance_id: int | None
    compute_instance_id: int | None
    uuid: str = ""
    #: As ``1g.10gb``; empty where ``nvidia-smi -L`` did not say it.
    profile: str = ""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver knows it. None stands for what the card or its driver does not tell."""

    index: int
    uuid: str
    model: str
    pci_address: str
    architecture: str = ""
    #: Of ``/dev/nvidiaN``; it is not the index.
    device_number: int | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    mig_mode: MigMode = "unsupported"
    mig_mode_pending: MigMode = "unsupported"
    mig_instances: tuple[MigInstance, ...] = ()
    has_persistence: bool | None = None
    compute_mode: str = ""
    #: What the driver wants done, as ``Reset``; empty where it wants nothing.
    recovery_action: str = ""
    memory_repair: MemoryRepair = "none"
    #: What the driver says where values should be, as ``GPU is lost``.
    problem: str = ""

    @property
    def name(self) -> str:
        """How findings call it."""
        return f"GPU {self.index} ({self.model or self.pci_address})"


@dataclass(frozen=True)
class Smi:
    """What ``nvidia-smi`` answered."""

    state: SmiState
    exit_code: int | None = None
    #: What it said instead of an answer, or besides one, in one line.
    text: str = ""
    gpus: tuple[Gpu, ...] = ()
    cuda_version: str = ""
    #: Of the library that it could load though the kernel module is of another; it says so since driver 545.
    library_version: str = ""


@dataclass(frozen=True)
class Module:
    """A kernel module on disk, for the kernel that runs."""

    version: str
    path: str = ""
    kind: ModuleKind = ""
    is_signed: bool = False


@dataclass(frozen=True)
class Driver:
    """The driver: its libraries, the module in the kernel, and the one on disk."""

    #: Of libnvidia-ml, which each program that uses a GPU loads; empty where there is none.
    user_space_version: str = ""
    #: Of the module in the kernel; empty where none is loaded.
    loaded_version: str = ""
    kind: ModuleKind = ""
    is_loaded: bool = False
    module: Module | None = None
    kernel: str = ""
    is_nouveau_loaded: bool = False
    #: None where the firmware does not tell.
    is_secure_boot: bool | None = None
    #: Packages of the driver for which the distribution asks to reboot.
    reboot_packages: tuple[str, ...] = ()

    @property
    def is_mismatched(self) -> bool:
        """Whether programs and kernel speak different versions, so that none can use a GPU."""
        known = self.user_space_version and self.loaded_version
        return bool(known) and self.user_space_version != self.loaded_version

    @property
    def is_reboot_pending(self) -> bool:
        """Whether the next start of the host brings another driver than the one that is loaded."""
        is_newer_on_disk = self.module is not None and self.module.version != self.loaded_version
        return self.is_loaded and (bool(self.reboot_packages) or (bool(self.loaded_version) and is_newer_on_disk))


@dataclass(frozen=True)
class Node:
    """A device node below ``/dev``."""

    path: str
    #: Permission bits alone.
    mode: int
    major: int
    minor: int


@dataclass(frozen=True)
class SpecNode:
    """A device node that a CDI spec hands to containers; numbers are None where the spec leaves them to the host."""

    path: str
    major: int | None = None
    minor: int | None = None


@dataclass(frozen=True)
class Spec:
    """A CDI spec file of NVIDIA."""

    path: str
    kind: str = ""
    devices: tuple[str, ...] = ()
    nodes: tuple[SpecNode, ...] = ()
    #: Files of the host that it mounts.
    host_paths: tuple[str, ...] = ()
    #: Why it could not be read; the rest is empty then.
    problem: str = ""
    #: Nodes and files of it that this host does not have.
    missing_paths: tuple[str, ...] = ()
    #: Nodes that have other numbers on this host.
    renumbered: tuple[str, ...] = ()


@dataclass(frozen=True)
class Toolkit:
    """NVIDIA's container toolkit; programs are told by their paths, empty where they are missing."""

    version: str = ""
    ctk: str = ""
    runtime: str = ""
    runtime_hook: str = ""
    cdi_hook: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether anything of it is there."""
        return any((self.ctk, self.runtime, self.runtime_hook, self.cdi_hook))


@dataclass(frozen=True)
class RunningEngine:
    """What the Docker engine says of itself."""

    version: str
    runtimes: tuple[str, ...] = ()
    default_runtime: str = ""
    #: CDI devices of NVIDIA that it found; older engines do not tell.
    cdi_devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Docker:
    """Docker as far as it concerns GPUs."""

    settings_file: str
    is_installed: bool = False
    #: Why the settings could not be read.
    problem: str = ""
    #: Runtime to its program, as the settings have them.
    runtimes: Mapping[str, str] = field(default_factory=dict)
    default_runtime: str = ""
    #: Whether the program of the runtime ``nvidia`` is there; None where the settings name none.
    has_runtime_program: bool | None = None
    engine: RunningEngine | None = None


@dataclass(frozen=True)
class Xid:
    """Errors of one code on one card since the host started."""

    code: int
    pci_address: str
    count: int
    last_message: str
    #: ISO 8601 in UTC; empty where the log does not tell.
    last_at: str = ""


@dataclass(frozen=True)
class KernelLog:
    """What the kernel has said since the host started that concerns GPUs."""

    is_readable: bool = False
    xids: tuple[Xid, ...] = ()
    #: Card to the kind of module that it needs, where the loaded one is of the other.
    wanted_kinds: Mapping[str, ModuleKind] = field(default_factory=dict)
    #: Cards that the driver could not set up, with what it said.
    failed_cards: Mapping[str, str] = field(default_factory=dict)
    is_module_rejected: bool = False
    #: Model of a card and last branch of the driver that supports it, where the loaded one is newer.
    legacy_cards: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """All that was seen."""

    machine: MachineKind
    cards: tuple[Card, ...]
    smi: Smi
    driver: Driver
    nodes: tuple[Node, ...]
    toolkit: Toolkit
    specs: tuple[Spec, ...]
    docker: Docker
    log: KernelLog

    @property
    def is_covered(self) -> bool:
        """Whether there was anything to look at besides the bus."""
        return self.machine == "host" and bool(self.cards)


@dataclass(frozen=True)
class Finding:
    """What is wrong or worth knowing. ``text`` is the whole sentence, ``fix`` its part that says what to do."""

    code: Code
    severity: Severity
    text: str
    fix: str


def make_finding(code: Code, severity: Severity, cause: str, fix: str) -> Finding:
    """Return a finding whose sentence is *Cannot <do> <object>: <cause>; <what to do>.*"""
    return Finding(code, severity, f"{cause}; {fix}.", fix)
