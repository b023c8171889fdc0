# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at the whole host once; nothing is judged here."""

from __future__ import annotations

from dataclasses import replace

from .cdi import read_specs
from .containers import read_docker, read_toolkit
from .driver import read_driver
from .facts import Docker, Driver, Facts, KernelLog, Node, Smi, Toolkit
from .host import Host
from .kernel_log import read_kernel_log
from .pci import read_cards, read_machine
from .smi import read_smi

#: ``nvidia-caps`` holds the nodes of MIG instances.
_FOLDERS = ("/dev", "/dev/nvidia-caps")


def observe(host: Host, settings_file: str) -> Facts:
    """Return all that is known of a host's GPUs.

    Where there is no card nothing but the bus is looked at, and where the driver is of another make no more than that.
    """
    nothing = (Smi("not_asked"), Driver(), (), Toolkit(), (), Docker(settings_file), KernelLog())
    facts = Facts(read_machine(host), read_cards(host), *nothing)
    if not facts.is_covered:
        return facts
    driver = read_driver(host)
    smi = read_smi(host, is_loaded=driver.is_loaded)
    return replace(
        facts,
        smi=smi,
        driver=replace(driver, user_space_version=driver.user_space_version or smi.library_version),
        # After nvidia-smi, which has the driver make nodes that are missing.
        nodes=read_nodes(host),
        toolkit=read_toolkit(host),
        specs=read_specs(host),
        docker=read_docker(host, settings_file),
        log=read_kernel_log(host),
    )


def read_nodes(host: Host) -> tuple[Node, ...]:
    """Return the device nodes of the driver."""
    paths = [
        f"{folder}/{name}" for folder in _FOLDERS for name in host.list_names(folder) if name.startswith("nvidia")
    ]  # fmt: skip
    found = [host.read_node(path) for path in paths]
    return tuple(node for node in found if node is not None)
