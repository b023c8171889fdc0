# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with single GPUs, with their device nodes, and what the kernel log says of them."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Facts, Finding, Gpu, Xid, make_finding
from .judge_driver import is_mismatched
from .xids import REBOOT, RESET, explain

#: What every program opens, whoever it runs as.
_EVERYONE = 0o666
_CONTROL, _UVM = "/dev/nvidiactl", "/dev/nvidia-uvm"


def judge_gpus(facts: Facts) -> Iterator[Finding]:
    """Yield what is wrong with GPUs that the driver knows."""
    for gpu in facts.smi.gpus:
        yield from _judge_health(gpu)
        yield from _judge_modes(gpu)
    yield from _judge_persistence(facts)
    if facts.smi.state == "answered" and not is_mismatched(facts):
        yield from _judge_nodes(facts)
    for xid in facts.log.xids:
        yield _tell_xid(facts, xid)
    if facts.driver.is_loaded and not facts.log.is_readable:
        cause = "Cannot look for errors of the GPUs: neither the journal nor the kernel's ring buffer may be read"
        yield make_finding("kernel_log", "info", cause, "run the task with become")


def _judge_health(gpu: Gpu) -> Iterator[Finding]:
    reset = RESET.format(address=gpu.index)
    if gpu.problem:
        is_lost = "reset" not in gpu.problem.lower()
        yield make_finding(
            "gpu_lost" if is_lost else "gpu_recovery", "error",
            f"Cannot use {gpu.name} at {gpu.pci_address}: its driver says {gpu.problem!r}",
            REBOOT if is_lost else reset,
        )  # fmt: skip
    elif gpu.recovery_action:
        cause = f"Cannot rely on {gpu.name}: its driver asks for {gpu.recovery_action!r}"
        yield make_finding("gpu_recovery", "error", cause, reset)
    if gpu.memory_repair == "pending":
        cause = f"Cannot rely on {gpu.name}: a faulty part of its memory is still in use until its next reset"
        yield make_finding("memory_repair", "warning", cause, reset)
    elif gpu.memory_repair == "failed":
        cause = f"Cannot rely on {gpu.name}: a faulty part of its memory could not be replaced by a spare one"
        yield make_finding("memory_failed", "error", cause, "have the card replaced")


def _judge_modes(gpu: Gpu) -> Iterator[Finding]:
    if gpu.compute_mode == "Prohibited":
        cause = f"Cannot compute on {gpu.name}: its compute mode is Prohibited"
        yield make_finding("compute_mode", "error", cause, f"allow it (nvidia-smi -i {gpu.index} -c DEFAULT)")
    elif gpu.compute_mode.startswith("Exclusive"):
        yield make_finding(
            "compute_mode", "info",
            f"Cannot share {gpu.name} between programs: its compute mode is {gpu.compute_mode}",
            f"allow it if they are to share it (nvidia-smi -i {gpu.index} -c DEFAULT)",
        )  # fmt: skip
    if gpu.mig_mode != gpu.mig_mode_pending:
        yield make_finding(
            "mig_pending", "warning",
            f"Cannot keep {gpu.name} as it is: MIG is {gpu.mig_mode}, and {gpu.mig_mode_pending} after its next reset",
            RESET.format(address=gpu.index),
        )  # fmt: skip
    elif gpu.mig_mode == "enabled" and not gpu.mig_instances:
        yield make_finding(
            "mig_empty", "error",
            f"Cannot compute on {gpu.name}: MIG is enabled and it has no instance (a restart of the host removes all)",
            f"make instances (nvidia-smi mig -i {gpu.index} -cgi PROFILE -C) at every start, or turn MIG off "
            f"(nvidia-smi -i {gpu.index} -mig 0)",
        )  # fmt: skip


def _judge_persistence(facts: Facts) -> Iterator[Finding]:
    names = [gpu.name for gpu in facts.smi.gpus if gpu.has_persistence is False]
    if names:
        yield make_finding(
            "persistence_off", "info",
            f"Cannot keep {', '.join(names)} ready while no program uses it: persistence mode is off, so that the "
            "first program waits for the driver",
            "enable nvidia-persistenced (systemctl enable --now nvidia-persistenced)",
        )  # fmt: skip


def _judge_nodes(facts: Facts) -> Iterator[Finding]:
    found = {node.path: node for node in facts.nodes}
    of_gpus = [f"/dev/nvidia{gpu.device_number}" for gpu in facts.smi.gpus if gpu.device_number is not None]
    missing = [path for path in (_CONTROL, *of_gpus) if path not in found]
    if missing:
        yield make_finding(
            "node_missing", "error", f"Cannot give GPUs to containers: this host has no {', '.join(missing)}",
            "enable nvidia-persistenced, which makes them at every start, or make them now (nvidia-modprobe -c N)",
        )  # fmt: skip
    if _UVM not in found:
        yield make_finding(
            "uvm_missing", "warning", f"Cannot count on CUDA in containers: this host has no {_UVM}",
            "load the module and make it (nvidia-modprobe -u -c 0) at every start, before Docker",
        )  # fmt: skip
    closed = [node for path in (_CONTROL, _UVM, *of_gpus) if (node := found.get(path)) and ~node.mode & _EVERYONE]
    if closed:
        listed = ", ".join(f"{node.path} ({node.mode:04o})" for node in closed)
        yield make_finding(
            "node_mode", "warning",
            f"Cannot use GPUs in containers that do not run as root: not everyone may use {listed}",
            "take NVreg_DeviceFileMode out of /etc/modprobe.d, or give containers the group of these nodes",
        )  # fmt: skip


def _tell_xid(facts: Facts, xid: Xid) -> Finding:
    meaning = explain(xid)
    names = [gpu.name for gpu in facts.smi.gpus if gpu.pci_address == xid.pci_address]
    name = names[0] if names else f"the card at {xid.pci_address}"
    times = "once" if xid.count == 1 else f"{xid.count} times"
    last = f", last at {xid.last_at}" if xid.last_at else ""
    return make_finding(
        "xid", meaning.severity,
        f"Cannot call {name} free of errors: {meaning.text} (Xid {xid.code}, {times} since the host started{last})",
        meaning.fix.format(address=xid.pci_address),
    )  # fmt: skip
