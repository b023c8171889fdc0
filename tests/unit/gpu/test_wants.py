# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What services ask for, held against hosts that were written after public outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.answer import to_brief
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Facts
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.wants import Unmet, find_unmet, parse_wants
from support.gpu_hosts import FOLDER, DescribedHost, read_description

#: Of the A100 in MIG mode.
INSTANCE = "MIG-c9f2a1f0-6f0e-5bb6-8d2e-0a8d0c6a3d11"


def host(name: str, folder: Path) -> Facts:
    [path] = [path for path in FOLDER.glob("*/*.yml") if path.stem == name]
    return observe(DescribedHost(folder, read_description(path)), "/etc/docker/daemon.json")


def ask(facts: Facts, *, installs_driver: bool = False, **said: Any) -> Unmet:
    return find_unmet(parse_wants([{"service": "chat", "gpus": ["0"], **said}]), facts, installs_driver=installs_driver)


def test_what_the_host_has_is_given(tmp_path: Path) -> None:
    facts = host("two_rtx_4090", tmp_path)
    assert ask(facts, gpus=["0", "1"], vram_mib={"0": 24000, "1": 24564}) == Unmet()
    assert ask(facts, gpus=["all"], vram_mib={"all": 24000}) == Unmet()
    assert ask(facts, gpus=[facts.smi.gpus[1].uuid]) == Unmet()


def test_a_gpu_that_is_not_there_is_refused_also_where_the_cpu_would_do(tmp_path: Path) -> None:
    assert ask(host("two_rtx_4090", tmp_path), gpus=["0", "2"], fallback=True) == Unmet((
        ("Cannot give GPU 2 to service 'chat': this host has 0 (NVIDIA GeForce RTX 4090), 1 (NVIDIA GeForce RTX 4090); "
         "name one of these, or take the service to another host."),
    ))  # fmt: skip


def test_more_memory_than_the_card_has_is_refused(tmp_path: Path) -> None:
    facts = host("t4", tmp_path)
    text = (
        "Cannot give 15361 MiB of GPU 0 to service 'chat': it has 15360 MiB; take a smaller model or less 'vram_mib', "
        "or another GPU."
    )
    assert ask(facts, vram_mib={"0": 15361}) == Unmet((text,))
    assert ask(facts, gpus=["all"], vram_mib={"all": 15361}) == Unmet((text,))
    assert ask(facts, vram_mib={"0": 15360}) == Unmet()


def test_a_mig_instance_has_memory_of_its_own(tmp_path: Path) -> None:
    facts = host("a100_mig", tmp_path)
    instance = facts.smi.gpus[0].mig_instances[0]
    name = f"0:{instance.index}"
    assert instance.memory_total_bytes is not None
    mib = instance.memory_total_bytes // 2**20
    assert ask(facts, gpus=[name, instance.uuid], vram_mib={name: mib, instance.uuid: mib}) == Unmet()
    [text] = ask(facts, gpus=["0"], vram_mib={"0": 40960}).refused[:1]
    assert text.startswith(f"Cannot give 40960 MiB of GPU {name} to service 'chat': it has {mib} MiB; ")
    [text] = ask(facts, gpus=[name], vram_mib={name: mib + 1}).refused
    assert text.startswith(f"Cannot give {mib + 1} MiB of GPU {name} to service 'chat': it has {mib} MiB; ")


def test_without_a_card_only_who_may_falls_back(tmp_path: Path) -> None:
    facts = host("bare", tmp_path)
    assert ask(facts, installs_driver=True) == Unmet((
        ("Cannot give a GPU to service 'chat': this host has no card of NVIDIA; take it to a host that has one, or let "
         "the service fall back to the CPU."),
    ))  # fmt: skip
    assert ask(facts, fallback=True) == Unmet(
        noticed=("On the CPU of this host, as it may: chat. This host has no card of NVIDIA.",)
    )


def test_a_driver_that_does_not_work_is_told_with_what_to_do(tmp_path: Path) -> None:
    facts = host("an_unattended_upgrade_left_the_old_module_loaded", tmp_path)
    [text] = ask(facts).refused
    assert text.startswith(
        "Cannot give a GPU to service 'chat': cannot use any GPU: the driver's libraries have version"
    )
    assert text.endswith(", or let the service fall back to the CPU.")
    assert "reboot the host" in text


def test_before_the_driver_is_there_only_the_number_of_cards_counts(tmp_path: Path) -> None:
    facts = host("a_card_without_a_driver", tmp_path)
    [refused] = ask(facts).refused
    assert refused.startswith("Cannot give a GPU to service 'chat': cannot use the card at 0000:00:1e.0: no driver")
    told = (
        "What services ask of GPUs (chat) is held against their memory when the driver is there, which role nvidia "
        "installs."
    )
    assert ask(facts, installs_driver=True, vram_mib={"0": 10**9}) == Unmet((), (told,))
    assert ask(facts, installs_driver=True, gpus=["1"]) == Unmet((
        ("Cannot give GPU 1 to service 'chat': this host has 1 card, counted from 0; name one of these, or take the "
         "service to another host."),
    ), (told,))  # fmt: skip


def test_who_asks_for_nothing_gets_no_answer(tmp_path: Path) -> None:
    assert ask(host("bare", tmp_path), gpus=[]) == Unmet()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"gpus": ["0"]}, "service '' asks of GPUs: it has 'service', 'gpus', a list, and 'vram_mib', a mapping"),
        ({"service": "a", "gpus": "0"},
         "service 'a' asks of GPUs: it has 'service', 'gpus', a list, and 'vram_mib', a mapping"),
        ({"service": "a", "gpus": ["0"], "vram_mib": {"1": 5}},
         "service 'a' asks of GPUs: 'vram_mib' has 1, 'gpus' has not"),
    ],
    ids=["no name", "no list", "memory of another GPU"],
)  # fmt: skip
def test_a_need_of_another_form_is_refused(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(PlatformError) as refused:
        parse_wants([entry])
    assert re.fullmatch(rf"Cannot read what {re.escape(said)}; (correct it|name each in both)\.", str(refused.value))


def test_roles_go_by_a_few_values(tmp_path: Path) -> None:
    assert to_brief(host("t4", tmp_path)) == {
        "present": True,
        "request": "cdi",
        "gpus": [
            {"index": 0, "uuid": "GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21", "model": "Tesla T4", "memory_mib": 15360}
        ],
        "names": {"all": ["0"], "0": ["0"], "GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21": ["0"]},
        "memory_mib": {"0": 15360},
    }
