#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.nvidia_host: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nvidia_host
short_description: Let programs and containers of a host use its NVIDIA GPUs, and leave alone what works
version_added: 0.1.0
description:
  - Looks at the host as M(modelyard.platform.gpu_info) does, and what it finds decides what is done. Where all is right
    nothing is.
  - Installs a driver with open modules where there is none, and the container toolkit where it is missing or unsafe;
    keeps apt from changing the driver by itself; merges the engine's settings; has the CDI spec written before Docker
    starts; and looks after containers that lose their GPU.
  - A driver that is there stays, whatever its version and whoever installed it.
  - It never restarts the host. RV(reboot_needed) tells whether that has to be done.
  - On a host without a card it changes nothing and says so, unless O(without_card).
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Debian 12 or 13, Ubuntu 22.04 or 24.04 where a driver is to be installed; any Linux with apt for the toolkit.
  - A Docker engine, which M(modelyard.platform.docker_host) brings.
attributes:
  check_mode:
    support: full
    description: Runs the same plan, without its steps.
  diff_mode:
    support: full
    description: Shows the engine's settings before and after.
options:
  driver:
    description: Whether a driver is installed where there is none; V(skip) leaves that to somebody else.
    type: str
    choices: [present, skip]
    default: present
  driver_branch:
    description:
      - Branch of the driver that is installed where there is none. Only cards from Turing on have open modules.
    type: str
    default: "580"
  hold:
    description: Whether apt may not upgrade the driver's packages by itself, after which no program could use a GPU.
    type: bool
    default: true
  without_card:
    description: Whether a host without a card is prepared all the same, as one whose disk becomes an image.
    type: bool
    default: false
  request:
    description:
      - How services ask for GPUs. V(auto) is V(cdi) where the engine (28.2 and newer) has found GPUs by it.
      - With V(cdi) an engine from 25 on is told to know it.
    type: str
    choices: [auto, nvidia, cdi]
    default: auto
  runtime:
    description: Whether the engine is told of the runtime C(nvidia), for services that name it.
    type: bool
    default: true
  guard_seconds:
    description:
      - How often the site's containers are asked whether they still have their GPU; those that have lost it are
        restarted. V(0) asks never, and takes the timer away.
    type: int
    default: 60
  prefix:
    description: What the names of the guard begin with.
    type: str
    default: modelyard
  directory:
    description: Folder of the site whose containers are looked after. Containers of any other site are others'.
    type: path
    default: /opt/modelyard
  daemon_file:
    description: File of the engine's settings.
    type: path
    default: /etc/docker/daemon.json
  driver_repository:
    description: Address of NVIDIA's repository of drivers, or of a mirror of it; for Debian, as Ubuntu has them itself.
    type: str
    default: https://developer.download.nvidia.com/compute/cuda/repos
  toolkit_repository:
    description: Address of NVIDIA's repository of the container toolkit, or of a mirror of it.
    type: str
    default: https://nvidia.github.io/libnvidia-container/stable/deb
  wants:
    description:
      - What services ask of the GPUs of this host, as O(modelyard.platform.preflight#module:gpus) has it. Where the
        host cannot give it in the end, the task fails.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Who asks.
        type: str
        required: true
      gpus:
        description: Index (V(0)), MIG instance (V(0:1)) or UUID of each, or V(all).
        type: list
        elements: str
        default: []
      vram_mib:
        description: GPU of that list to the memory that is taken of it, in MiB.
        type: dict
        default: {}
      fallback:
        description: Whether the service runs on the CPU where there is no GPU.
        type: bool
        default: false
  reboots:
    description:
      - Whether somebody restarts the host where RV(reboot_needed). Then O(wants) is not judged before, and no warning
        asks for it.
    type: bool
    default: false
  state:
    description: V(absent) takes away what looks after the site's containers; driver, toolkit and settings stay.
    type: str
    choices: [present, absent]
    default: present
notes:
  - A repository is trusted when its key has the fingerprint that is written in this module.
seealso:
  - module: modelyard.platform.gpu_info
  - module: modelyard.platform.docker_host
"""

EXAMPLES = r"""
- name: Let containers use the GPUs
  modelyard.platform.nvidia_host:
  register: gpu

- name: Prepare an image that hosts with GPUs are made from
  modelyard.platform.nvidia_host:
    without_card: true
    guard_seconds: 0
"""

RETURN = r"""
plan:
  description: What is done, in check mode what would be.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: >-
        One of V(driver), V(toolkit), V(hold), V(settings), V(cdi), V(guard), V(remove), V(reload) and V(restart).
      type: str
    subject:
      description: What it is done to.
      type: str
    reason:
      description: Why.
      type: str
  sample:
    - action: toolkit
      subject: nvidia-container-toolkit
      reason: it is missing
reboot_needed:
  description: Whether programs can use the GPUs only after a restart of the host.
  returned: success
  type: bool
reboot_reason:
  description: Why; empty where it need not be restarted.
  returned: success
  type: str
  sample: the driver 580.95.05 is installed and not loaded
findings:
  description: What is wrong in the end, as M(modelyard.platform.gpu_info) tells it.
  returned: success
  type: list
  elements: dict
  sample: []
ansible_facts:
  description: What other roles need to know of the GPUs.
  returned: success
  type: dict
  contains:
    modelyard_gpu:
      description: >-
        C(present), whether there is a card; C(request), how services ask (V(cdi) or V(nvidia)); C(gpus), each with
        C(index), C(uuid), C(model) and C(memory_mib); C(names), each name of a GPU to its devices, which are cards by
        their index or MIG instances; and C(memory_mib), the memory of each device.
      type: dict
      sample:
        present: true
        request: cdi
        gpus: [{index: 0, uuid: GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21, model: Tesla T4, memory_mib: 15360}]
        names: {all: ["0"], "0": ["0"], GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21: ["0"]}
        memory_mib: {"0": 15360}
"""

import os
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.settings import render_settings
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.answer import to_brief
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.host import Host
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.judge import judge
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.options import WANT_SPEC
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.wants import find_unmet, parse_wants
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.observe import observe
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.plan import (
    Observed,
    Plan,
    make_plan,
    tell_findings,
    tell_reboot,
)
from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.wanted import (
    DRIVER_REPOSITORY,
    TOOLKIT_REPOSITORY,
    Wanted,
)
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program

SPEC: dict[str, Any] = {
    "driver": {"type": "str", "choices": ["present", "skip"], "default": "present"},
    "driver_branch": {"type": "str", "default": "580"},
    "hold": {"type": "bool", "default": True},
    "without_card": {"type": "bool", "default": False},
    "request": {"type": "str", "choices": ["auto", "nvidia", "cdi"], "default": "auto"},
    "runtime": {"type": "bool", "default": True},
    "guard_seconds": {"type": "int", "default": 60},
    "prefix": {"type": "str", "default": "modelyard"},
    "directory": {"type": "path", "default": "/opt/modelyard"},
    "daemon_file": {"type": "path", "default": "/etc/docker/daemon.json"},
    "driver_repository": {"type": "str", "default": DRIVER_REPOSITORY},
    "toolkit_repository": {"type": "str", "default": TOOLKIT_REPOSITORY},
    "wants": {"type": "list", "elements": "dict", "options": WANT_SPEC, "default": []},
    "reboots": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}
#: Of the options, what is not said of the host.
_OWN = ("wants", "reboots")


def prepare(params: dict[str, Any], *, check_mode: bool) -> tuple[dict[str, Any], list[str]]:
    """Bring the host to what is wanted, in check mode only say how; return the result and the warnings.

    :raises PlatformError: something cannot be done, or the host cannot give what services ask for.
    """
    wanted = Wanted(**{name: value for name, value in params.items() if name not in _OWN})
    wants = parse_wants(params["wants"])
    engine = Engine(socket_path_of(os.environ))
    before = observed = observe(wanted, Host(), engine, run_program)
    plan = make_plan(wanted, observed)
    if plan.steps and not check_mode:
        # Compiled only where there is something to do.
        from ansible_collections.modelyard.platform.plugins.module_utils._nvidia.apply import GpuHost

        GpuHost.of(wanted, engine, run_program, has_systemd=os.path.isdir("/run/systemd/system")).apply(plan)
        observed = observe(wanted, Host(), engine, run_program)
    reason = tell_reboot(observed.facts)
    warnings = [*plan.warnings, *tell_findings(observed.facts, reboot="" if params["reboots"] else reason)]
    if wanted.state == "present" and not check_mode and not (reason and params["reboots"]):
        unmet = find_unmet(wants, observed.facts)
        if unmet.refused:
            raise PlatformError(" ".join(unmet.refused))
        warnings += unmet.noticed
    return _answer(wanted, before, observed, plan, reason), warnings


def _answer(wanted: Wanted, before: Observed, after: Observed, plan: Plan, reason: str) -> dict[str, Any]:
    result = {
        "changed": bool(plan.steps),
        "plan": [step.as_result() for step in plan.steps],
        "reboot_needed": bool(reason),
        "reboot_reason": reason,
        "findings": [asdict(finding) for finding in judge(after.facts)],
        "ansible_facts": {"modelyard_gpu": to_brief(after.facts)},
    }
    if plan.has("settings"):
        result["diff"] = {
            "before_header": wanted.daemon_file, "after_header": wanted.daemon_file,
            "before": render_settings(before.settings) if before.settings else "",
            "after": render_settings(plan.settings),
        }  # fmt: skip
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result, warnings = prepare(module.params, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        module.fail_json(msg=f"Cannot prepare the GPUs of this host: {where}{error.strerror or error}; run as root.")
    except Exception as error:  # noqa: BLE001 - never a bare traceback
        module.fail_json(msg=f"Cannot prepare the GPUs of this host: {describe_bug(error)}")
    for warning in warnings:
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
