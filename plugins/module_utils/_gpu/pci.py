# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cards on the PCI bus, and addresses as the kernel writes them."""

from __future__ import annotations

import re

from .facts import Card, MachineKind
from .host import Host

NVIDIA = "0x10de"
#: Display controllers: VGA (0x0300), 3D (0x0302), others. The sound of a card and its USB are functions of their own.
_DISPLAY = "0x03"
_DEVICES = "/sys/bus/pci/devices"


def normalise_address(text: str) -> str:
    """Return ``0000:3b:00.0`` for nvidia-smi's ``00000000:3B:00.0`` and for the ``0000:3b:00`` of the kernel log.

    Text of another form is returned as it is. Domains above ffff keep their digits, as sysfs has them.
    """
    found = re.fullmatch(r"([0-9a-fA-F]{4,8}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})(?:\.([0-7]))?", text.strip())
    if found is None:
        return text.strip()
    domain, bus, device, function = found.groups()
    return f"{int(domain, 16):04x}:{bus}:{device}.{function or 0}".lower()


def read_cards(host: Host) -> tuple[Card, ...]:
    """Return NVIDIA's display controllers in the order of their addresses."""
    return tuple(
        Card(address, _attribute(host, address, "device"), host.read_link_name(f"{_DEVICES}/{address}/driver"))
        for address in host.list_names(_DEVICES)
        if _attribute(host, address, "vendor") == NVIDIA and _attribute(host, address, "class").startswith(_DISPLAY)
    )


def read_machine(host: Host) -> MachineKind:
    """Tell what kind of machine this is, as far as its driver is of another make."""
    if "microsoft" in (host.read("/proc/sys/kernel/osrelease") or "").lower():
        return "wsl"
    compatible = host.read("/proc/device-tree/compatible") or ""
    if "nvidia,tegra" in compatible or host.exists("/etc/nv_tegra_release"):
        return "jetson"
    return "host"


def _attribute(host: Host, address: str, name: str) -> str:
    return (host.read(f"{_DEVICES}/{address}/{name}") or "").strip()
