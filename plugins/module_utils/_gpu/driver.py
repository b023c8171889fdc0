# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The driver's three versions: of the libraries, of the module in the kernel, of the module on disk."""

from __future__ import annotations

import re

from .facts import Driver, Module, ModuleKind
from .host import Host

VERSION_FILE = "/proc/driver/nvidia/version"
_LIBRARY = "libnvidia-ml.so.1"
_LIBRARY_FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib")
#: Debian's packages build it under names of their own, and load it as ``nvidia``.
_MODULES = ("nvidia", "nvidia-current", "nvidia-current-open")
#: Attributes (4 bytes), then 1 or 0. Source: the UEFI specification, 3.3, and efivarfs of the kernel.
_SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_REBOOT_PACKAGES = ("/run/reboot-required.pkgs", "/var/run/reboot-required.pkgs")
#: Two or three parts: 595.80, 550.163.01.
_VERSION = re.compile(r"\d{3,}\.\d+(?:\.\d+)?")


def read_driver(host: Host) -> Driver:
    """Return what is loaded, installed and pending."""
    loaded, kind = parse_version_file(host.read(VERSION_FILE) or "")
    return Driver(
        user_space_version=read_library_version(host),
        loaded_version=loaded or (host.read("/sys/module/nvidia/version") or "").strip(),
        kind=kind,
        is_loaded=host.exists(VERSION_FILE) or host.exists("/sys/module/nvidia"),
        module=read_module(host),
        kernel=(host.read("/proc/sys/kernel/osrelease") or "").strip(),
        is_nouveau_loaded=host.exists("/sys/module/nouveau"),
        is_secure_boot=parse_secure_boot(host.read_bytes(_SECURE_BOOT)),
        reboot_packages=read_reboot_packages(host),
    )


def parse_version_file(text: str) -> tuple[str, ModuleKind]:
    """Return version and kind of the loaded module from the text of :data:`VERSION_FILE`; empty where it says none.

    ``NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr ...`` is the proprietary module,
    ``NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (...)`` the open one.
    """
    line = next((line for line in text.splitlines() if line.startswith("NVRM version:")), "")
    name, _between, rest = line.partition("Kernel Module")
    version = _VERSION.search(rest)
    if version is None:
        return "", ""
    return version[0], "open" if name.rstrip().endswith("Open") else "proprietary"


def read_library_version(host: Host) -> str:
    """Return the version of the library that the loader gives to programs, empty where there is none."""
    paths = [f"{folder}/{_LIBRARY}" for folder in _LIBRARY_FOLDERS]
    targets = [host.resolve(path) for path in paths if host.exists(path)]
    versions = [found[0] for found in map(_VERSION.search, (path.rpartition("/")[2] for path in targets)) if found]
    return versions[0] if versions else ""


def read_module(host: Host) -> Module | None:
    """Return the module that the kernel that runs would load; None where there is none for it."""
    for name in _MODULES:
        done = host.ask("modinfo", name)
        if done is not None and done.returncode == 0:
            return parse_modinfo(done.stdout)
    return None


def parse_modinfo(text: str) -> Module | None:
    """Return a module from what modinfo(8) prints, one ``field:   value`` a line; None where it names no version."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    if not fields.get("version"):
        return None
    kind: ModuleKind = "proprietary" if fields.get("license") == "NVIDIA" else "open"
    is_signed = bool(fields.get("signer") or fields.get("sig_id"))
    return Module(fields["version"], fields.get("filename", ""), kind, is_signed)


def parse_secure_boot(variable: bytes | None) -> bool | None:
    """Return whether the firmware lets only signed modules in; None where it says nothing, as without UEFI."""
    return variable[4] == 1 if variable is not None and len(variable) == 5 else None


def read_reboot_packages(host: Host) -> tuple[str, ...]:
    """Return the packages of the driver that a distribution's note of a needed reboot names."""
    text = next((text for text in map(host.read, _REBOOT_PACKAGES) if text is not None), "")
    return tuple(sorted({name for name in text.split() if "nvidia" in name}))
