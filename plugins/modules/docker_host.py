#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: docker_host
short_description: Give a host a Docker engine with Compose and Buildx, and leave alone what is there
version_added: 0.1.0
description:
  - Installs what is missing, merges the engine's settings, starts it, also where systemd is not PID 1.
  - An engine that is new enough is used as it is. A restart that would stop containers of others is reported, not done.
  - When nothing is missing it asks the engine for its version, and apt nothing.
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Debian 12 or 13, Ubuntu 22.04 or 24.04 where Docker is to be installed; any Linux where it is there.
attributes:
  check_mode:
    support: full
    description: Runs the same plan, without its steps.
  diff_mode:
    support: full
    description: Shows the engine's settings before and after.
options:
  source:
    description:
      - Where Docker comes from where it is missing. V(distribution) takes its own packages, which need no other
        repository and no other key; Debian 12 takes Compose and Buildx from Debian 13 and nothing else.
      - V(docker) takes the newest one from O(docker_repository).
      - Where one of both is installed, what is missing comes from there.
    type: str
    choices: [distribution, docker]
    default: distribution
  docker_repository:
    description: Address of Docker's repository, or of a mirror of it.
    type: str
    default: https://download.docker.com/linux
  packages:
    description: Further packages of the distribution that the host is to have.
    type: list
    elements: str
    default: []
  users:
    description: Users that may use the engine, which makes them as mighty as root.
    type: list
    elements: str
    default: []
  hold:
    description: Whether apt may not upgrade Docker's packages by itself, which would restart the engine.
    type: bool
    default: false
  daemon_options:
    description:
      - Settings of the engine, merged over what its file says.
      - Without them, log rotation, C(live-restore) and the MTU of the default route are set where the file says
        nothing.
    type: dict
    default: {}
  daemon_file:
    description: File of the engine's settings.
    type: path
    default: /etc/docker/daemon.json
  directory:
    description: Folder of the site. Containers of any other site are others'.
    type: path
    default: /opt/modelyard
notes:
  - Settings that somebody removes from O(daemon_options) stay in the file.
seealso:
  - module: modelyard.platform.compose_project
"""

EXAMPLES = r"""
- name: Have a Docker engine from the distribution's packages
  modelyard.platform.docker_host:
    users: [deploy]
    daemon_options:
      registry-mirrors: [https://mirror.example.org]

- name: Have the newest Docker, held
  modelyard.platform.docker_host:
    source: docker
    hold: true
"""

RETURN = r"""
plan:
  description: What is done, in check mode what would be.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: One of V(settings), V(install), V(hold), V(start), V(reload), V(restart), V(join).
      type: str
    subject:
      description: What it is done to.
      type: str
    reason:
      description: Why.
      type: str
  sample:
    - action: install
      subject: docker-compose
      reason: there is no Compose plug-in
ansible_facts:
  description: What other roles need to know of the engine.
  returned: success
  type: dict
  contains:
    modelyard_docker:
      description: >-
        C(engine) and C(compose) are versions, empty where there is none; C(socket_gid) is the group of the socket.
      type: dict
      sample: {engine: 26.1.5, compose: 2.26.1, socket_gid: 103}
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.observe import observe, read_socket_gid
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.plan import make_plan
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.settings import render_settings
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.wanted import DOCKER_REPOSITORY, Wanted
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program

OPTIONS: dict[str, Any] = {
    "source": {"type": "str", "choices": ["distribution", "docker"], "default": "distribution"},
    "docker_repository": {"type": "str", "default": DOCKER_REPOSITORY},
    "packages": {"type": "list", "elements": "str", "default": []},
    "users": {"type": "list", "elements": "str", "default": []},
    "hold": {"type": "bool", "default": False},
    "daemon_options": {"type": "dict", "default": {}},
    "daemon_file": {"type": "path", "default": "/etc/docker/daemon.json"},
    "directory": {"type": "path", "default": "/opt/modelyard"},
}


def prepare(params: dict[str, Any], *, check_mode: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Bring the host to what is wanted, in check mode only say how; return the result and the warnings."""
    lists = {name: tuple(params[name]) for name in ("packages", "users")}
    wanted = Wanted(**{**params, **lists})
    engine = Engine(socket_path_of(os.environ))
    observed = observe(wanted, engine, run_program)
    plan = make_plan(wanted, observed)
    if plan.steps and not check_mode:
        # Compiled only where there is something to do.
        from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.apply import Host

        has_systemd = os.path.isdir("/run/systemd/system")
        Host(engine, run_program, has_systemd, wanted=wanted, observed=observed).apply(plan)
        observed = observe(wanted, engine, run_program)
    facts = {
        "engine": observed.engine.version if observed.engine else "",
        "compose": observed.compose,
        "socket_gid": read_socket_gid(engine.socket_path),
    }
    result = {
        "changed": bool(plan.steps),
        "plan": [step.as_result() for step in plan.steps],
        "ansible_facts": {"modelyard_docker": facts},
    }
    if plan.has("settings"):
        before = render_settings(plan.settings_before) if plan.settings_before else ""
        result["diff"] = {
            "before_header": wanted.daemon_file, "after_header": wanted.daemon_file,
            "before": before, "after": render_settings(plan.settings),
        }  # fmt: skip
    return result, plan.warnings


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        result, warnings = prepare(module.params, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        module.fail_json(msg=f"Cannot prepare Docker: {where}{error.strerror or error}; run as root.")
    else:
        for warning in warnings:
            module.warn(warning)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
