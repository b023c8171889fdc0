# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: gpu_room
short_description: Tell what inference services may use of each GPU together, and what each of them takes
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Services name GPUs by index, by UUID, as MIG instances or all at once. Here each card and each MIG instance has one
    name, its index or C(INDEX:INSTANCE), so that none is counted twice. Of a card in MIG mode its instances count.
options:
  _input:
    description: The services, as role C(gateway) is asked for them (need C(gated)), each with C(vram_mib) by GPU.
    type: list
    elements: dict
    required: true
  memory_mib:
    description:
      - GPU, by any of its names, to the MiB that services may use of it together. Of one with two entries the lower
        counts. Without any it is what the GPU has.
    type: dict
    required: true
  gpus:
    description: What M(modelyard.platform.preflight) or M(modelyard.platform.nvidia_host) tells roles of a host's GPUs.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what services may use of each GPU together
  ansible.builtin.debug:
    msg: "{{ (services | modelyard.platform.gpu_room({'0': 20000}, ansible_facts.modelyard_gpu)).gpus }}"
"""

RETURN = r"""
_value:
  description:
    - C(gpus), GPU to the MiB that may be used of it, of those that services name or that are limited; and C(services)
      with C(vram_mib) by these names. One with C(cpu_fallback) takes no memory of a GPU that is not there.
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.room import plan_room


def gpu_room(
    services: Iterable[Mapping[str, Any]], memory_mib: Mapping[str, Any], gpus: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what may be used of each GPU, and services with what they take of it."""
    try:
        return plan_room(services, memory_mib, gpus)
    except PlatformError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Map name to filter."""
        return {"gpu_room": gpu_room}
