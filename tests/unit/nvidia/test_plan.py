# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done on which host: hosts with GPUs after public outputs, and what else was seen there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.plan import RunningEngine
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.facts import Facts
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.plan import (
    Observed,
    Plan,
    make_plan,
    tell_findings,
    tell_reboot,
)
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.wanted import System, Wanted, unit_paths
from support.gpu_hosts import FOLDER, DescribedHost, read_description

MACHINE = System("debian", "bookworm", "6.1.0-40-cloud-amd64", "amd64")
SETTINGS: dict[str, Any] = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}
ALL = frozenset(unit_paths(Wanted()))


def facts_of(name: str, folder: Path) -> Facts:
    [path] = [path for path in FOLDER.glob("*/*.yml") if path.stem == name]
    return observe(DescribedHost(folder, read_description(path)), "/etc/docker/daemon.json")


def host(name: str, folder: Path, **seen: Any) -> Observed:
    """Return a host on which all but its GPUs is right already."""
    usual: dict[str, Any] = {
        "settings": SETTINGS, "engine": RunningEngine("28.3.3", live_restore=True), "right_files": ALL,
        "found_files": ALL,
    }  # fmt: skip
    return Observed(facts_of(name, folder), MACHINE, **{**usual, **seen})


def told(plan: Plan) -> list[tuple[str, str]]:
    return [(step.action, step.subject) for step in plan.steps]


def test_nothing_is_done_where_all_is_right(tmp_path: Path) -> None:
    plan = make_plan(Wanted(), host("t4", tmp_path, packages={"libcuda1": True, "nvidia-driver-cuda": True}))
    assert (plan.steps, plan.warnings) == ((), ())


def test_a_bare_host_with_a_card_gets_all_in_order(tmp_path: Path) -> None:
    observed = host("a_card_without_a_driver", tmp_path, settings={}, right_files=frozenset(), found_files=frozenset())
    observed = replace(observed, facts=replace(observed.facts, toolkit=type(observed.facts.toolkit)()))
    plan = make_plan(Wanted(), observed)
    assert told(plan) == [
        ("driver", "580"), ("toolkit", "nvidia-container-toolkit"), ("hold", "nvidia-driver-cuda"),
        ("hold", "nvidia-driver-pinning-580"), ("hold", "nvidia-kernel-open-dkms"),
        ("settings", "/etc/docker/daemon.json"), ("cdi", "/etc/systemd/system/modelyard-gpu-cdi.service"),
        ("guard", "/usr/local/sbin/modelyard-gpu-guard"),
        ("guard", "/etc/systemd/system/modelyard-gpu-guard.service"),
        ("guard", "/etc/systemd/system/modelyard-gpu-guard.timer"), ("restart", "engine"),
    ]  # fmt: skip
    assert plan.steps[-1].reason == "NVIDIA's hook changed"
    assert plan.marks_engine
    assert plan.settings == SETTINGS


def test_without_a_card_nothing_is_done_and_it_is_said(tmp_path: Path) -> None:
    plan = make_plan(Wanted(), host("bare", tmp_path, settings={}, right_files=frozenset(), found_files=frozenset()))
    assert plan == Plan(warnings=(
        ("Nothing was done for GPUs: this host has no card of NVIDIA. Take it out of the group of role nvidia, or set "
         "nvidia_without_card to have driver and toolkit installed all the same."),
    ))  # fmt: skip


def test_a_host_without_a_card_is_prepared_when_that_is_asked_for(tmp_path: Path) -> None:
    observed = host("bare", tmp_path, right_files=frozenset(), found_files=frozenset())
    actions = {action for action, _subject in told(make_plan(Wanted(without_card=True, guard_seconds=0), observed))}
    assert actions == {"driver", "toolkit", "hold", "cdi", "restart"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("all_cards_are_kept_for_virtual_machines", "all cards of this host are kept for virtual machines (vfio-pci)."),
        ("a_Jetson_is_not_covered", "this is jetson, whose driver is of another make."),
        ("WSL_is_not_covered", "this is wsl, whose driver is of another make."),
    ],
)
def test_hosts_of_another_make_are_left_alone(name: str, said: str, tmp_path: Path) -> None:
    assert make_plan(Wanted(), host(name, tmp_path, settings={})) == Plan(
        warnings=(f"Nothing was done for GPUs: {said}",)
    )


@pytest.mark.parametrize(
    "name",
    [
        "an_unattended_upgrade_left_the_old_module_loaded", "an_installed_module_that_is_not_loaded",
        "a_kernel_that_the_driver_was_not_built_for", "nvidia_smi_is_not_installed",
    ],
)  # fmt: skip
def test_a_driver_that_is_there_stays(name: str, tmp_path: Path) -> None:
    assert "driver" not in dict(told(make_plan(Wanted(driver_branch="595"), host(name, tmp_path))))


def test_a_driver_that_somebody_else_brings_is_waited_for(tmp_path: Path) -> None:
    plan = make_plan(Wanted(driver="skip"), host("a_card_without_a_driver", tmp_path))
    assert "driver" not in dict(told(plan))


def test_packages_of_the_driver_are_held_unless_that_is_not_wanted(tmp_path: Path) -> None:
    observed = host("t4", tmp_path, packages={"libcuda1": False, "nvidia-driver-cuda": True})
    assert told(make_plan(Wanted(), observed)) == [("hold", "libcuda1")]
    assert told(make_plan(Wanted(hold=False), observed)) == []


def test_a_toolkit_that_lets_containers_out_is_replaced_without_a_restart(tmp_path: Path) -> None:
    plan = make_plan(Wanted(), host("a_toolkit_that_lets_containers_out", tmp_path))
    assert [action for action, _subject in told(plan)] == ["toolkit"]
    assert not plan.marks_engine


def test_an_engine_with_containers_of_others_is_not_restarted_and_that_is_said(tmp_path: Path) -> None:
    engine = RunningEngine("28.3.3", foreign_containers=("theirs",))
    observed = host("the_toolkit_is_missing_where_Docker_is_installed", tmp_path, engine=engine)
    plan = make_plan(Wanted(), observed)
    assert not plan.has("restart")
    assert plan.marks_engine
    [warning] = plan.warnings
    assert warning.startswith("The engine was not restarted, because that would stop containers of others (theirs).")
    again = host("t4", tmp_path / "again", engine=engine, is_engine_older=True)
    assert make_plan(Wanted(), again).warnings == (warning,)
    assert make_plan(Wanted(), again).steps == ()


def test_settings_of_others_stay(tmp_path: Path) -> None:
    found = {"log-driver": "local", "runtimes": {"crun": {"path": "crun"}}, "features": {"buildkit": True}}
    engine = RunningEngine("26.1.5", live_restore=True)
    plan = make_plan(Wanted(request="cdi"), host("t4", tmp_path, settings=found, engine=engine))
    assert plan.settings == {
        "log-driver": "local", "runtimes": {"crun": {"path": "crun"}, **SETTINGS["runtimes"]},
        "features": {"buildkit": True, "cdi": True},
    }  # fmt: skip
    assert told(plan) == [("settings", "/etc/docker/daemon.json"), ("restart", "engine")]
    assert make_plan(Wanted(runtime=False), host("t4", tmp_path / "b", settings=found)).steps == ()


def test_the_runtime_alone_takes_no_restart(tmp_path: Path) -> None:
    plan = make_plan(Wanted(), host("t4", tmp_path, settings={}))
    assert told(plan) == [("settings", "/etc/docker/daemon.json"), ("reload", "engine")]


def test_an_engine_that_knows_no_cdi_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    observed = host("t4", tmp_path, engine=RunningEngine("20.10.24"))
    with pytest.raises(PlatformError) as refused:
        make_plan(Wanted(request="cdi"), observed)
    assert str(refused.value) == (
        "Cannot give GPUs by CDI: Docker Engine 20.10.24 of this host knows nothing of it, 25 is needed; set "
        "site_gpu_request to nvidia or auto, or upgrade the engine."
    )
    assert make_plan(Wanted(), observed).steps == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_spec_and_a_toolkit_that_writes_none", "there is none"),
        ("a_spec_of_an_older_driver", "it names libraries of driver"),
        ("a_spec_made_before_the_second_card", "it does not name GPU 1"),
    ],
)
def test_a_spec_that_is_missing_or_stale_is_written(name: str, reason: str, tmp_path: Path) -> None:
    [step] = [step for step in make_plan(Wanted(), host(name, tmp_path)).steps if step.action == "cdi"]
    assert step.subject == "/var/run/cdi/nvidia.yaml"
    assert step.reason.startswith(reason)


def test_no_spec_is_written_before_the_driver_works(tmp_path: Path) -> None:
    observed = host("an_unattended_upgrade_left_the_old_module_loaded", tmp_path)
    assert "cdi" not in dict(told(make_plan(Wanted(), observed)))


def test_the_guard_goes_where_nobody_wants_it_and_with_the_site(tmp_path: Path) -> None:
    guard = [("remove", unit_paths(Wanted())[name]) for name in ("program", "guard", "timer")]
    assert told(make_plan(Wanted(guard_seconds=0), host("t4", tmp_path))) == guard
    assert told(make_plan(Wanted(state="absent"), host("t4", tmp_path / "b"))) == guard
    gone = host("t4", tmp_path / "c", found_files=frozenset({"cdi"}))
    assert told(make_plan(Wanted(state="absent"), gone)) == []


def test_secure_boot_is_said_where_the_module_is_built_on_the_host(tmp_path: Path) -> None:
    observed = host("a_card_without_a_driver", tmp_path)
    secure = replace(MACHINE, is_secure_boot=True)
    [warning] = make_plan(Wanted(), replace(observed, machine=secure)).warnings
    assert warning.startswith("Secure Boot is on, and the driver's module is built on this host: enrol the key")
    ubuntu = replace(secure, distribution="ubuntu", codename="noble", kernel="6.8.0-88-generic")
    plan = make_plan(Wanted(), replace(observed, machine=ubuntu))
    assert plan.warnings == ()
    assert "linux-image-generic" in [subject for action, subject in told(plan) if action == "hold"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("t4", ""),
        ("bare", ""),
        ("nouveau_has_taken_one_card_though_NVIDIAs_driver_is_installed",
         "the kernel's own driver nouveau has taken the card, and leaves it at a restart alone"),
        ("an_unattended_upgrade_left_the_old_module_loaded",
         "libraries of driver 595.80 meet an older module in the kernel"),
        ("an_installed_module_that_is_not_loaded", "the driver 550.163.01 is installed and not loaded"),
        ("a_newer_module_waits_for_a_reboot", ""),
    ],
)  # fmt: skip
def test_a_restart_of_the_host_is_asked_for_where_nothing_else_helps(name: str, reason: str, tmp_path: Path) -> None:
    facts = facts_of(name, tmp_path)
    assert tell_reboot(facts) == reason
    if reason:
        then = "Restart it when it suits, or set nvidia_reboot to have it done."
        assert tell_findings(facts, reboot=reason) == [f"GPUs of this host cannot be used yet: {reason}. {then}"]
        assert tell_findings(facts, reboot="") == []


def test_what_is_still_wrong_in_the_end_is_told(tmp_path: Path) -> None:
    [text] = tell_findings(facts_of("computing_is_prohibited", tmp_path), reboot="")
    assert text.startswith("Cannot ")
    assert tell_findings(facts_of("t4", tmp_path / "b"), reboot="") == []
