#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compose_project_info
short_description: Tell how the Compose projects of a site stand
version_added: 0.1.0
description:
  - Tells for each project which release serves, how each service fares by the judgement of the health gate, what its
    containers are, and what is wrong with advice what to do.
  - Changes nothing; the engine is only asked, and no value of a secret is read.
  - The command C(modelyard status) on the host tells the same from the same code.
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Docker Engine 20.10 or newer, reached by its socket on the host.
attributes:
  check_mode:
    support: full
    description: Only looks.
  diff_mode:
    support: N/A
    description: Changes nothing.
options:
  name:
    description: Name of one project. By default all projects of the site are told of.
    type: str
  directory:
    description: Folder of the site on the host.
    type: path
    default: /opt/modelyard
seealso:
  - module: modelyard.platform.compose_project
  - module: modelyard.platform.compose_release
"""

EXAMPLES = r"""
- name: Look at one project
  modelyard.platform.compose_project_info:
    name: shop
  register: shop

- name: Look at everything on this host
  modelyard.platform.compose_project_info:
  register: site

- name: Stop here when anything is wrong
  ansible.builtin.assert:
    that: site.projects | rejectattr('good') | length == 0
    fail_msg: "{{ site.projects | map(attribute='problems') | flatten | map(attribute='text') | join('; ') }}"
"""

RETURN = r"""
projects:
  description: Each project; empty where the site has none of that name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the project.
      type: str
    good:
      description: Whether there is no problem. A service that is still starting is none.
      type: bool
    asked:
      description: What the project was last asked to be, V(present), V(stopped) or V(absent).
      type: str
    apply:
      description:
        - V(none), V(under_way), V(interrupted) (it ended without a word, the next run converges), or V(failed) (it was
          left as it is).
      type: str
    release:
      description:
        - The release that serves, with C(number), C(result), C(started_at), C(finished_at), C(by), C(rolled_back_to),
          C(images) and C(image_ids) by service, C(secrets) (their versions), C(unproven) and C(compose_version). None
          before the first good apply.
      type: dict
    releases:
      description: Numbers of the kept releases, oldest first.
      type: list
      elements: int
    services:
      description:
        - Each service of the release with its C(verdict) (V(healthy), V(running), V(completed), V(asleep), V(pending),
          V(failed)), the C(cause), C(unproven) (why the gateway has not woken it yet since it was made, empty where it
          has), C(image), C(image_id), C(containers) and C(ports). Empty for a project that is stopped or absent.
      type: dict
    containers:
      description:
        - Each container with C(name), C(id), C(service), C(state), C(health), C(exit_code), C(restart_count),
          C(image_id), C(ports) and C(drift), which says why it is not of the current release.
      type: list
      elements: dict
    secrets_in_env:
      description: Variables that hold a secret where the engine shows it.
      type: list
      elements: str
    problems:
      description: What is wrong, each with C(text), C(advice) and C(service).
      type: list
      elements: dict
  sample:
    - name: shop
      good: false
      asked: present
      apply: none
      releases: [1, 2]
      secrets_in_env: []
      problems:
        - text: "service 'web': it is unhealthy"
          advice: modelyard logs shop web
          service: web
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._compose.status import (
    list_projects,
    read_status,
    status_to_record,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

SPEC = {
    "name": {"type": "str"},
    "directory": {"type": "path", "default": "/opt/modelyard"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        site = Site(module.params["directory"].rstrip("/"))
        site.check_version(program="compose_project_info", exactly=False)
        engine = Engine(socket_path_of(os.environ))
        wanted = module.params["name"]
        names = [wanted] if wanted is not None else list_projects(engine, site)
        found = [read_status(engine, site, name) for name in names]
    except PlatformError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, projects=[status_to_record(status) for status in found if status is not None])


if __name__ == "__main__":
    main()
