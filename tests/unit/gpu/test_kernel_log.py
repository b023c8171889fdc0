# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Xid
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.kernel_log import (
    judge_entries,
    parse_journal,
    parse_ring_buffer,
)
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.xids import MEANINGS, explain


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off", (79, "0000:3b:00.0", "GPU has fallen off")),
        ("NVRM: Xid (0000:01:00): 31, Ch 0000000b, intr 10000000", (31, "0000:01:00.0", "Ch 0000000b, intr 10000000")),
        ("NVRM: Xid (PCI:0000:06:00): 45", (45, "0000:06:00.0", "")),
        ("NVRM: Xid (PCI:0000:06:00): 119, pid=1,\n name=a", (119, "0000:06:00.0", "pid=1, name=a")),
    ],
    ids=["of today", "of an old driver", "without a text", "in two lines"],
)  # fmt: skip
def test_an_error_has_code_card_and_text(message: str, expected: tuple[int, str, str]) -> None:
    (xid,) = judge_entries([("2026-11-21T10:00:00Z", message)]).xids
    assert (xid.code, xid.pci_address, xid.last_message) == expected


def test_other_words_of_the_driver_are_no_errors() -> None:
    log = judge_entries([("", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module"), ("", "NVRM: GPU Xid: 79")])
    assert log.is_readable
    assert not any((log.xids, log.wanted_kinds, log.failed_cards, log.is_module_rejected))


def test_the_last_one_counts_and_a_missing_time_keeps_the_one_before() -> None:
    said = "NVRM: Xid (PCI:0000:3b:00): 31, {}"
    log = judge_entries([("2026-11-21T10:00:00Z", said.format("a")), ("", said.format("b" * 500))])
    assert log.xids == (Xid(31, "0000:3b:00.0", 2, "b" * 200, "2026-11-21T10:00:00Z"),)


def test_journal_entries_may_be_bytes_and_what_is_no_entry_is_left_out() -> None:
    lines = [
        json.dumps({"__REALTIME_TIMESTAMP": "1795256529123456", "MESSAGE": "a"}),
        json.dumps({"__REALTIME_TIMESTAMP": "1795256529123456", "MESSAGE": list(b"\xffb")}),
        json.dumps({"MESSAGE": "c", "__REALTIME_TIMESTAMP": "soon"}),
        json.dumps({"MESSAGE": None}),
        json.dumps(["MESSAGE"]),
        "-- No entries --",
    ]
    time = "2026-11-21T10:22:09Z"
    assert list(parse_journal("\n".join(lines))) == [(time, "a"), (time, "\ufffdb"), ("", "c")]


def test_the_ring_buffer_tells_time_with_its_zone() -> None:
    text = "2026-11-21T10:05:00,000001+01:00 NVRM: a\n  NVRM: b\n"
    assert list(parse_ring_buffer(text)) == [("2026-11-21T09:05:00Z", "NVRM: a"), ("", "  NVRM: b")]


@pytest.mark.parametrize("kind", ["unsigned module", "module with unavailable key"])
def test_a_rejected_module_is_noticed(kind: str) -> None:
    assert judge_entries([("", f"Loading of {kind} is rejected")]).is_module_rejected


def test_times_that_are_none_are_left_out() -> None:
    lines = [json.dumps({"__REALTIME_TIMESTAMP": time, "MESSAGE": "a"}) for time in ("9" * 40, None, 5, "-1")]
    assert [time for time, _found in parse_journal("\n".join(lines))] == [
        "",
        "",
        "1970-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
    ]


@pytest.mark.parametrize("joint", ["|", "\n"], ids=["an entry a line", "one entry"])
def test_cards_that_are_too_old_are_told_by_model_and_branch(joint: str) -> None:
    said = joint.join(
        [
            "NVRM: The NVIDIA NVIDIA GeForce GTX 1060 6GB GPU installed in this system is",
            "NVRM:  supported through the NVIDIA 580.xx Legacy drivers. Please",
            "NVRM: The NVIDIA Quadro FX 550 GPU installed in this system is",
            "               NVRM:  supported through the NVIDIA 304.xx Legacy drivers. Please",
        ]
    )
    log = judge_entries(("", entry) for entry in said.split("|"))
    assert log.legacy_cards == {"GeForce GTX 1060 6GB": "580", "Quadro FX 550": "304"}


def test_the_kind_of_module_that_a_card_needs_is_of_that_card() -> None:
    said = (
        "NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:1b80) installed in this system|"
        "NVRM: is not supported by open nvidia.ko because it does not include the|"
        "NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:2c58)\n"
        "NVRM: installed in this system requires use of the NVIDIA open kernel modules."
    )
    log = judge_entries(("", entry) for entry in said.split("|"))
    assert log.wanted_kinds == {"0000:01:00.0": "proprietary", "0000:02:00.0": "open"}


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_every_meaning_is_a_clause_of_a_sentence(code: int) -> None:
    meaning = explain(Xid(code, "0000:3b:00.0", 1, ""))
    for text in (meaning.text, meaning.fix.format(address="0000:3b:00.0")):
        assert text[0].islower()
        assert not text.endswith(".")
        assert ";" not in text


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ("GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)", "error"),
        ("GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)", "info"),
        ("in another form", "warning"),
    ],
)
def test_a_changed_recovery_action_is_judged_by_what_it_is_now(message: str, severity: str) -> None:
    assert explain(Xid(154, "0000:3b:00.0", 1, message)).severity == severity
