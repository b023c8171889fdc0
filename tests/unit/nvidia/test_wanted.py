# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which packages make a driver on which host, and which of all packages belong to one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.wanted import (
    System,
    Wanted,
    driver_packages,
    flavour_of,
    is_of_driver,
    toolkit_repository,
    unit_paths,
)

BOOKWORM = System("debian", "bookworm", "6.1.0-40-cloud-amd64", "amd64")
TRIXIE = System("debian", "trixie", "6.12.48+deb13-amd64", "arm64")
KNOWN = "known are Debian 12 and 13 and Ubuntu 22.04 and 24.04; install a driver yourself, then run again."
NOBLE = System("ubuntu", "noble", "6.8.0-1040-aws", "amd64")


def test_debian_takes_open_modules_of_one_branch_from_nvidia() -> None:
    found = driver_packages(Wanted(), BOOKWORM)
    assert found.pin == "nvidia-driver-pinning-580"
    assert found.names == ("linux-headers-cloud-amd64", "nvidia-kernel-open-dkms", "nvidia-driver-cuda")
    assert found.repository is not None
    assert found.repository.fingerprint == "EB693B3035CD5710E231E123A4B469963BF863CC"
    assert found.repository.text == (
        "Types: deb\nURIs: https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/\nSuites: /\n"
        "Signed-By: /etc/apt/keyrings/modelyard-nvidia-driver.asc\n"
    )


def test_debian_13_has_a_key_of_its_own_and_may_have_a_mirror() -> None:
    found = driver_packages(Wanted(driver_repository="https://mirror.example.org/cuda", driver_branch="595"), TRIXIE)
    assert found.repository is not None
    assert found.repository.key_address == "https://mirror.example.org/cuda/debian13/sbsa/8793F200.pub"
    assert found.repository.fingerprint.endswith("8793F200")
    assert (found.pin, found.names[0]) == ("nvidia-driver-pinning-595", "linux-headers-amd64")


def test_ubuntu_has_its_own_driver() -> None:
    found = driver_packages(Wanted(driver_branch="570"), NOBLE)
    assert (found.repository, found.pin, found.held) == (None, "", ())
    assert found.names == (
        "linux-headers-6.8.0-1040-aws", "linux-headers-aws", "nvidia-headless-570-server-open",
        "nvidia-utils-570-server",
    )  # fmt: skip


def test_later_kernels_of_ubuntu_have_names_of_their_own() -> None:
    later = System("ubuntu", "noble", "6.14.0-33-generic", "amd64")
    assert driver_packages(Wanted(), later).names[1] == "linux-headers-generic-hwe-24.04"
    secure = driver_packages(Wanted(), replace(later, is_secure_boot=True))
    assert secure.names[0] == "linux-modules-nvidia-580-server-open-generic-hwe-24.04"
    assert secure.held[1] == "linux-image-generic-hwe-24.04"


def test_under_secure_boot_ubuntus_signed_modules_hold_the_kernel_with_them() -> None:
    found = driver_packages(Wanted(), System("ubuntu", "jammy", "5.15.0-160-generic", "amd64", is_secure_boot=True))
    assert found.names == (
        "linux-modules-nvidia-580-server-open-generic", "nvidia-headless-no-dkms-580-server-open",
        "nvidia-utils-580-server",
    )  # fmt: skip
    assert found.held == ("linux-generic", "linux-image-generic", "linux-headers-generic")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("6.1.0-40-cloud-amd64", "cloud-amd64"), ("6.1.0-40-amd64", "amd64"), ("6.12.48+deb13-amd64", "amd64"),
        ("6.12.48+deb13-cloud-amd64", "cloud-amd64"), ("6.8.0-88-generic", "generic"), ("6.8.0-1040-aws", "aws"),
    ],
)  # fmt: skip
def test_the_kernel_says_its_flavour(kernel: str, expected: str) -> None:
    assert flavour_of(kernel) == expected


@pytest.mark.parametrize("kernel", ["6.18.44", "6.1.0-40", ""])
def test_a_kernel_of_ones_own_is_refused(kernel: str) -> None:
    with pytest.raises(PlatformError) as refused:
        flavour_of(kernel)
    assert str(refused.value) == (
        f"Cannot install NVIDIA's driver: the kernel {kernel} is none of the distribution's; install a driver "
        "yourself, then run again."
    )


@pytest.mark.parametrize(
    ("wanted", "machine", "said"),
    [
        (Wanted(driver_branch="580.95"), NOBLE, "'580.95' is no branch of it; give its first number, such as 580."),
        (Wanted(driver_branch=""), NOBLE, "'' is no branch of it; give its first number, such as 580."),
        (Wanted(), System("fedora", "", "6.17.1-300.fc43.x86_64", "amd64"), f"this is 'fedora ' on amd64, {KNOWN}"),
        (Wanted(), System("debian", "trixie", "6.12.48+deb13-riscv64", "riscv64"),
         f"this is 'debian trixie' on riscv64, {KNOWN}"),
    ],
    ids=["a version", "nothing", "another distribution", "another machine"],
)  # fmt: skip
def test_what_cannot_be_installed_is_refused(wanted: Wanted, machine: System, said: str) -> None:
    with pytest.raises(PlatformError) as refused:
        driver_packages(wanted, machine)
    assert str(refused.value) == f"Cannot install NVIDIA's driver: {said}"


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("nvidia-driver-cuda", True), ("nvidia-kernel-open-dkms", True), ("libnvidia-ml1", True), ("libcuda1", True),
        ("linux-modules-nvidia-580-server-open-generic", True), ("nvidia-driver-pinning-580", True),
        ("nvidia-container-toolkit", False), ("nvidia-container-toolkit-base", False), ("cuda-toolkit-13-0", False),
        ("libnvidia-container1", False), ("linux-image-generic", False), ("libcudart12", False),
    ],
)  # fmt: skip
def test_a_package_belongs_to_a_driver_or_not(package: str, *, expected: bool) -> None:
    assert is_of_driver(package) is expected


def test_one_repository_has_the_toolkit_for_all() -> None:
    found = toolkit_repository("https://nvidia.github.io/libnvidia-container/stable/deb")
    assert found.key_address == "https://nvidia.github.io/libnvidia-container/gpgkey"
    assert "URIs: https://nvidia.github.io/libnvidia-container/stable/deb/$(ARCH)/\nSuites: /\n" in found.text


def test_two_sites_of_a_host_share_the_spec_and_have_a_guard_each() -> None:
    first, second = unit_paths(Wanted()), unit_paths(Wanted(prefix="staging"))
    assert {name for name in first if first[name] == second[name]} == {"cdi"}
