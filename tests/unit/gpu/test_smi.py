# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.pci import normalise_address
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.smi import parse_answer, parse_bytes, parse_list
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed
from support.gpu_hosts import FOLDER

T4 = (FOLDER / "outputs" / "t4.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("40960 MiB", 40960 * 1024**2), ("0 MiB", 0), ("80 GiB", 80 * 1024**3), ("512 KiB", 524288), ("N/A", None),
        ("GPU is lost", None), ("", None), ("40960", None), ("-1 MiB", None), ("1.5 GiB", None),
        ("9" * 5000 + " MiB", None),
    ],
)  # fmt: skip
def test_memory_is_bytes_or_unknown(text: str, expected: int | None) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000:3b:00", "0000:3b:00.0"),
        ("00010000:01:00.0", "10000:01:00.0"),
        ("0000:3b:00.1", "0000:3b:00.1"),
        (" 0000:3B:00.0 ", "0000:3b:00.0"),
        ("something else", "something else"),
    ],
)
def test_addresses_are_those_of_sysfs(text: str, expected: str) -> None:
    assert normalise_address(text) == expected


def test_warnings_before_the_document_do_no_harm() -> None:
    warning = "WARNING: infoROM is corrupted at gpu 0000:00:1E.0\n"
    smi = parse_answer(Completed(14, f"{warning}{T4}", ""))
    assert (smi.state, smi.exit_code, [gpu.model for gpu in smi.gpus]) == ("answered", 14, ["Tesla T4"])
    assert smi.text == "WARNING: infoROM is corrupted at gpu 0000:00:1E.0"
    assert parse_answer(Completed(0, T4, "")).text == ""


def test_half_a_document_is_a_failure_and_no_half_truth() -> None:
    smi = parse_answer(Completed(0, T4[: len(T4) // 2], ""))
    assert (smi.state, smi.gpus) == ("failed", ())
    assert smi.text.startswith("its XML is damaged (")


def test_a_document_without_a_gpu_and_without_an_error_is_an_answer() -> None:
    smi = parse_answer(Completed(0, "<nvidia_smi_log><attached_gpus>0</attached_gpus></nvidia_smi_log>", ""))
    assert (smi.state, smi.gpus) == ("answered", ())


def test_a_document_without_a_gpu_and_an_error_is_a_failure() -> None:
    smi = parse_answer(Completed(6, "<nvidia_smi_log></nvidia_smi_log>", ""))
    assert (smi.state, smi.exit_code, smi.text) == ("failed", 6, "it lists no GPU")


def test_what_it_says_is_kept_short_and_in_one_line() -> None:
    smi = parse_answer(Completed(255, "Unknown Error\n" * 100, "and more"))
    assert "\n" not in smi.text
    assert len(smi.text) == 300


def test_entities_of_a_document_are_not_expanded() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "yy">]><nvidia_smi_log><driver_version>&x;</driver_version></nvidia_smi_log>'
    assert parse_answer(Completed(0, bomb, "")).state == "failed"


def test_the_library_that_does_not_fit_names_itself() -> None:
    said = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.173\n"
    assert parse_answer(Completed(18, said, "")).library_version == "580.173"


def test_instances_are_found_by_their_gpu() -> None:
    text = (
        "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)\n"
        "  MIG 1g.10gb+me  Device  0: (UUID: MIG-1111)\n"
        "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-2222)\n"
        "  MIG 1c.3g.40gb  Device  1: (UUID: MIG-GPU-bbbb/2/0)\n"
    )
    assert parse_list(text) == {
        ("GPU-aaaa", 0): ("1g.10gb+me", "MIG-1111"),
        ("GPU-bbbb", 0): ("3g.40gb", "MIG-2222"),
        ("GPU-bbbb", 1): ("1c.3g.40gb", "MIG-GPU-bbbb/2/0"),
    }
