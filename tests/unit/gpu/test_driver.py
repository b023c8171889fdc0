# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.driver import (
    parse_modinfo,
    parse_secure_boot,
    parse_version_file,
)
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Driver, Module

OPEN = """\
NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  615.71.09  Release Build  (notroot@)  Sat Oct  3 18:52 2026
GCC version:  Selected multilib: .;@m64
"""
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  510.54  Wed Apr  1 20:04:33 UTC 2020\n"
UNSIGNED = """\
filename:       /lib/modules/6.1.0/updates/dkms/nvidia-current.ko
version:        550.163.01
license:        NVIDIA
parm:           NVreg_DeviceFileMode:int
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROPRIETARY, ("510.54", "proprietary")),
        (OPEN, ("615.71.09", "open")),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  595.80  Release Build\n", ("595.80", "open")),
        ("GCC version:  gcc version 11.4.0\n", ("", "")),
        ("NVRM version: something new\n", ("", "")),
        ("", ("", "")),
    ],
    ids=["proprietary, two parts", "open", "open on ARM", "no version", "another form", "nothing"],
)
def test_the_loaded_module_has_version_and_kind(text: str, expected: tuple[str, str]) -> None:
    assert parse_version_file(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            UNSIGNED,
            Module("550.163.01", "/lib/modules/6.1.0/updates/dkms/nvidia-current.ko", "proprietary", is_signed=False),
        ),
        (
            "version:        580.95.05\nlicense:        Dual MIT/GPL\nsigner:         A key\n",
            Module("580.95.05", "", "open", is_signed=True),
        ),
        ("filename:       (builtin)\n", None),
    ],
    ids=["not signed", "signed", "no version"],
)
def test_the_module_on_disk(text: str, expected: Module | None) -> None:
    assert parse_modinfo(text) == expected


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(bytes([6, 0, 0, 0, 1]), True), (bytes([6, 0, 0, 0, 0]), False), (None, None), (b"\x01", None)],
    ids=["on", "off", "no UEFI", "another form"],
)
def test_secure_boot(variable: bytes | None, expected: bool | None) -> None:
    assert parse_secure_boot(variable) is expected


@pytest.mark.parametrize(
    ("user", "loaded", "expected"),
    [("550.163", "550.163", False), ("595.80", "580.95.05", True), ("", "580.95.05", False), ("595.80", "", False)],
)
def test_what_is_not_known_is_no_mismatch(user: str, loaded: str, expected: bool) -> None:
    assert Driver(user_space_version=user, loaded_version=loaded, is_loaded=bool(loaded)).is_mismatched is expected


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (Driver(loaded_version="580.95.05", is_loaded=True, module=Module("580.95.05")), False),
        (Driver(loaded_version="580.95.05", is_loaded=True, module=Module("595.80")), True),
        (Driver(loaded_version="580.95.05", is_loaded=True, module=None), False),
        (Driver(loaded_version="580.95.05", is_loaded=True, reboot_packages=("nvidia-dkms-580",)), True),
        (Driver(is_loaded=False, module=Module("595.80"), reboot_packages=("nvidia-dkms-580",)), False),
        (Driver(is_loaded=True, module=Module("595.80")), False),
    ],
    ids=["the same", "newer on disk", "nobody knows what is on disk", "asked for", "not loaded", "version not known"],
)
def test_a_reboot_is_pending(driver: Driver, expected: bool) -> None:
    assert driver.is_reboot_pending is expected
