# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import RunningEngine
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.requests import (
    Form,
    choose_form,
    device_request,
)

UUID = "GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21"
MIG = "MIG-c9f2a1f0-6f0e-5bb6-8d2e-0a8d0c6a3d11"


def devices(gpus: list[str], form: Form) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = device_request(gpus, form)["deploy"]["resources"]["reservations"]["devices"]
    return found


@pytest.mark.parametrize(
    ("gpus", "form", "expected"),
    [
        (["0"], "nvidia", {"driver": "nvidia", "capabilities": ["gpu"], "device_ids": ["0"]}),
        (["1", UUID], "nvidia", {"driver": "nvidia", "capabilities": ["gpu"], "device_ids": ["1", UUID]}),
        (["all"], "nvidia", {"driver": "nvidia", "capabilities": ["gpu"], "count": "all"}),
        (["0"], "cdi", {"driver": "cdi", "capabilities": ["gpu"], "device_ids": ["nvidia.com/gpu=0"]}),
        (["0:1", MIG], "cdi",
         {"driver": "cdi", "capabilities": ["gpu"], "device_ids": ["nvidia.com/gpu=0:1", f"nvidia.com/gpu={MIG}"]}),
        (["all"], "cdi", {"driver": "cdi", "capabilities": ["gpu"], "device_ids": ["nvidia.com/gpu=all"]}),
    ],
    ids=["one by index", "two", "all", "one by CDI", "MIG instances by CDI", "all by CDI"],
)  # fmt: skip
def test_what_a_service_asks_for(gpus: list[str], form: Form, expected: dict[str, Any]) -> None:
    assert devices(gpus, form) == [expected]


def test_a_service_without_gpus_asks_for_nothing() -> None:
    assert device_request([], "nvidia") == device_request((), "cdi") == {}


@pytest.mark.parametrize("name", ["", "-1", "0,1", "nvidia.com/gpu=0", "GPU-", "GPU-x y", "0\n", 0, "gpu0"])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(PlatformError) as refused:
        device_request([name], "cdi")
    assert str(refused.value) == (
        f"Cannot ask for GPU {name!r}: it is no name of one; give an index as '0', a MIG instance as '0:1', a "
        "UUID as 'GPU-...' or 'MIG-...', or 'all' alone."
    )


@pytest.mark.parametrize("gpus", [["0", "0"], ["all", "0"], ["all", "all"]])
def test_a_gpu_that_is_named_twice_is_refused(gpus: list[str]) -> None:
    with pytest.raises(PlatformError) as refused:
        device_request(gpus, "nvidia")
    assert str(refused.value) == (
        f"Cannot ask for GPUs {', '.join(gpus)}: one is named twice; name each once, or 'all' alone."
    )


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        (None, "nvidia"),
        (RunningEngine("20.10.24"), "nvidia"),
        (RunningEngine("28.1.1", cdi_devices=("nvidia.com/gpu=0",)), "nvidia"),
        (RunningEngine("28.2.0", cdi_devices=("nvidia.com/gpu=0",)), "cdi"),
        (RunningEngine("29.2.0", cdi_devices=()), "nvidia"),
        (RunningEngine("29.2.0", cdi_devices=("nvidia.com/nic=0",)), "nvidia"),
    ],
    ids=["none", "no CDI", "CDI that forgets containers", "CDI", "no spec", "another kind of device"],
)
def test_cdi_is_chosen_where_the_engine_has_found_gpus_by_it(engine: RunningEngine | None, expected: Form) -> None:
    assert choose_form(engine) == expected
