# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a GPU host is to have, and where its packages come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .._errors import PlatformError

#: In :func:`unit_paths`, what looks after containers of one site; all else there is the host's.
GUARD_FILES = ("program", "guard", "timer")

Presence = Literal["present", "skip"]
Asked = Literal["auto", "nvidia", "cdi"]

TOOLKIT_REPOSITORY = "https://nvidia.github.io/libnvidia-container/stable/deb"
DRIVER_REPOSITORY = "https://developer.download.nvidia.com/compute/cuda/repos"
TOOLKIT = "nvidia-container-toolkit"

_TOOLKIT_KEY = "/etc/apt/keyrings/modelyard-nvidia-toolkit.asc"
_DRIVER_KEY = "/etc/apt/keyrings/modelyard-nvidia-driver.asc"
_BRANCH = re.compile(r"[0-9]{3}")
#: End of a kernel's release: ``6.8.0-88-generic``, ``6.8.0-1040-aws``, ``6.1.0-40-cloud-amd64``.
_FLAVOUR = re.compile(r"-[0-9]+-(?P<flavour>[a-z][a-z0-9-]*)$|^[^-]+-(?P<debian>[a-z][a-z0-9-]*)$")
#: Whatever belongs to one driver and has to stay of one version. Not the toolkit, which fits every driver.
_OF_DRIVER = re.compile(
    r"(?:nvidia-(?!container)|libnvidia-(?!container)|linux-(?:modules|objects|signatures)-nvidia-|cuda-drivers|"
    r"libcuda1|libcudadebugger1|libnvcuvid1|libnvoptix1|firmware-nvidia|xserver-xorg-video-nvidia)[a-z0-9.+-]*"
)


@dataclass(frozen=True)
class Wanted:
    """A task's options."""

    driver: Presence = "present"
    driver_branch: str = "580"
    hold: bool = True
    #: Whether a host without a card is prepared all the same, as for an image of a disk.
    without_card: bool = False
    request: Asked = "auto"
    #: Whether the engine is told of the runtime ``nvidia``, for services that name it.
    runtime: bool = True
    #: How often containers are asked whether they still have their GPU; 0 asks never.
    guard_seconds: int = 60
    prefix: str = "modelyard"
    directory: str = "/opt/modelyard"
    daemon_file: str = "/etc/docker/daemon.json"
    driver_repository: str = DRIVER_REPOSITORY
    toolkit_repository: str = TOOLKIT_REPOSITORY
    state: Literal["present", "absent"] = "present"


@dataclass(frozen=True)
class System:
    """What decides which packages fit a host."""

    distribution: str
    codename: str
    #: Release of the kernel that runs.
    kernel: str
    #: As dpkg has it.
    architecture: str
    is_secure_boot: bool = False


@dataclass(frozen=True)
class Repository:
    """A repository of apt with the one key that may sign it."""

    #: The file for apt, and its text.
    path: str
    text: str
    key_path: str
    key_address: str
    fingerprint: str


@dataclass(frozen=True)
class DriverPackages:
    """What makes a driver on one host; ``repository`` is None where its own sources have all."""

    #: Pins the branch, so that it is installed first.
    pin: str
    names: tuple[str, ...]
    repository: Repository | None
    #: Further packages that may not move alone.
    held: tuple[str, ...] = ()


#: Debian's releases to folder, key and fingerprint in NVIDIA's repository, as known in 2026-11.
_DEBIAN = {
    "bookworm": ("debian12", "3bf863cc.pub", "EB693B3035CD5710E231E123A4B469963BF863CC"),
    "trixie": ("debian13", "8793F200.pub", "02182E60104FCDC26EAE1B8597A5D4CB8793F200"),
}
#: Ubuntu's releases to the first kernel of each and to their number, which later kernels are called after.
_UBUNTU = {"jammy": ("5.15.", "22.04"), "noble": ("6.8.", "24.04")}
_FOLDERS = {"amd64": "x86_64", "arm64": "sbsa"}


def toolkit_repository(address: str) -> Repository:
    """Return NVIDIA's repository of the container toolkit, one for all distributions."""
    return Repository(
        "/etc/apt/sources.list.d/modelyard-nvidia-toolkit.sources",
        f"Types: deb\nURIs: {address}/$(ARCH)/\nSuites: /\nSigned-By: {_TOOLKIT_KEY}\n",
        _TOOLKIT_KEY,
        f"{address.removesuffix('/stable/deb')}/gpgkey",
        "C95B321B61E88C1809C4F759DDCAE044F796ECB0",
    )


def driver_packages(wanted: Wanted, machine: System) -> DriverPackages:
    """Return the packages of a driver with open modules, for compute alone.

    Ubuntu has them itself, signed for Secure Boot too; for Debian they are NVIDIA's, pinned to the branch.

    :raises PlatformError: it is none of the distributions or branches that are known.
    """
    if not _BRANCH.fullmatch(wanted.driver_branch):
        raise PlatformError(
            f"Cannot install NVIDIA's driver: {wanted.driver_branch!r} is no branch of it; give its first number, such "
            "as 580."
        )
    if machine.distribution == "ubuntu" and machine.codename in _UBUNTU:
        return _of_ubuntu(wanted.driver_branch, machine)
    if machine.distribution == "debian" and machine.codename in _DEBIAN and machine.architecture in _FOLDERS:
        return _of_debian(wanted, machine)
    raise PlatformError(
        f"Cannot install NVIDIA's driver: this is '{machine.distribution} {machine.codename}' on "
        f"{machine.architecture}, known are Debian 12 and 13 and Ubuntu 22.04 and 24.04; install a driver "
        "yourself, then run again."
    )


def _of_ubuntu(branch: str, machine: System) -> DriverPackages:
    flavour = flavour_of(machine.kernel)
    first, number = _UBUNTU[machine.codename]
    if flavour == "generic" and not machine.kernel.startswith(first):
        flavour = f"generic-hwe-{number}"
    tools = f"nvidia-utils-{branch}-server"
    if machine.is_secure_boot:
        # Modules that Ubuntu signed are each for one kernel: with the driver the kernel has to stay as well.
        modules = f"linux-modules-nvidia-{branch}-server-open-{flavour}"
        held = (f"linux-{flavour}", f"linux-image-{flavour}", f"linux-headers-{flavour}")
        return DriverPackages("", (modules, f"nvidia-headless-no-dkms-{branch}-server-open", tools), None, held)
    # Of the kernel that runs, and of those to come.
    headers = (f"linux-headers-{machine.kernel}", f"linux-headers-{flavour}")
    return DriverPackages("", (*headers, f"nvidia-headless-{branch}-server-open", tools), None)


def _of_debian(wanted: Wanted, machine: System) -> DriverPackages:
    release, key, fingerprint = _DEBIAN[machine.codename]
    address = f"{wanted.driver_repository}/{release}/{_FOLDERS[machine.architecture]}"
    repository = Repository(
        "/etc/apt/sources.list.d/modelyard-nvidia-driver.sources",
        f"Types: deb\nURIs: {address}/\nSuites: /\nSigned-By: {_DRIVER_KEY}\n",
        _DRIVER_KEY,
        f"{address}/{key}",
        fingerprint,
    )
    headers = f"linux-headers-{flavour_of(machine.kernel)}"
    names = (headers, "nvidia-kernel-open-dkms", "nvidia-driver-cuda")
    return DriverPackages(f"nvidia-driver-pinning-{wanted.driver_branch}", names, repository)


def flavour_of(kernel: str) -> str:
    """Return the flavour of a kernel, after which its packages are called.

    :raises PlatformError: the release has none, as of a kernel that somebody built.
    """
    found = _FLAVOUR.search(kernel)
    if found is None:
        raise PlatformError(
            f"Cannot install NVIDIA's driver: the kernel {kernel} is none of the distribution's; install a driver "
            "yourself, then run again."
        )
    return found["flavour"] or found["debian"]


def is_of_driver(package: str) -> bool:
    """Tell whether a package is a part of a driver."""
    return _OF_DRIVER.fullmatch(package) is not None


def unit_paths(wanted: Wanted) -> Mapping[str, str]:
    """Return the files that this module owns, by what they are."""
    units = "/etc/systemd/system"
    return {
        "cdi": f"{units}/modelyard-gpu-cdi.service",
        "guard": f"{units}/{wanted.prefix}-gpu-guard.service",
        "timer": f"{units}/{wanted.prefix}-gpu-guard.timer",
        "program": f"/usr/local/sbin/{wanted.prefix}-gpu-guard",
    }
