# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.cdi import is_overridden, parse_spec, quote_few
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.containers import (
    parse_engine,
    parse_runtimes,
    read_toolkit,
)
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import RunningEngine, Spec, SpecNode
from support.gpu_hosts import FOLDER, DescribedHost, read_description


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("NVIDIA Container Toolkit CLI version 1.17.8\ncommit: f202b80a\n", "1.17.8"),
        ("NVIDIA Container Toolkit CLI version 1.20.0-rc.1\n", "1.20.0-rc.1"),
        ("NVIDIA Container Toolkit CLI version 1.20.1", "1.20.1"),
        ("NVIDIA Container Toolkit CLI version " + "9" * 5000, ""),
        ("nvidia-ctk: cannot execute", ""),
    ],
)
def test_the_toolkit_tells_its_version(said: str, expected: str, tmp_path: Path) -> None:
    told = read_description(FOLDER / "hosts" / "t4.yml")
    told["programs"]["nvidia-ctk --version"] = {"stdout": said}
    assert read_toolkit(DescribedHost(tmp_path, told)).version == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, {}),
        ({"nvidia": {"path": "a", "args": []}, "x": {"runtimeType": "io.containerd.x"}}, {"nvidia": "a", "x": ""}),
        ({"nvidia": "a"}, {}),
        (["nvidia"], {}),
    ],
    ids=["none", "two", "no mapping", "a list"],
)
def test_runtimes_of_the_settings(value: Any, expected: dict[str, str]) -> None:
    assert parse_runtimes(value) == expected


def test_an_old_engine_tells_no_devices_and_a_new_one_those_of_nvidia() -> None:
    assert parse_engine(None) is None
    assert parse_engine({"ServerVersion": "20.10.24", "Runtimes": {"runc": {}}, "DefaultRuntime": "runc"}) == (
        RunningEngine("20.10.24", ("runc",), "runc")
    )
    devices = [
        {"Source": "cdi", "ID": "nvidia.com/gpu=all"}, {"Source": "cdi", "ID": "amd.com/gpu=all"}, {"Source": "other"},
    ]  # fmt: skip
    found = parse_engine({"ServerVersion": "29.2.0", "Runtimes": None, "DiscoveredDevices": devices})
    assert found == RunningEngine("29.2.0", (), "", ("nvidia.com/gpu=all",))


def test_a_spec_hands_out_nodes_and_files_of_the_host() -> None:
    text = """\
{"kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": {"deviceNodes": [
  {"path": "/dev/inside", "hostPath": "/dev/outside", "major": 195, "minor": 3}, {"path": "/dev/any"},
  {"path": "/dev/zero", "major": 0, "minor": 0}, {"path": "/dev/first", "major": 195}, "none"]}}, "none"],
 "containerEdits": {"mounts": [{"hostPath": "/a.so.550.163"}, {"containerPath": "/b"}]}}
"""
    assert parse_spec(text, "/etc/cdi/x.json") == Spec(
        "/etc/cdi/x.json",
        kind="nvidia.com/gpu",
        devices=("0",),
        nodes=(
            SpecNode("/dev/outside", 195, 3), SpecNode("/dev/any"), SpecNode("/dev/zero"),
            SpecNode("/dev/first", 195, 0),
        ),
        host_paths=("/a.so.550.163",),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "it is not for this user to read"),
        ("- a\n", "it names no kind of devices"),
        ("", "it names no kind of devices"),
        ('{"kind": 1}', "it names no kind of devices"),
        ('{"kind": ', "Expecting value: line 1 column 10 (char 9)"),
    ],
    ids=["not for us", "a list", "empty", "a number", "half"],
)
def test_what_is_no_spec_says_why(text: str | None, problem: str) -> None:
    assert parse_spec(text, "/etc/cdi/nvidia.yaml") == Spec("/etc/cdi/nvidia.yaml", problem=problem)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([], False),
        ([Spec("/var/run/cdi/b.yaml", "nvidia.com/gpu", ("0", "1", "all"))], True),
        ([Spec(f"/var/run/cdi/{name}.yaml", "nvidia.com/gpu", (name,)) for name in "01"], True),
        ([Spec("/var/run/cdi/b.yaml", "nvidia.com/gpu", ("0",))], False),
        ([Spec("/var/run/cdi/b.yaml", "nvidia.com/gds", ("0", "1"))], False),
        ([Spec("/etc/cdi/b.yaml", "nvidia.com/gpu", ("0", "1"))], False),
    ],
    ids=["alone", "by one", "by two", "in part", "another kind", "the same folder"],
)  # fmt: skip
def test_a_spec_is_overridden_where_others_define_all_of_its_devices(other: list[Spec], expected: bool) -> None:
    spec = Spec("/etc/cdi/a.yaml", "nvidia.com/gpu", ("0", "1"))
    assert is_overridden(spec, [spec, *other]) is expected
    assert not is_overridden(Spec("/etc/cdi/a.yaml", "nvidia.com/gpu"), [])


@pytest.mark.parametrize(
    ("names", "expected"),
    [((), ""), (("a", "b", "c"), "a, b, c"), (("a", "b", "c", "d", "e"), "a, b, c and 2 more")],
)
def test_of_many_a_few_are_named(names: tuple[str, ...], expected: str) -> None:
    assert quote_few(names) == expected
