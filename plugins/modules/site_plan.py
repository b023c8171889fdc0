#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_plan
short_description: Read what the roles of a site need of each other
description:
  - Reads the needs (C(meta/needs.yml)) and the argument specifications of every role that is enabled on any host, with
    the variables of each of its hosts.
  - Derives the order in which the roles are applied, owners before those who need them.
  - Finds every need without an owner and every value that a role refuses, of all roles and hosts at once.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  roles:
    description:
      - Role to the inventory group whose hosts it is enabled on. A role whose group is empty is not part of the site.
      - The order counts where needs leave it open.
    type: dict
    required: true
attributes:
  check_mode:
    description: It only reads.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
notes:
  - Runs on the controller; nothing is asked of a host.
seealso:
  - module: modelyard.platform.preflight
"""

EXAMPLES = r"""
- name: Read what the roles of the site need
  modelyard.platform.site_plan:
    roles:
      traefik: edge
      postgres: data
      mlflow: tracking
  run_once: true
  register: plan
"""

RETURN = r"""
order:
  description: The enabled roles in the order in which they are applied.
  returned: success
  type: list
  elements: str
needs:
  description: >-
    Subject to what is needed of its owner, each with C(role), C(host), C(data), and C(at), the host whose owner serves
    it.
  returned: success
  type: dict
role_hosts:
  description: Role to its hosts.
  returned: success
  type: dict
places:
  description: >-
    Host to what its roles have to know of the others, C(is_inner) (it has an inner edge), C(edge) (the host of the
    edge), C(routed) (hosts whose routes it serves), C(admitted) (role to the ranges from which other hosts reach it),
    C(addresses) (private addresses of all hosts).
  returned: success
  type: dict
transfers:
  description: Secrets that host C(home) makes and host C(to) uses, by C(name).
  returned: success
  type: list
  elements: dict
problems:
  description: What must be mended before anything is touched, a sentence each.
  returned: success
  type: list
  elements: str
"""
