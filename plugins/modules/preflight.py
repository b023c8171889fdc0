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
  - Looks at a host (rights, ports, disk, memory, GPUs, clock, the names of its edge, versions), and fails with every
    finding at once, each with its fix. A host that cannot be reached, where nobody becomes root or that has no Python
    is a finding.
  - Judges versions and images by O(rules).
  - With C(any_errors_fatal) no host goes on where one has a finding, and the findings of all of them are told.
  - Only reads; where the names lead to addresses that this host does not have, it listens at O(edge.http_port) for as
    long as it asks itself there.
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
  addresses:
    description: Addresses that an interface of this host must have, besides those of O(ports).
    type: list
    elements: str
    default: []
  gpus:
    description:
      - What services ask of the GPUs of this host. One that does not exist, more memory than a card has, and no GPU
        where a service cannot do without, are findings.
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
  installs_gpu_driver:
    description:
      - Whether role C(nvidia) is to prepare this host. Where the driver is not there yet, what only it can tell is not
        judged then, and that is said.
    type: bool
    default: false
  programs:
    description: Files of which RV(programs) tells how they are.
    type: list
    elements: path
    default: []
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
  edge:
    description: Names that lead to this host, where it is the edge of a site.
    type: dict
    suboptions:
      names:
        description: The names.
        type: list
        elements: str
        default: []
      challenge:
        description:
          - How an authority of ACME convinces itself, one of V(http-01), V(tls-alpn-01) and V(dns-01); empty where none
            is asked.
          - With the first two, a name without a certificate that does not lead here is a finding, because its order
            would fail and count against the authority's limits. Otherwise it is a warning.
        type: str
        default: ""
      http_port:
        description: Port of the edge that answers the challenge V(http-01).
        type: int
        default: 80
      public_addresses:
        description: Addresses that lead here though no interface of this host has them, as those of a NAT.
        type: list
        elements: str
        default: []
      volume:
        description: Volume of Traefik's certificates.
        type: str
        default: ""
      file:
        description: File in O(edge.volume) of the authority that the names ask. What is in it is certified already.
        type: str
        default: ""
      is_rehearsed:
        description:
          - Whether an authority for tests is asked as long as that file has nothing. A name that may or may not lead
            here, because the edge itself listens where it would be tried, is a warning then.
        type: bool
        default: false
  rules:
    description:
      - What is known not to work. Each has C(name), C(all) (conditions on facts, each with C(fact), C(operator) and
        C(value)), C(verdict) (V(refuse) or V(warn)), C(reason), C(fix) and C(source), and C(image), a pattern of
        repositories, where it is about images.
      - Operators are V(below), V(at_least), V(is), V(in), V(not_in) and V(matches).
    type: list
    elements: dict
    default: []
  images:
    description: Option of a role to the image that it names, which rules are tried with.
    type: dict
    default: {}
  installs_docker:
    description: Whether role C(docker) is to prepare this host; a fact of rules, by the name C(is_docker_role).
    type: bool
    default: true
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
facts:
  description: What rules can ask, by name.
  returned: when the host could be looked at
  type: dict
  sample: {distribution: debian trixie, architecture: x86_64, python: 3.13.5, engine: 26.1.5, url_and_port: []}
certificates:
  description: File in O(edge.volume) to the names that its certificates are for.
  returned: when the host could be looked at
  type: dict
  sample: {acme-v02.api.letsencrypt.org-directory.json: [mlflow.example.org]}
images:
  description: Packaged images of the site in O(directory) that are built and current.
  returned: when the host could be looked at
  type: list
  elements: str
  sample: [modelyard/mlflow:3f1d0c52a9b7e644]
gpus:
  description:
    - What services go by, where O(gpus) asks for some - whether there is a card (C(present)), how they ask (C(request),
      V(cdi) or V(nvidia)), and C(gpus), each with C(index), C(uuid), C(model) and C(memory_mib).
    - C(names) has the devices of each name of a GPU, which are cards by their index or MIG instances, and C(memory_mib)
      the memory of each device.
  returned: when the host could be looked at
  type: dict
  sample:
    present: true
    request: cdi
    gpus: [{index: 0, uuid: GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21, model: Tesla T4, memory_mib: 15360}]
    names: {all: ["0"], "0": ["0"], GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21: ["0"]}
    memory_mib: {"0": 15360}
programs:
  description: Mode, owner and digest of the files of O(programs), in the words of M(modelyard.platform.host_command).
  returned: when the host could be looked at
  type: dict
  sample: {/usr/local/sbin/modelyard: "mode 0755, owner 0:0, sha256 4e2ade80..."}
"""

import platform
import sys
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._gpu.options import WANT_SPEC

#: Below it what looks at the host cannot even be read.
PYTHON_FLOOR = (3, 10)

PORT_SPEC = {
    "number": {"type": "int", "required": True},
    "address": {"type": "str", "default": ""},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "project": {"type": "str", "required": True},
    "option": {"type": "str", "required": True},
}

EDGE_SPEC = {
    "names": {"type": "list", "elements": "str", "default": []},
    "challenge": {"type": "str", "default": ""},
    "http_port": {"type": "int", "default": 80},
    "public_addresses": {"type": "list", "elements": "str", "default": []},
    "volume": {"type": "str", "default": ""},
    "file": {"type": "str", "default": ""},
    "is_rehearsed": {"type": "bool", "default": False},
}

SPEC = {
    "problems": {"type": "list", "elements": "str", "default": []},
    "ports": {"type": "list", "elements": "dict", "options": PORT_SPEC, "default": []},
    "addresses": {"type": "list", "elements": "str", "default": []},
    "programs": {"type": "list", "elements": "path", "default": []},
    "gpus": {"type": "list", "elements": "dict", "options": WANT_SPEC, "default": []},
    "installs_gpu_driver": {"type": "bool", "default": False},
    "disk_mib": {"type": "dict", "default": {}},
    "directory": {"type": "path"},
    "memory_mib": {"type": "int", "default": 0},
    "edge": {"type": "dict", "options": EDGE_SPEC},
    # Judged by the controller's half.
    "rules": {"type": "list", "elements": "dict", "default": []},
    "images": {"type": "dict", "default": {}},
    "installs_docker": {"type": "bool", "default": True},
}


def look(params: dict[str, Any]) -> dict[str, Any]:
    """Return what the host says of itself, and by which clock."""
    result: dict[str, Any] = {
        "findings": [], "noticed": [], "facts": {"python": platform.python_version()}, "certificates": {}, "images": [],
        "programs": {}, "gpus": {},
    }  # fmt: skip
    if sys.version_info[:2] >= PYTHON_FLOOR:
        from ansible_collections.modelyard.platform.plugins.module_utils._site.preflight_host import look_at_host

        seen = look_at_host(params)
        result["findings"], result["noticed"] = seen.findings, seen.warnings
        result["facts"] |= seen.facts
        result["certificates"], result["images"] = seen.certificates, seen.images
        result["programs"], result["gpus"] = seen.programs, seen.gpus
    return {**result, "seconds": time.time()}


def main() -> None:
    """Run the module; the controller's half judges what it found."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = look(module.params)
    except (PlatformError, ValueError) as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - never a bare traceback
        module.fail_json(msg=f"Cannot look at this host: {describe_bug(error)}")
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
