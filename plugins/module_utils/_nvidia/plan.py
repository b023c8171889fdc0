# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What has to be done to a host so that programs and containers can use its GPUs, from what was seen there alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .._docker_host.plan import RunningEngine, engine_steps
from .._docker_host.settings import changed_keys, merge
from .._docker_host.wanted import is_at_least
from .._errors import PlatformError
from .._gpu.cdi import KIND, find_staleness, is_overridden
from .._gpu.containers import RUNTIME
from .._gpu.facts import Facts
from .._gpu.judge import judge
from .._gpu.judge_containers import is_safe
from .._gpu.judge_driver import GIVEN_AWAY, is_mismatched
from .._gpu.requests import CDI_ENGINE, CDI_FLOOR
from .._step import HostPlan, HostStep
from .units import SPEC_PATH
from .wanted import GUARD_FILES, TOOLKIT, DriverPackages, System, Wanted, driver_packages, is_of_driver, unit_paths

Action = Literal["driver", "toolkit", "hold", "settings", "cdi", "guard", "remove", "restart", "reload"]
Step = HostStep[Action]

#: What an engine looks for when it starts, and never again.
HOOK = "NVIDIA's hook"


@dataclass(frozen=True)
class Observed:
    """A host as it was found."""

    facts: Facts
    machine: System
    #: Installed package of a driver, or of what is held with one, to whether apt may not change it.
    packages: Mapping[str, bool] = field(default_factory=dict)
    #: None where no engine answers.
    engine: RunningEngine | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Names of :func:`unit_paths` whose files are as they should be, and of those that are there at all.
    right_files: frozenset[str] = frozenset()
    found_files: frozenset[str] = frozenset()
    has_systemd: bool = True
    #: Whether the engine that runs was started before the toolkit was there.
    is_engine_older: bool = False


@dataclass(frozen=True)
class Plan(HostPlan[Action]):
    """The steps in their order, and what they need."""

    driver: DriverPackages | None = None
    hold: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Whether the engine that runs was started before the hook was there.
    marks_engine: bool = False
    #: Sentences for a person: what was left alone, and what to do about it.
    warnings: tuple[str, ...] = ()


def make_plan(wanted: Wanted, observed: Observed) -> Plan:
    """Return what differs; nothing where there is no card, unless that is asked for.

    :raises PlatformError: a driver cannot be installed on this host, or the engine cannot do what is asked.
    """
    if wanted.state == "absent":
        return Plan(tuple(_remove_guard(wanted, observed, "the site is removed")))
    if reason := _left_alone(wanted, observed.facts):
        return Plan(warnings=(reason,))
    _refuse_engine(wanted, observed)
    driver, driver_steps, warnings = _plan_driver(wanted, observed)
    toolkit = _plan_toolkit(observed.facts)
    hold = _plan_hold(wanted, observed, driver)
    settings, settings_steps = _plan_settings(wanted, observed)
    marks_engine = bool(toolkit) and not observed.facts.toolkit.is_installed and observed.engine is not None
    engine, engine_warnings = _plan_engine(observed, settings, lacks_hook=marks_engine)
    steps = (*driver_steps, *toolkit, *hold, *settings_steps, *_plan_cdi(observed), *_plan_guard(wanted, observed))
    names = tuple(step.subject for step in hold)
    return Plan((*steps, *engine), driver, names, settings, marks_engine, (*warnings, *engine_warnings))


def _left_alone(wanted: Wanted, facts: Facts) -> str:
    """Return why nothing is done on this host; empty where there is something to do."""
    if facts.machine != "host":
        return f"Nothing was done for GPUs: this is {facts.machine}, whose driver is of another make."
    if facts.cards and all(card.kernel_driver == GIVEN_AWAY for card in facts.cards):
        return "Nothing was done for GPUs: all cards of this host are kept for virtual machines (vfio-pci)."
    if facts.cards or wanted.without_card:
        return ""
    return (
        "Nothing was done for GPUs: this host has no card of NVIDIA. Take it out of the group of role nvidia, or set "
        "nvidia_without_card to have driver and toolkit installed all the same."
    )


def _refuse_engine(wanted: Wanted, observed: Observed) -> None:
    engine = observed.engine
    if wanted.request == "cdi" and engine is not None and not is_at_least(engine.version, CDI_FLOOR):
        raise PlatformError(
            f"Cannot give GPUs by CDI: Docker Engine {engine.version} of this host knows nothing of it, 25 is needed; "
            "set site_gpu_request to nvidia or auto, or upgrade the engine."
        )


def _plan_driver(wanted: Wanted, observed: Observed) -> tuple[DriverPackages | None, list[Step], list[str]]:
    driver = observed.facts.driver
    is_there = driver.is_loaded or driver.module is not None or bool(driver.user_space_version)
    is_installed = any(is_of_driver(name) for name in observed.packages)
    if wanted.driver == "skip" or is_there or is_installed:
        return None, [], []
    packages = driver_packages(wanted, observed.machine)
    steps = [Step("driver", wanted.driver_branch, "there is none")]
    if not observed.machine.is_secure_boot or packages.repository is None:
        return packages, steps, []
    warning = (
        "Secure Boot is on, and the driver's module is built on this host: enrol the key that signs it (mokutil "
        "--import /var/lib/dkms/mok.pub) and confirm it at the console at the next start, or turn Secure Boot off."
    )
    return packages, steps, [warning]


def _plan_toolkit(facts: Facts) -> list[Step]:
    if not facts.toolkit.is_installed:
        return [Step("toolkit", TOOLKIT, "it is missing")]
    if not is_safe(facts.toolkit):
        return [Step("toolkit", TOOLKIT, f"{facts.toolkit.version} lets containers out (CVE-2025-23266)")]
    return []


def _plan_hold(wanted: Wanted, observed: Observed, driver: DriverPackages | None) -> list[Step]:
    """Return what apt may no longer change by itself: with another driver on disk no program can use a GPU."""
    if not wanted.hold:
        return []
    names = {name for name, is_held in observed.packages.items() if not is_held and is_of_driver(name)}
    if driver is not None:
        names |= {*driver.names, *driver.held} - {name for name in driver.names if name.startswith("linux-headers-")}
        names |= {driver.pin} - {""}
    return [Step("hold", name, "another driver on disk would keep programs from GPUs") for name in sorted(names)]


def _plan_settings(wanted: Wanted, observed: Observed) -> tuple[Mapping[str, Any], list[Step]]:
    options: dict[str, Any] = {}
    if wanted.runtime and RUNTIME not in (observed.settings.get("runtimes") or {}):
        options["runtimes"] = {RUNTIME: {"path": "nvidia-container-runtime", "args": []}}
    engine = observed.engine
    if wanted.request == "cdi" and engine is not None and not is_at_least(engine.version, CDI_ENGINE):
        options["features"] = {"cdi": True}
    settings = merge(observed.settings, options)
    keys = changed_keys(observed.settings, settings)
    steps = [Step("settings", wanted.daemon_file, f"set {', '.join(keys)}")] if keys else []
    return settings, steps


def _plan_engine(
    observed: Observed, settings: Mapping[str, Any], *, lacks_hook: bool
) -> tuple[list[Step], tuple[str, ...]]:
    if observed.engine is None:
        return [], ()
    at_start = (HOOK,) if lacks_hook or observed.is_engine_older else ()
    steps, warnings = engine_steps(observed.engine, changed_keys(observed.settings, settings), at_start=at_start)
    return [
        Step("restart" if step.action == "restart" else "reload", step.subject, step.reason) for step in steps
    ], warnings


def _plan_cdi(observed: Observed) -> list[Step]:
    steps = []
    if observed.has_systemd and "cdi" not in observed.right_files:
        steps.append(Step("cdi", unit_paths(Wanted())["cdi"], "it is to write the spec before Docker starts"))
    facts = observed.facts
    if not facts.toolkit.is_installed or facts.smi.state != "answered" or is_mismatched(facts):
        # Nothing true could be written before the driver works; the unit does it at the next start.
        return steps
    specs = [spec for spec in facts.specs if spec.kind == KIND and not is_overridden(spec, facts.specs)]
    stale = [reason for spec in specs for reason in find_staleness(spec, facts.driver, facts.smi)]
    if not specs or stale:
        steps.append(Step("cdi", SPEC_PATH, stale[0] if stale else "there is none"))
    return steps


def _plan_guard(wanted: Wanted, observed: Observed) -> list[Step]:
    if not wanted.guard_seconds:
        return _remove_guard(wanted, observed, "nobody is to look after GPUs of containers")
    if not observed.has_systemd:
        return []
    paths = unit_paths(wanted)
    wrong = [name for name in GUARD_FILES if name not in observed.right_files]
    return [Step("guard", paths[name], "it is missing or another one") for name in wrong]


def _remove_guard(wanted: Wanted, observed: Observed, reason: str) -> list[Step]:
    paths = unit_paths(wanted)
    return [Step("remove", paths[name], reason) for name in GUARD_FILES if name in observed.found_files]


def tell_reboot(facts: Facts) -> str:
    """Return why a host has to be restarted before its GPUs can be used; empty where it need not."""
    driver = facts.driver
    if driver.module is not None and any(card.kernel_driver == "nouveau" for card in facts.cards):
        return "the kernel's own driver nouveau has taken the card, and leaves it at a restart alone"
    if is_mismatched(facts):
        return (
            f"libraries of driver {driver.user_space_version or 'another version'} meet an older module in the kernel"
        )
    if facts.cards and driver.module is not None and not driver.is_loaded:
        return f"the driver {driver.module.version} is installed and not loaded"
    return ""


def tell_findings(facts: Facts, *, reboot: str) -> list[str]:
    """Return what an operator has to know of the end: that the host has to be restarted, else what is still wrong.

    :param reboot: why it has to be; empty where it need not, or where that is done.
    """
    if reboot:
        then = "Restart it when it suits, or set nvidia_reboot to have it done."
        return [f"GPUs of this host cannot be used yet: {reboot}. {then}"]
    if tell_reboot(facts):
        return []
    return [finding.text for finding in judge(facts) if finding.severity == "error"]
