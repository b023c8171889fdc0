# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is restarted: containers of the site that asked for a GPU and have lost it, and nobody else."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import EngineError
from ansible_collections.modelyard.platform.plugins.module_utils._compose.exec_stream import Ended
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu import guard
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.guard import Guard, asks_for_gpu, run
from ansible_collections.modelyard.platform.plugins.module_utils._lock import hold_lock

NOW = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
LOST = (255, "Failed to initialize NVML: Unknown Error\n")
WELL = (0, "GPU 0: Tesla T4 (UUID: GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21)\n")
MISSING = (127, 'exec: "nvidia-smi": executable file not found in $PATH')
BY_DRIVER = {"DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}]}


def container(name: str, *, hours: float = 5, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    started = (NOW - timedelta(hours=hours)).isoformat().replace("+00:00", ".123456789Z")
    labels = {"com.docker.compose.project": "lab-inference"}
    return {
        "Id": name, "Name": f"/{name}", "Config": {"Labels": labels}, "State": {"StartedAt": started, "Running": True},
        "HostConfig": dict(BY_DRIVER if settings is None else settings),
    }  # fmt: skip


@dataclass
class FakeEngine:
    """Containers by their ids, what was asked of the list, and what was restarted."""

    containers: Mapping[str, dict[str, Any]]
    refused: Mapping[str, EngineError] = field(default_factory=dict)
    filters: list[object] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        if path == "/containers/json":
            self.filters.append((query or {})["filters"])
            return [{"Id": name} for name in self.containers]
        name = path.split("/")[2]
        if name in self.refused:
            raise self.refused[name]
        return self.containers[name]

    def request(self, method: str, path: str, **_options: object) -> bytes:
        assert method == "POST"
        name = path.split("/")[2]
        if f"restart {name}" in self.refused:
            raise self.refused[f"restart {name}"]
        self.restarted.append(name)
        return b""


def look(
    folder: Path, answers: Mapping[str, Any], *containers: dict[str, Any], is_host_well: bool = True, **engine: Any
) -> tuple[FakeEngine, list[str]]:
    """Let the guard look once. ``answers``: container to what nvidia-smi says there, or to that of each question."""
    fake = FakeEngine({one["Id"]: one for one in containers}, **engine)

    def ask(name: str, argv: Sequence[str]) -> tuple[int, str]:
        said = answers[name]
        said = said.get(argv[0], MISSING) if isinstance(said, dict) else said
        if isinstance(said, PlatformError):
            raise said
        found: tuple[int, str] = said
        return found

    looking = Guard(fake, str(folder), ask, lambda: is_host_well, lambda: NOW)  # type: ignore[arg-type]
    return fake, looking.look()


def test_only_who_has_lost_its_gpu_is_restarted(tmp_path: Path) -> None:
    engine, said = look(tmp_path, {"a": WELL, "b": LOST, "c": WELL}, container("a"), container("b"), container("c"))
    assert engine.restarted == ["b"]
    assert said == ["restarted b, which had lost its GPU (Failed to initialize NVML: Unknown Error)"]


@pytest.mark.parametrize(
    "change", [{"Running": False}, {"StartedAt": "2026-11-22T11:59:00.5Z"}], ids=["stopped", "started anew"]
)
def test_who_was_stopped_while_others_were_asked_stays_so(tmp_path: Path, change: dict[str, Any]) -> None:
    found = container("a")

    def ask(_name: str, _argv: Sequence[str]) -> tuple[int, str]:
        found["State"] = {**found["State"], **change}
        return LOST

    fake = FakeEngine({"a": found})
    said = Guard(fake, str(tmp_path), ask, lambda: True, lambda: NOW).look()  # type: ignore[arg-type]
    assert fake.restarted == []
    assert said == ["left a alone, which had lost its GPU: it was stopped or started anew meanwhile"]


def test_only_running_containers_of_the_site_are_asked_for(tmp_path: Path) -> None:
    engine, said = look(tmp_path, {})
    assert engine.filters == [{"label": [f"modelyard.directory={tmp_path}"], "status": ["running"]}]
    assert said == []


def test_a_container_that_asked_for_no_gpu_is_not_asked(tmp_path: Path) -> None:
    engine, said = look(tmp_path, {}, container("web", settings={"DeviceRequests": None}))
    assert (engine.restarted, said) == ([], [])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (BY_DRIVER, True),
        ({"DeviceRequests": [{"Driver": "", "Capabilities": [["gpu", "compute"]]}]}, True),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0"], "Capabilities": [["gpu"]]}]}, True),
        ({"Runtime": "nvidia", "DeviceRequests": None}, True),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["amd.com/gpu=0"], "Capabilities": [["gpu"]]}]}, False),
        ({"DeviceRequests": [{"Driver": "", "Capabilities": [["tpu"]]}]}, False),
        ({"Runtime": "runc"}, False),
    ],
    ids=["driver", "capability", "CDI", "runtime", "CDI of another make", "another capability", "none"],
)
def test_what_counts_as_a_request_for_a_gpu(settings: dict[str, Any], *, expected: bool) -> None:
    assert asks_for_gpu({"HostConfig": settings}) is expected


@pytest.mark.parametrize(
    "answer",
    [
        (18, "Failed to initialize NVML: Driver/library version mismatch"),
        (9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
        (1, "nvidia-smi does not answer"),
        {"nvidia-smi": MISSING, "sh": (2, "sh: 1: cannot open /dev/nvidiactl: No such file")},
        {"nvidia-smi": MISSING, "sh": MISSING},
        {"nvidia-smi": PlatformError("no such program"), "sh": PlatformError("no such program")},
    ],
    ids=["mismatch", "no driver", "late", "no device", "no program", "cannot be started"],
)
def test_what_a_restart_does_not_mend_is_left_alone(answer: Any, tmp_path: Path) -> None:
    engine, said = look(tmp_path, {"a": answer}, container("a"))
    assert (engine.restarted, said) == ([], [])


@pytest.mark.parametrize(
    "first", [MISSING, PlatformError("exec failed: executable file not found")], ids=["ends", "is refused"]
)
def test_without_nvidia_smi_the_device_is_tried(first: Any, tmp_path: Path) -> None:
    refused = (2, "sh: 1: cannot create /dev/nvidiactl: Operation not permitted")
    answers = {"a": {"nvidia-smi": first, "sh": refused}, "b": {"nvidia-smi": first, "sh": (0, "")}}
    engine, _said = look(tmp_path, answers, container("a"), container("b"))
    assert engine.restarted == ["a"]


def test_where_the_host_cannot_use_its_gpus_nobody_is_restarted(tmp_path: Path) -> None:
    engine, said = look(tmp_path, {"a": LOST}, container("a"), is_host_well=False)
    assert engine.restarted == []
    assert said == ["left a alone, which has lost its GPU: the host cannot use it either"]


def test_who_was_started_a_moment_ago_is_not_started_again(tmp_path: Path) -> None:
    engine, said = look(tmp_path, {"a": LOST}, container("a", hours=0.1))
    assert engine.restarted == []
    assert said == [
        "left a alone, which has lost its GPU: it was started a moment ago, and had none then either"
    ]  # fmt: skip


def test_a_project_that_is_being_applied_is_left_to_whoever_does_it(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    lock = str(tmp_path / "locks" / "lab-inference.lock")
    with hold_lock(lock, purpose="apply", wait_seconds=0):
        engine, said = look(tmp_path, {"a": LOST}, container("a"))
    assert engine.restarted == []
    assert said[0].startswith("could not restart a, which has lost its GPU: Cannot restart a: ")
    assert look(tmp_path, {"a": LOST}, container("a"))[0].restarted == ["a"]


def test_a_container_that_is_gone_meanwhile_is_no_failure(tmp_path: Path) -> None:
    gone = {"a": EngineError("no such container", status=404)}
    assert look(tmp_path, {"b": LOST}, container("a"), container("b"), refused=gone)[0].restarted == ["b"]


def test_one_that_cannot_be_restarted_does_not_keep_others_from_it(tmp_path: Path) -> None:
    refused = {"restart a": EngineError("Cannot: CDI device injection failed", status=500)}
    engine, said = look(tmp_path, {"a": LOST, "b": LOST}, container("a"), container("b"), refused=refused)
    assert engine.restarted == ["b"]
    assert said[0] == "could not restart a, which has lost its GPU: Cannot: CDI device injection failed"


def test_the_program_says_how_it_is_called() -> None:
    out = io.StringIO()
    assert run([], is_host_well=lambda: True, out=out) == 2
    assert out.getvalue() == "usage: gpu-guard FOLDER_OF_THE_SITE\n"


def test_without_an_engine_there_is_nothing_to_look_after(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    out = io.StringIO()
    assert run([str(tmp_path)], is_host_well=lambda: True, out=out) == 0
    assert out.getvalue() == ""


def test_a_program_that_hangs_is_waited_for_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_arguments: object, **_options: object) -> Ended:
        released.wait(30)
        return Ended(0, "")

    monkeypatch.setattr(guard, "run_in_container", hang)
    try:
        asking = guard.Asking(None, wait_seconds=0.1)  # type: ignore[arg-type]
        assert asking("a", ["nvidia-smi", "-L"]) == (1, "nvidia-smi does not answer")
    finally:
        released.set()
