# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host without a card, which the role leaves alone; then the same with a stand-in for one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from support import gpu_stand_in
from support.stand_ins import HOMEPAGE

if TYPE_CHECKING:
    from conftest import Server

UNITS = "/etc/systemd/system"
SHOWN = "systemctl show --value --property"


@pytest.fixture(scope="module")
def alone(server: Server) -> str:
    """Return what a run says of the host without a card, and what it left there."""
    done = server.play()
    assert done.returncode == 0, done.stdout
    return f"{done.stdout} {server.must(f'ls {UNITS} /etc/docker')}"


@pytest.fixture(scope="module")
def card(server: Server, alone: str) -> Iterator[str]:
    """Yield what a run says once the host has a card; at the end it has none."""
    gpu_stand_in.install(server.must)
    done = server.play()
    assert done.returncode == 0, done.stdout
    yield done.stdout
    gpu_stand_in.remove(server.must)
    # What is the host's own stays when the site is removed; the next scenario begins without it.
    server.run(f"systemctl disable --quiet modelyard-gpu-cdi; rm -f {UNITS}/modelyard-gpu-cdi.service")


def test_without_a_card_nothing_is_changed_and_that_is_said(alone: str) -> None:
    assert "Nothing was done for GPUs: this host has no card of NVIDIA." in alone
    assert "gpu-guard" not in alone
    assert "changed=0" in alone


def test_a_value_that_cannot_work_is_refused(server: Server, alone: str) -> None:
    done = server.play("--extra-vars", json.dumps({"nvidia_guard_seconds": 5}))
    assert done.returncode != 0
    assert "Cannot ask containers for their GPUs every 5 s" in done.stdout


def test_with_a_card_containers_of_the_runtime_start(server: Server, card: str) -> None:
    assert "changed=0" not in card
    assert server.must("docker info --format '{{json .Runtimes.nvidia}}'") != "null"
    run = f"docker run --rm --runtime nvidia --network none {HOMEPAGE.reference} echo it runs"
    assert server.must(run) == "it runs"


def test_a_second_run_changes_nothing(server: Server, card: str) -> None:
    done = server.play()
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout


def test_a_changed_option_reaches_the_guard(server: Server, card: str) -> None:
    assert "OnUnitInactiveSec=45" in server.must(f"cat {UNITS}/modelyard-gpu-guard.timer")
    assert server.must("systemctl is-active modelyard-gpu-guard.timer") == "active"


def test_settings_of_the_engine_are_merged(server: Server, card: str) -> None:
    settings = json.loads(server.must("cat /etc/docker/daemon.json"))
    assert settings["runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    assert settings["log-opts"]["max-size"] == "10m"


def test_after_a_restart_of_the_host_the_spec_is_there_before_docker(
    server: Server, card: str, restarted: Callable[[], dict[str, str]]
) -> None:
    restarted()
    written = int(server.must(f"{SHOWN} ActiveEnterTimestampMonotonic modelyard-gpu-cdi"))
    assert 0 < written < int(server.must(f"{SHOWN} ExecMainStartTimestampMonotonic docker"))
    server.must("grep -q nvidia.com/gpu /var/run/cdi/nvidia.yaml")
