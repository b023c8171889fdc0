#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.gpu_info: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_info
short_description: Tell which NVIDIA GPUs a host has, and what keeps programs and containers from them
version_added: 0.1.0
description:
  - Tells of a host's NVIDIA GPUs, of the versions of their driver (libraries, module in the kernel and on disk), of the
    container toolkit, of CDI specs, of Docker's runtime, of device nodes and of Xid errors since the host started.
  - Judges what it saw. Each finding has a code that stays the same, a severity, a sentence and what to do.
  - A host without a card of NVIDIA is no error; RV(present) is false then. Cards are found on the PCI bus, so that one
    without a driver is told of too.
  - Only reads. It asks C(nvidia-smi), which has the driver make missing device nodes as every program that uses a GPU
    does; where the driver's module is not loaded it asks nothing, because the question would load it.
  - Of a Jetson or of WSL it says that they are not covered. AMD's GPUs (ROCm) are not looked at.
author:
  - modelyard.platform contributors (@modelyard)
options:
  daemon_file:
    description: File of the engine's settings.
    type: path
    default: /etc/docker/daemon.json
  wait_seconds:
    description:
      - How long each program that is asked may take. One that takes longer is left alone and told of; a driver that
        waits for a lost GPU never answers.
      - Without persistence mode a host with many GPUs may need half a minute.
    type: int
    default: 60
requirements:
  - C(become); without it the kernel log may not be read, which is a finding.
attributes:
  check_mode:
    description: It only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
seealso:
  - module: modelyard.platform.docker_host
  - module: modelyard.platform.preflight
"""

EXAMPLES = r"""
- name: Look at the GPUs
  modelyard.platform.gpu_info:
  register: gpu

- name: Stop here where a GPU cannot be used
  ansible.builtin.assert:
    that: gpu.present and gpu.good
    fail_msg: "{{ gpu.findings | map(attribute='text') | join(' ') or 'There is no NVIDIA card.' }}"

- name: Tell the free memory of each GPU in GiB
  ansible.builtin.debug:
    msg: "{{ item.index }}: {{ ((item.memory_total_bytes - item.memory_used_bytes) / 1024 ** 3) | round(1) }}"
  loop: "{{ gpu.gpus }}"
  loop_control:
    label: "{{ item.uuid }}"
"""

RETURN = r"""
present:
  description: Whether the PCI bus has a display controller of NVIDIA.
  returned: success
  type: bool
machine:
  description: V(host), or V(jetson) or V(wsl), of which nothing else is told.
  returned: success
  type: str
good:
  description: Whether no finding is an error.
  returned: success
  type: bool
cards:
  description: NVIDIA's display controllers on the PCI bus, with or without a driver.
  returned: success
  type: list
  elements: dict
  contains:
    pci_address:
      description: Address, as C(0000:3b:00.0).
      type: str
    device_id:
      description: PCI device number, as C(0x20b0).
      type: str
    kernel_driver:
      description: V(nvidia), V(nouveau), V(vfio-pci) or another; empty where none has taken it.
      type: str
  sample: [{pci_address: "0000:00:1e.0", device_id: "0x1eb8", kernel_driver: nvidia}]
gpus:
  description: GPUs as the driver knows them. A value that card or driver does not tell is none, or empty.
  returned: success
  type: list
  elements: dict
  contains:
    index:
      description: Number that C(nvidia-smi) and the toolkit give it; CUDA's own order may be another.
      type: int
    uuid:
      description: Identifier that stays with the card.
      type: str
    model:
      description: Name of the product.
      type: str
    architecture:
      description: As V(Ampere).
      type: str
    pci_address:
      description: Address, as in RV(cards).
      type: str
    device_number:
      description: N of C(/dev/nvidiaN), which need not be the index.
      type: int
    memory_total_bytes:
      description: Memory, in bytes.
      type: int
    memory_used_bytes:
      description: Memory in use, in bytes.
      type: int
    mig_mode:
      description: V(enabled), V(disabled) or V(unsupported).
      type: str
    mig_mode_pending:
      description: What it will be after the next reset.
      type: str
    mig_instances:
      description:
        - Instances with C(index), C(uuid), C(profile), C(gpu_instance_id), C(compute_instance_id),
          C(memory_total_bytes) and C(memory_used_bytes).
      type: list
      elements: dict
    has_persistence:
      description: Whether the driver stays ready while no program uses it.
      type: bool
    compute_mode:
      description: V(Default), V(Exclusive_Process) or V(Prohibited).
      type: str
    recovery_action:
      description: What the driver asks for, as V(Reset); empty where it asks for nothing.
      type: str
    memory_repair:
      description: V(none), V(pending) (faulty memory is replaced by the next reset) or V(failed).
      type: str
    problem:
      description: What the driver says in place of values, as V(GPU is lost).
      type: str
  sample:
    - index: 0
      uuid: GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21
      model: Tesla T4
      architecture: Turing
      pci_address: "0000:00:1e.0"
      device_number: 0
      memory_total_bytes: 16106127360
      memory_used_bytes: 1082130432
      mig_mode: unsupported
      mig_mode_pending: unsupported
      mig_instances: []
      has_persistence: true
      compute_mode: Default
      recovery_action: ""
      memory_repair: none
      problem: ""
driver:
  description: NVIDIA's driver. Versions are empty where there is none.
  returned: when RV(present), on a machine that is covered
  type: dict
  contains:
    user_space_version:
      description: Version of the libraries that programs load.
      type: str
    loaded_version:
      description: Version of the module in the kernel.
      type: str
    module_version:
      description: Version of the module on disk, which the next start loads.
      type: str
    module_kind:
      description: V(open) or V(proprietary); empty where there is no module.
      type: str
    is_loaded:
      description: Whether the module is in the kernel.
      type: bool
    is_mismatched:
      description: Whether libraries and loaded module differ in version, so that no program can use a GPU.
      type: bool
    is_reboot_pending:
      description: Whether the next start brings another driver, or the distribution asks for a reboot because of it.
      type: bool
    is_signed:
      description: Whether the module on disk is signed; none where there is no module.
      type: bool
    is_secure_boot:
      description: Whether the firmware lets only signed modules in; none where it does not tell.
      type: bool
    is_nouveau_loaded:
      description: Whether the kernel's own driver is loaded.
      type: bool
    cuda_version:
      description: Newest CUDA that the driver serves.
      type: str
    nvidia_smi:
      description:
        - How C(nvidia-smi) ended, with C(state) (V(answered), V(not_asked), V(missing), V(late) or V(failed)),
          C(exit_code) and what it said where it failed (C(text)).
      type: dict
  sample:
    user_space_version: 580.95.05
    loaded_version: 580.95.05
    module_version: 580.95.05
    module_kind: open
    is_loaded: true
    is_mismatched: false
    is_reboot_pending: false
    is_signed: true
    is_secure_boot: false
    is_nouveau_loaded: false
    cuda_version: "13.0"
    nvidia_smi: {state: answered, exit_code: 0, text: ""}
device_nodes:
  description: The driver's nodes below C(/dev), each with C(path), C(mode) (octal, as C(0666)), C(major) and C(minor).
  returned: when RV(present), on a machine that is covered
  type: list
  elements: dict
  sample: [{path: /dev/nvidia0, mode: "0666", major: 195, minor: 0}]
toolkit:
  description:
    - NVIDIA's container toolkit, with C(version) and the paths of C(ctk), C(runtime), C(runtime_hook) and C(cdi_hook),
      each empty where it is missing.
  returned: when RV(present), on a machine that is covered
  type: dict
  sample:
    version: 1.18.2
    ctk: /usr/bin/nvidia-ctk
    runtime: /usr/bin/nvidia-container-runtime
    runtime_hook: /usr/bin/nvidia-container-runtime-hook
    cdi_hook: /usr/bin/nvidia-cdi-hook
cdi_specs:
  description: NVIDIA's CDI specs in C(/etc/cdi) and C(/var/run/cdi).
  returned: when RV(present), on a machine that is covered
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
    kind:
      description: Kind of its devices, as C(nvidia.com/gpu).
      type: str
    devices:
      description: Names of its devices.
      type: list
      elements: str
    driver_versions:
      description: Versions of the driver whose libraries it names.
      type: list
      elements: str
    is_fresh:
      description: Whether all of it is true of this host; none where it could not be read.
      type: bool
    is_overridden:
      description: Whether engines take all of its devices from another file.
      type: bool
    reasons:
      description: What is no longer true, or why it could not be read.
      type: list
      elements: str
  sample:
    - path: /var/run/cdi/nvidia.yaml
      kind: nvidia.com/gpu
      devices: ["0", all]
      driver_versions: [580.95.05]
      is_fresh: true
      is_overridden: false
      reasons: []
docker:
  description: Docker as far as it concerns GPUs.
  returned: when RV(present), on a machine that is covered
  type: dict
  contains:
    is_installed:
      description: Whether there is an engine, running or not.
      type: bool
    settings_file:
      description: The file that was read.
      type: str
    is_runtime_registered:
      description: Whether that file names the runtime C(nvidia).
      type: bool
    is_runtime_default:
      description: Whether containers get it without asking.
      type: bool
    runtime_program:
      description: Its program, as that file has it.
      type: str
    engine:
      description:
        - The running engine, with C(version), C(runtimes), C(default_runtime) and C(cdi_devices) (of NVIDIA; older
          engines do not tell). None where none answers.
      type: dict
  sample:
    is_installed: true
    settings_file: /etc/docker/daemon.json
    is_runtime_registered: true
    is_runtime_default: false
    runtime_program: nvidia-container-runtime
    engine: {version: 29.2.0, runtimes: [nvidia, runc], default_runtime: runc, cdi_devices: [nvidia.com/gpu=all]}
kernel_log_readable:
  description: Whether RV(xids) is all that the kernel log still has; otherwise it could not be read.
  returned: when RV(present), on a machine that is covered
  type: bool
xids:
  description:
    - Xid errors since the host started, each with C(code), C(pci_address), C(count), C(last_message), C(last_at)
      (ISO 8601 in UTC), C(severity) and C(meaning).
  returned: when RV(present), on a machine that is covered
  type: list
  elements: dict
  sample:
    - code: 79
      pci_address: "0000:3b:00.0"
      count: 1
      last_message: "pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
      last_at: "2026-11-20T04:12:09Z"
      severity: error
      meaning: it has fallen off the bus
findings:
  description: What is wrong or worth knowing, the gravest first.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: What kind of finding it is; the page of this module lists all.
      type: str
    severity:
      description: V(error) (programs or containers cannot use a GPU), V(warning) (they may not, or soon) or V(info).
      type: str
    text:
      description: The whole sentence.
      type: str
    fix:
      description: Its part that says what to do.
      type: str
  sample:
    - code: driver_mismatch
      severity: error
      text: >-
        Cannot use any GPU: the driver's libraries have version 550.163.01, the module in the kernel has 550.127.08;
        reboot the host, and hold the driver's packages so that no unattended upgrade does it again.
      fix: reboot the host, and hold the driver's packages so that no unattended upgrade does it again
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.answer import to_answer
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.host import Host
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.judge import judge
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.observe import observe

SPEC = {
    "daemon_file": {"type": "path", "default": "/etc/docker/daemon.json"},
    "wait_seconds": {"type": "int", "default": 60},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        facts = observe(Host(wait_seconds=module.params["wait_seconds"]), module.params["daemon_file"])
        answer = to_answer(facts, judge(facts))
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - never a bare traceback
        module.fail_json(msg=f"Cannot look at the GPUs of this host: {describe_bug(error)}")
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
