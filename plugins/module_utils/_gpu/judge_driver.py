# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the driver, and with cards that it does not give to programs."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import Card, Driver, Facts, Finding, make_finding
from .xids import REBOOT, explain

#: How ``nvidia-smi`` and NVML number what is wrong. Source: nvidia-smi(1), "RETURN VALUE", and nvml.h.
NO_PERMISSION, NOT_FOUND, NO_DRIVER, NO_LIBRARY, LOST, MISMATCH = 4, 6, 9, 12, 15, 18

#: The kernel's driver that keeps a card for virtual machines.
GIVEN_AWAY = "vfio-pci"

_ASK_KERNEL = "look at what the kernel says of it (journalctl --dmesg --grep NVRM)"
_FIXES = {
    NO_PERMISSION: "run the task with become",
    NO_DRIVER: f"{_ASK_KERNEL}, and reboot the host",
    NO_LIBRARY: "install the driver's libraries in the version of its kernel module",
    LOST: REBOOT,
}
_FELL_OFF = 79
_MISMATCH_TEXT = "Driver/library version mismatch"
_NONE_TEXT = "No devices were found"
_LOST_TEXT = "GPU is lost"


def judge_driver(facts: Facts) -> Iterator[Finding]:
    """Yield what keeps programs from the cards."""
    if facts.driver.is_loaded:
        yield from _judge_loaded(facts)
    else:
        yield from _judge_unloaded(facts)
    for model, branch in facts.log.legacy_cards.items():
        yield make_finding(
            "driver_too_new", "error",
            f"Cannot use {model}: the driver {facts.driver.user_space_version} no longer supports it, {branch} is the "
            "last branch that does",
            f"install a driver of branch {branch}, and hold its packages",
        )  # fmt: skip
    for card in facts.cards:
        yield from _judge_card(facts, card)


def is_mismatched(facts: Facts) -> bool:
    """Tell whether libraries and kernel module are of different versions, by their versions or by nvidia-smi's word."""
    return facts.driver.is_mismatched or facts.smi.exit_code == MISMATCH or _MISMATCH_TEXT in facts.smi.text


def _judge_unloaded(facts: Facts) -> Iterator[Finding]:
    driver, cards = facts.driver, _addresses(facts)
    if not cards:
        return
    module = driver.module
    if driver.is_secure_boot and module is not None and (not module.is_signed or facts.log.is_module_rejected):
        how = "is signed by a key that the firmware does not know" if module.is_signed else "is not signed"
        yield make_finding(
            "secure_boot", "error",
            f"Cannot load NVIDIA's driver for {cards}: Secure Boot is on and the module {module.version} {how}",
            "install the distribution's signed modules, or enrol the key that signs it (mokutil --import) and reboot",
        )  # fmt: skip
    elif module is None and driver.user_space_version:
        yield make_finding(
            "module_missing", "error",
            f"Cannot load NVIDIA's driver for {cards}: its libraries have version {driver.user_space_version}, but the "
            f"kernel {driver.kernel} has no module of it",
            f"install this kernel's headers (linux-headers-{driver.kernel}) and build the module (dkms autoinstall)",
        )  # fmt: skip
    elif any(card.kernel_driver == "nouveau" for card in facts.cards):
        return
    elif module is None:
        yield make_finding(
            "driver_missing", "error", f"Cannot use {cards}: no driver of NVIDIA is installed",
            "install NVIDIA's driver and reboot the host",
        )  # fmt: skip
    elif not facts.log.legacy_cards:
        yield make_finding(
            "module_not_loaded", "error",
            f"Cannot use {cards}: NVIDIA's module {module.version} is installed and not loaded",
            f"load it (modprobe nvidia) or reboot the host, and if it stays out {_ASK_KERNEL}",
        )  # fmt: skip


def _judge_loaded(facts: Facts) -> Iterator[Finding]:
    driver, smi = facts.driver, facts.smi
    if is_mismatched(facts):
        yield _tell_mismatch(driver)
        return
    if driver.is_reboot_pending:
        yield make_finding("reboot_pending", "warning", *_tell_reboot(driver))
    if smi.state == "missing":
        yield make_finding(
            "smi_missing", "error", "Cannot ask the driver for its GPUs: the program nvidia-smi is not installed",
            f"install the driver's tools in version {driver.loaded_version or 'of the kernel module'}",
        )  # fmt: skip
    elif smi.state == "late":
        yield make_finding(
            "smi_late", "error", "Cannot ask the driver for its GPUs: nvidia-smi did not answer in time",
            f"{_ASK_KERNEL}, and reboot the host, or enable nvidia-persistenced if its GPUs only need long to start",
        )  # fmt: skip
    elif smi.state == "answered" and smi.exit_code:
        yield make_finding(
            "smi_failed", "warning",
            f"Cannot rely on all that nvidia-smi says: it answered and ended with {smi.exit_code}, {_quote(smi.text)}",
            f"{_ASK_KERNEL}, and have the card looked at if it stays",
        )  # fmt: skip
    elif smi.state == "failed" and not _finds_none(facts) and not _is_explained(facts):
        is_lost = smi.exit_code == LOST or _LOST_TEXT in smi.text
        yield make_finding(
            "gpu_lost" if is_lost else "smi_failed", "error",
            f"Cannot ask the driver for its GPUs: nvidia-smi ended with {smi.exit_code}, {_quote(smi.text)}",
            _FIXES[LOST] if is_lost else _FIXES.get(smi.exit_code or 0, f"{_ASK_KERNEL}, and reboot the host"),
        )  # fmt: skip


def _tell_mismatch(driver: Driver) -> Finding:
    what = f"the driver's libraries have version {driver.user_space_version}"
    if not driver.is_mismatched:
        what = "nvidia-smi says that the driver's libraries have another version"
    on_disk = driver.module.version if driver.module is not None else ""
    fix = "reboot the host"
    if on_disk and driver.user_space_version and on_disk != driver.user_space_version:
        fix = (
            f"install libraries and module of one version (the module on disk has {on_disk}), reboot the host, and "
            "hold the driver's packages"
        )
    elif on_disk:
        fix = "reboot the host, and hold the driver's packages so that no unattended upgrade does it again"
    return make_finding(
        "driver_mismatch", "error",
        f"Cannot use any GPU: {what}, the module in the kernel has {driver.loaded_version or 'an older one'}", fix,
    )  # fmt: skip


def _tell_reboot(driver: Driver) -> tuple[str, str]:
    cause = f"the distribution asks for a reboot because of {', '.join(driver.reboot_packages)}"
    if driver.module is not None and driver.module.version != driver.loaded_version:
        cause = f"its module on disk has version {driver.module.version}, the one in the kernel {driver.loaded_version}"
    return f"Cannot keep NVIDIA's driver as it is past the next start: {cause}", "reboot the host when it suits"


def _judge_card(facts: Facts, card: Card) -> Iterator[Finding]:
    name = f"the card at {card.pci_address}"
    if card.kernel_driver == GIVEN_AWAY:
        fix = "nothing is to be done if a virtual machine is to have it"
        yield make_finding("card_given_away", "info", f"Cannot use {name}: vfio-pci keeps it for virtual machines", fix)
    elif card.kernel_driver == "nouveau":
        installed = "keep nouveau out (blacklist it in /etc/modprobe.d, update-initramfs -u)"
        fix = installed if facts.driver.module else "install NVIDIA's driver, which keeps nouveau out"
        cause = f"Cannot use {name}: the kernel's own driver nouveau has taken it, which computes nothing"
        yield make_finding("nouveau", "error", cause, f"{fix}, and reboot the host")
    elif wanted := facts.log.wanted_kinds.get(card.pci_address):
        yield make_finding(
            "module_kind", "error",
            f"Cannot use {name}: it needs the {wanted} kernel module, the {facts.driver.kind or 'other'} one is loaded",
            f"install the driver with its {wanted} module and reboot the host",
        )  # fmt: skip
    elif _lists_gpus(facts) and not _is_listed(facts, card):
        yield _tell_missing(facts, card, name)


def _tell_missing(facts: Facts, card: Card, name: str) -> Finding:
    fallen = [xid for xid in facts.log.xids if (xid.pci_address, xid.code) == (card.pci_address, _FELL_OFF)]
    if fallen:
        meaning = explain(fallen[0])
        return make_finding("gpu_lost", "error", f"Cannot use {name}: {meaning.text}", meaning.fix)
    if failure := facts.log.failed_cards.get(card.pci_address):
        return make_finding(
            "gpu_not_set_up", "error", f"Cannot use {name}: the driver could not set it up, {_quote(failure)}",
            "reboot the host, and if it stays look at its power and at the firmware's setting for large BARs, or try "
            "another version of the driver",
        )  # fmt: skip
    why = "nvidia-smi does not list it" if card.kernel_driver else "no driver has taken it"
    return make_finding("gpu_missing", "error", f"Cannot use {name}: {why}", f"{_ASK_KERNEL}, and reboot the host")


def _is_listed(facts: Facts, card: Card) -> bool:
    # Of a card that the driver has given up its own sentence tells, by model and not by address.
    is_given_up = not card.kernel_driver and bool(facts.log.legacy_cards)
    return is_given_up or card.pci_address in {gpu.pci_address for gpu in facts.smi.gpus}


def _lists_gpus(facts: Facts) -> bool:
    is_listed = facts.smi.state == "answered" or _finds_none(facts)
    return is_listed and facts.driver.is_loaded and not is_mismatched(facts)


def _is_explained(facts: Facts) -> bool:
    """Tell whether no card can answer because the loaded module is of the wrong kind for each."""
    return {card.pci_address for card in facts.cards} <= facts.log.wanted_kinds.keys()


def _finds_none(facts: Facts) -> bool:
    smi = facts.smi
    is_none = smi.exit_code == NOT_FOUND or _NONE_TEXT in smi.text
    return smi.state == "failed" and is_none and _LOST_TEXT not in smi.text


def _addresses(facts: Facts) -> str:
    addresses = [card.pci_address for card in facts.cards if card.kernel_driver != GIVEN_AWAY]
    if len(addresses) == 1:
        return f"the card at {addresses[0]}"
    return f"{len(addresses)} cards ({', '.join(addresses)})" if addresses else ""


def _quote(text: str) -> str:
    return f"saying {text.rstrip('. ')!r}" if text else "saying nothing"
