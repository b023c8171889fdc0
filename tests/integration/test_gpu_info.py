# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module on this machine, and on this machine with a card staged: its own mounts hide the bus and the programs.

No engine is asked and nothing outside the module's own mount namespace changes.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.gpu_hosts import FOLDER
from support.modules import HOST_PYTHON, run_module

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
VERSION = "550.163.01"
#: What the module sees in place of the machine's own.
MOUNTS = {"bus": "/sys/bus/pci/devices", "modules": "/sys/module", "programs": "/usr/local/sbin"}


def write(path: Path, text: str, *, is_program: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if is_program:
        path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """Return a folder with a T4, its loaded module and its programs."""
    card = tmp_path / "bus" / "0000:00:1e.0"
    for name, text in {"vendor": "0x10de\n", "class": "0x030200\n", "device": "0x1eb8\n"}.items():
        write(card / name, text)
    (card / "driver").symlink_to("../../bus/pci/drivers/nvidia")
    write(tmp_path / "modules/nvidia/version", f"{VERSION}\n")
    xml = FOLDER / "outputs" / "t4.xml"
    programs = {
        "nvidia-smi": f"exec cat {xml}",
        "modinfo": f"echo 'version: {VERSION}'; echo 'license: NVIDIA'",
        "nvidia-ctk": "echo NVIDIA Container Toolkit CLI version 1.17.8",
        "journalctl": "exit 1",
        "dmesg": "echo '2026-11-21T10:00:00,000000+00:00 NVRM: Xid (PCI:0000:00:1e): 13, Graphics Exception'",
    }
    for name, body in programs.items():
        write(tmp_path / "programs" / name, f"#!/bin/sh\n{body}\n", is_program=True)
    mounts = "; ".join(f"mount --bind {tmp_path}/{name} {place}" for name, place in MOUNTS.items())
    script = f'exec unshare --mount --propagation private sh -euc \'{mounts}; exec {HOST_PYTHON} "$@"\' sh "$@"'
    write(tmp_path / "python", f"#!/bin/sh\n{script}\n", is_program=True)
    return tmp_path


def look(stage: Path, **params: Any) -> Mapping[str, Any]:
    result = run_module("gpu_info", params, environment=NO_ENGINE, python=str(stage / "python"))
    assert not result.failed, result.msg or result.stderr
    assert not result.changed
    return result.values


def codes(told: Mapping[str, Any]) -> dict[str, str]:
    return {finding["code"]: finding["severity"] for finding in told["findings"]}


def test_this_machine_is_looked_at_alike_with_and_without_check_mode() -> None:
    bus = Path("/sys/bus/pci/devices")
    expected = [
        card.name for card in sorted(bus.iterdir())
        if (card / "vendor").read_text(encoding="ascii").strip() == "0x10de"
        and (card / "class").read_text(encoding="ascii").startswith("0x03")
    ]  # fmt: skip
    for check in (True, False):
        result = run_module("gpu_info", {}, check=check, environment=NO_ENGINE)
        assert not result.failed, result.msg or result.stderr
        assert not result.changed
        assert [card["pci_address"] for card in result["cards"]] == expected
        assert result["present"] == bool(expected)


def test_a_card_is_told_by_the_programs_of_the_host(stage: Path) -> None:
    told = look(stage)
    assert [(gpu["model"], gpu["memory_total_bytes"]) for gpu in told["gpus"]] == [("Tesla T4", 15360 * 1024**2)]
    assert told["cards"][0]["kernel_driver"] == "nvidia"
    assert told["driver"]["loaded_version"] == told["driver"]["module_version"] == VERSION
    assert told["toolkit"]["version"] == "1.17.8"
    assert [(xid["code"], xid["last_at"]) for xid in told["xids"]] == [(13, "2026-11-21T10:00:00Z")]
    assert codes(told)["xid"] == "info"


def test_a_driver_that_never_answers_holds_the_module_no_longer_than_it_may_wait(stage: Path) -> None:
    write(stage / "programs/nvidia-smi", "#!/bin/sh\ntrap '' TERM INT HUP\nsleep 300 & wait\n", is_program=True)
    start = time.monotonic()
    told = look(stage, wait_seconds=2)
    assert time.monotonic() - start < 30
    assert told["driver"]["nvidia_smi"]["state"] == "late"
    assert codes(told)["smi_late"] == "error"
    assert not told["good"]


def test_a_card_whose_module_is_not_loaded_stays_so(stage: Path) -> None:
    (stage / "modules/nvidia/version").unlink()
    (stage / "modules/nvidia").rmdir()
    asked = stage / "asked"
    write(stage / "programs/nvidia-smi", f"#!/bin/sh\ntouch {asked}\n", is_program=True)
    told = look(stage)
    assert codes(told)["module_not_loaded"] == "error"
    assert not asked.exists()
