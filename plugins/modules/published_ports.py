#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.published_ports: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: published_ports
short_description: Keep published ports of a site to those who may reach them
description:
  - Docker publishes ports past the firewall of a host. This module keeps those of one site as they are declared, by
    chains of its own that C(DOCKER-USER) and C(INPUT) lead to; what else the site's containers publish is closed.
  - The rules are there before the engine starts a container, after a restart of the host too. Nothing else of the host
    is opened or closed - not SSH, not the ports of containers of others.
  - When nothing is missing, it lists rules and asks the engine twice.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - iptables, as Docker's packages bring it
  - Docker Engine 20.10 or newer, which makes its rules by iptables
options:
  prefix:
    description: The site's prefix; names the chains and the unit.
    type: str
    required: true
  directory:
    description: The site's folder. Containers and networks that carry it in a label are the site's.
    type: path
    default: /opt/modelyard
  ports:
    description:
      - Ports of the host that the site publishes. What several entries say of one port is added up.
    type: list
    elements: dict
    default: []
    suboptions: &port
      number:
        description: Port of the host.
        type: int
        required: true
      protocol:
        description: Protocol.
        type: str
        choices: [tcp, udp]
        default: tcp
      address:
        description: Address of the host that it is published at; every one if empty.
        type: str
        default: ""
      allowed_ranges:
        description:
          - Networks (CIDR) and addresses that may reach it, of IPv4 and IPv6. Left out, everybody may; an empty list is
            a port that is closed.
        type: list
        elements: str
  instead:
    description:
      - As O(ports). An entry counts in the place of all that O(ports) says of its number and protocol.
    type: list
    elements: dict
    default: []
    suboptions: *port
  state:
    description:
      - V(absent) removes what was made and nothing else, so that every published port is open again.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Says what would be done, on a host without an engine too; changes nothing.
    support: full
  diff_mode:
    description: Shows the rules before and after.
    support: full
notes:
  - Packets keep the port and the address that they came to, whatever Docker made of them, and are judged by these.
  - The site's own containers reach its ports by any address of the host.
  - Containers in the network of the host itself (C(network_mode=host)) publish nothing, and are not guarded.
seealso:
  - module: modelyard.platform.site_plan
"""

EXAMPLES = r"""
- name: Keep PostgreSQL to the office, and the web open
  modelyard.platform.published_ports:
    prefix: modelyard
    ports:
      - number: 80
      - number: 443
      - {number: 5432, allowed_ranges: [198.51.100.0/24, "2001:db8:1::/48"]}
"""

RETURN = r"""
plan:
  description: What was done, in check mode what would be.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: One of V(script), V(unit), V(rules), V(remove).
      type: str
    subject:
      description: What it is done to.
      type: str
    reason:
      description: Why.
      type: str
  sample:
    - {action: rules, subject: rules of IPv4, reason: are missing}
undeclared:
  description: What containers of the site publish and nobody declared; it is closed.
  returned: success
  type: list
  elements: str
  sample: [9000/tcp of modelyard-mlflow-server-1]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.apply import Guard
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.files import UNITS
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.observe import (
    SeenHost,
    SeenSite,
    find_undeclared,
    observe_host,
    observe_site,
    refuse_other_backend,
)
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.plan import Plan, plan_guard, plan_removal
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.ports import admit
from ansible_collections.modelyard.platform.plugins.module_utils._firewall.rules import Guarded, chains_of
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program

PORT_SPEC: dict[str, Any] = {
    "number": {"type": "int", "required": True},
    "protocol": {"type": "str", "choices": ["tcp", "udp"], "default": "tcp"},
    "address": {"type": "str", "default": ""},
    "allowed_ranges": {"type": "list", "elements": "str"},
}
SPEC: dict[str, Any] = {
    "prefix": {"type": "str", "required": True},
    "directory": {"type": "path", "default": "/opt/modelyard"},
    "ports": {"type": "list", "elements": "dict", "options": PORT_SPEC, "default": []},
    "instead": {"type": "list", "elements": "dict", "options": PORT_SPEC, "default": []},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


def carry_out(params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Plan, and but for check mode apply; return the result.

    :raises PlatformError: a value is none, the host lacks something, or the rules would keep nobody out.
    """
    directory, chains = os.path.normpath(params["directory"]), chains_of(params["prefix"])
    has_systemd = os.path.isdir("/run/systemd/system")
    host = observe_host(params["prefix"], directory, run_program, units=UNITS, has_systemd=has_systemd)
    guard = Guard(params["prefix"], directory, chains, run_program, UNITS)
    if params["state"] == "absent":
        plan = plan_removal(params["prefix"], directory, chains, host)
        if plan.steps and not check_mode:
            guard.take_away(plan, host)
        return _result(plan, ())
    admitted = admit(params["ports"], params["instead"])
    site = _look_at_site(directory, host, check_mode=check_mode)
    undeclared = find_undeclared(site, admitted)
    guarded = Guarded(admitted, site.bridges, tuple(dict.fromkeys(place for place, _name in undeclared)))
    plan = plan_guard(params["prefix"], directory, guarded, chains, host)
    if plan.steps and not check_mode:
        guard.put_in_place(plan, host)
    return _result(plan, tuple(f"{place} of {name}" for place, name in undeclared))


def _look_at_site(directory: str, host: SeenHost, *, check_mode: bool) -> SeenSite:
    """Return what the site has in the engine; in check mode one that would be installed has nothing.

    :raises PlatformError: there is no engine, or it makes its rules elsewhere.
    """
    engine = Engine(socket_path_of(os.environ))
    if check_mode and not engine.is_alive():
        return SeenSite()
    site = observe_site(engine, directory)
    refuse_other_backend(host)
    return site


def _result(plan: Plan, undeclared: tuple[str, ...]) -> dict[str, Any]:
    return {
        "changed": bool(plan.steps),
        "plan": [step.as_result() for step in plan.steps],
        "undeclared": list(undeclared),
        "diff": {"before": plan.before, "after": plan.after},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = carry_out(module.params, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - a bug is told in one sentence too
        module.fail_json(msg=f"Cannot guard published ports: {describe_bug(error)}")
    for text in result["undeclared"]:
        module.warn(f"Closed is {text}, which no role declares: name it in 'firewall_ports' if others are to reach it.")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
