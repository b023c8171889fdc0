#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.preflight: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: preflight
short_description: Find what would stop a deployment, before anything is touched
description:
  - Looks at rights, ports, disk and memory of a host, and fails with every finding at once, each with its fix.
  - Only reads.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  problems:
    description: What was found elsewhere, a sentence each; told together with what is found here.
    type: list
    elements: str
    default: []
  ports:
    description: Ports that projects of the site publish on this host.
    type: list
    elements: dict
    default: []
    suboptions:
      number:
        description: The port.
        type: int
        required: true
      address:
        description: Address that it is bound to; every one if empty.
        type: str
        default: ""
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      project:
        description: The project that publishes it; its own containers may hold it.
        type: str
        required: true
      option:
        description: Where an operator sets the port, for the text.
        type: str
        required: true
  disk_mib:
    description: Folder to the room that it needs, in MiB. The folder need not be there yet.
    type: dict
    default: {}
  directory:
    description: The site's folder. Where a site is there already, room on disks is not asked for again.
    type: path
  memory_mib:
    description: Memory that the machine must have, in MiB.
    type: int
    default: 0
attributes:
  check_mode:
    description: It only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
seealso:
  - module: modelyard.platform.site_plan
"""

EXAMPLES = r"""
- name: Refuse a host that cannot take the site
  modelyard.platform.preflight:
    ports:
      - {number: 443, project: modelyard-traefik, option: site_ports.https}
    disk_mib: {/opt/modelyard: 2000}
    memory_mib: 3000
"""

RETURN = r"""
findings:
  description: What would stop the deployment; empty, or the task has failed.
  returned: always
  type: list
  elements: str
  sample:
    - "Cannot start service 'modelyard-traefik': port 443 is already used by 'nginx' (pid 812); stop it, or set another
      one in site_ports.https."
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._site.preflight import (
    WantedPort,
    find_missing_rights,
    find_small_disks,
    find_small_memory,
    find_taken_ports,
    list_containers,
)

PORT_SPEC = {
    "number": {"type": "int", "required": True},
    "address": {"type": "str", "default": ""},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "project": {"type": "str", "required": True},
    "option": {"type": "str", "required": True},
}

SPEC = {
    "problems": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "dict", "options": PORT_SPEC, "default": []},
    "disk_mib": {"type": "dict", "default": {}},
    "directory": {"type": "path"},
    "memory_mib": {"type": "int", "default": 0},
}


def look_at_host(params: Mapping[str, Any]) -> list[str]:
    is_deployed = bool(params["directory"]) and os.path.exists(f"{params['directory']}/site.json")
    listed = list_containers(Engine(socket_path_of(os.environ)))
    return [
        *find_taken_ports([WantedPort(**port) for port in params["ports"]], listed),
        *find_small_disks({} if is_deployed else {path: int(mib) for path, mib in params["disk_mib"].items()}),
        *find_small_memory(params["memory_mib"]),
    ]


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    try:
        # Without root's rights the rest would be guessed.
        findings = [*params["problems"], *(find_missing_rights(os.geteuid()) or look_at_host(params))]
    except (PlatformError, ValueError) as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - never a bare traceback
        module.fail_json(msg=f"Cannot look at this host: {describe_bug(error)}")
    if findings:
        module.fail_json(msg="\n".join(findings), findings=findings)
    module.exit_json(changed=False, findings=[])


if __name__ == "__main__":
    main()
