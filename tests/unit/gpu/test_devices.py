# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of the GPUs of hosts written after public outputs, and the room that services have on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.answer import to_brief
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.devices import memory_of, names_of
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Facts
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.room import plan_room
from support.gpu_hosts import FOLDER, DescribedHost, read_description

HALVES = ("MIG-4e1b7c52-8d06-5f93-9a2c-60d3e8f1b745", "MIG-91d0f3a6-27c8-5b4e-8e15-cf72a94d3068")


def host(name: str, folder: Path) -> Facts:
    [path] = FOLDER.glob(f"*/{name}.yml")
    return observe(DescribedHost(folder, read_description(path)), "/etc/docker/daemon.json")


def uuids(facts: Facts) -> list[str]:
    return [gpu.uuid for gpu in facts.smi.gpus]


def room(
    facts: Facts, *wanted: dict[str, int], limits: dict[str, Any] | None = None, **more: Any
) -> tuple[dict[str, int], list[dict[str, int]]]:
    """Return the budget, and what each of the services takes that want so much."""
    services = [{"name": f"s{number}", "vram_mib": mib, **more} for number, mib in enumerate(wanted)]
    planned = plan_room(services, limits or {}, to_brief(facts))
    return planned["gpus"], [service["vram_mib"] for service in planned["services"]]


def test_a_card_has_its_index_and_its_uuid(tmp_path: Path) -> None:
    facts = host("two_rtx_4090", tmp_path)
    first, second = uuids(facts)
    assert names_of(facts.smi.gpus) == {"all": ["0", "1"], "0": ["0"], first: ["0"], "1": ["1"], second: ["1"]}
    assert memory_of(facts.smi.gpus) == {"0": 24564, "1": 24564}


def test_of_a_card_that_is_divided_only_the_instances_are_devices(tmp_path: Path) -> None:
    facts = host("a100_mig", tmp_path)
    both = ["0:0", "0:1"]
    assert names_of(facts.smi.gpus) == {
        "all": both, "0": both, uuids(facts)[0]: both,
        "0:0": ["0:0"], HALVES[0]: ["0:0"], "0:1": ["0:1"], HALVES[1]: ["0:1"],
    }  # fmt: skip
    assert memory_of(facts.smi.gpus) == {"0:0": 19968, "0:1": 19968}


def test_a_card_that_tells_nothing_has_its_index_alone(tmp_path: Path) -> None:
    [card] = host("t4", tmp_path).smi.gpus
    lost = replace(card, uuid="", memory_total_bytes=None)
    assert names_of([lost]) == {"all": ["0"], "0": ["0"]}
    assert memory_of([lost]) == {"0": None}


def test_one_card_by_two_names_is_there_once(tmp_path: Path) -> None:
    facts = host("two_rtx_4090", tmp_path)
    budget, taken = room(facts, {"0": 20000}, {uuids(facts)[0]: 10000}, {uuids(facts)[1]: 1})
    assert budget == {"0": 24564, "1": 24564}
    assert taken == [{"0": 20000}, {"0": 10000}, {"1": 1}]


def test_all_is_so_much_of_each(tmp_path: Path) -> None:
    facts = host("two_rtx_4090", tmp_path)
    assert room(facts, {"all": 24000}) == ({"0": 24564, "1": 24564}, [{"0": 24000, "1": 24000}])


def test_an_instance_has_memory_of_its_own_and_its_card_is_its_instances(tmp_path: Path) -> None:
    facts = host("a100_mig", tmp_path)
    assert room(facts, {"0:1": 5000}, {HALVES[1]: 6000}) == ({"0:1": 19968}, [{"0:1": 5000}, {"0:1": 6000}])
    assert room(facts, {"0": 7000}) == ({"0:0": 19968, "0:1": 19968}, [{"0:0": 7000, "0:1": 7000}])


def test_two_names_of_one_card_in_one_service_are_no_more_than_the_greater(tmp_path: Path) -> None:
    facts = host("t4", tmp_path)
    assert room(facts, {"0": 4000, uuids(facts)[0]: 5000})[1] == [{"0": 5000}]


def test_what_is_allowed_counts_by_any_name_and_the_lower_of_two(tmp_path: Path) -> None:
    facts = host("two_rtx_4090", tmp_path)
    second = uuids(facts)[1]
    assert room(facts, {"0": 1}, limits={second: 8000})[0] == {"0": 24564, "1": 8000}
    assert room(facts, limits={"all": 9000, second: "8000"})[0] == {"0": 9000, "1": 8000}
    assert room(facts, {"0": 1}, limits={"0": 40000})[0] == {"0": 40000}


def test_where_nobody_has_looked_names_stay_as_they_are() -> None:
    services = [
        {"name": "a", "vram_mib": {"0": 10, "GPU-12345678": 20}},
        {"name": "b"},
        {"name": "c", "vram_mib": None},
    ]
    assert plan_room(services, {"0": 100}, {}) == {"gpus": {"0": 100}, "services": services}


def test_who_may_do_without_takes_nothing_of_what_is_not_there(tmp_path: Path) -> None:
    assert room(host("bare", tmp_path), {"0": 10}, cpu_fallback=True) == ({}, [{}])
    there = host("t4", tmp_path)
    assert room(there, {"0": 10, "1": 10}, cpu_fallback=True) == ({"0": 15360}, [{"0": 10}])
    assert room(host("bare", tmp_path), {"0": 10}, cpu_fallback=True, limits={"0": 5}) == ({"0": 5}, [{"0": 10}])


def test_memory_that_the_driver_does_not_tell_has_to_be_said(tmp_path: Path) -> None:
    facts = host("t4", tmp_path)
    [card] = facts.smi.gpus
    silent = replace(facts, smi=replace(facts.smi, gpus=(replace(card, memory_total_bytes=None),)))
    with pytest.raises(PlatformError) as refused:
        room(silent, {"0": 10})
    assert str(refused.value) == (
        "Cannot keep services within the memory of GPU 0: its driver does not tell how much it has; say it in "
        "gateway_gpu_memory_mib."
    )
    assert room(silent, {card.uuid: 10}, limits={"0": 100}) == ({"0": 100}, [{"0": 10}])
    assert room(silent, {}) == ({}, [{}])


@pytest.mark.parametrize("limits", [{"0": "much"}, {"0": None}, {"0": [1]}])
def test_what_is_no_number_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(PlatformError) as refused:
        plan_room([], limits, {})
    assert str(refused.value) == (
        f"Cannot keep services within the memory of GPUs: gateway_gpu_memory_mib is {limits!r}; give MiB by GPU, such "
        "as {'0': 24000}."
    )
