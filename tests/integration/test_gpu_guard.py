# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard on a real engine: containers whose nvidia-smi is a stand-in. Who asked for a GPU is said for the engine,
which without NVIDIA's hook starts no container that does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.guard import Asking, Guard
from docker.models.containers import Container
from support.gpu_stand_in import CONTAINER_SMI, LOSE
from support.site import new_prefix

REQUEST = [{"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": [["gpu"]]}]


class TellingEngine(Engine):
    """The real engine; of containers that are called after a GPU it says that they asked for one."""

    def get(self, path: str, query: Mapping[str, object] | None = None) -> Any:
        answer = super().get(path, query)
        if path.startswith("/containers/") and isinstance(answer, dict) and "gpu" in answer["Name"]:
            answer["HostConfig"]["DeviceRequests"] = REQUEST
        return answer


@pytest.fixture
def containers(engine: docker.DockerClient, base_image: str, tmp_path: Path) -> Iterator[dict[str, Container]]:
    """Yield containers of the site in ``tmp_path`` with a GPU, one without, and one of another site."""
    prefix = new_prefix()
    smi = tmp_path / "nvidia-smi"
    smi.write_text(CONTAINER_SMI, encoding="utf-8")
    smi.chmod(0o755)
    started: dict[str, Container] = {}
    try:
        for name, site in {"gpu-a": tmp_path, "gpu-b": tmp_path, "web": tmp_path, "gpu-theirs": "/elsewhere"}.items():
            started[name] = engine.containers.run(
                base_image, ["sleep", "300"], name=f"{prefix}-{name}", detach=True, init=True, user="65534",
                network_mode="none", labels={"modelyard.directory": str(site), "com.docker.compose.project": prefix},
                tmpfs={"/run/state": "mode=1777"}, volumes=[f"{smi}:/usr/local/bin/nvidia-smi:ro"],
                stop_signal="SIGKILL",
            )  # fmt: skip
        yield started
    finally:
        for container in started.values():
            container.remove(force=True, v=True)


def starts(containers: Mapping[str, Container]) -> dict[str, str]:
    for container in containers.values():
        container.reload()
    return {name: container.attrs["State"]["StartedAt"] for name, container in containers.items()}


def guard(folder: Path, *, is_host_well: bool = True) -> Guard:
    engine = TellingEngine()
    later = datetime.now(timezone.utc) + timedelta(hours=1)
    return Guard(engine, str(folder), Asking(engine), lambda: is_host_well, lambda: later)


def test_those_of_the_site_that_have_lost_their_gpu_are_restarted_and_no_others(
    containers: dict[str, Container], tmp_path: Path
) -> None:
    before = starts(containers)
    assert guard(tmp_path).look() == []
    for name in ("gpu-b", "web", "gpu-theirs"):
        assert containers[name].exec_run(list(LOSE)).exit_code == 0
    name = containers["gpu-b"].name
    assert guard(tmp_path, is_host_well=False).look() == [
        f"left {name} alone, which has lost its GPU: the host cannot use it either"
    ]
    assert starts(containers) == before
    assert guard(tmp_path).look() == [
        f"restarted {name}, which had lost its GPU (Failed to initialize NVML: Unknown Error)"
    ]
    after = starts(containers)
    assert {name for name in after if after[name] != before[name]} == {"gpu-b"}
    assert guard(tmp_path).look() == []


def test_a_container_without_any_program_is_left_alone(
    engine: docker.DockerClient, base_image: str, tmp_path: Path
) -> None:
    container = engine.containers.run(
        base_image, ["sleep", "300"], name=f"{new_prefix()}-gpu", detach=True, init=True, network_mode="none",
        labels={"modelyard.directory": str(tmp_path)}, stop_signal="SIGKILL",
    )  # fmt: skip
    try:
        before = starts({"it": container})
        # Neither nvidia-smi nor the device is there.
        assert guard(tmp_path).look() == []
        assert starts({"it": container}) == before
    finally:
        container.remove(force=True, v=True)
