#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.registry_login: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: registry_login
short_description: Let a host pull from registries that ask who it is
description:
  - Logs the host's docker CLI in to registries, with passwords of the secret store. Whatever pulls or pushes by the CLI
    has these logins, the modules of this collection among it.
  - A password goes to the CLI by standard input, and is nowhere but in the store and where the CLI keeps it - the file
    C(config.json) of the user, which nobody else may read then, or a credential helper.
  - A registry is asked only where a login is missing or another one.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - The docker CLI on the host
options:
  registries:
    description: The registries, each once.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description: Host and port, such as V(registry.example.org:5000); V(docker.io) is Docker Hub.
        type: str
        required: true
      username:
        description: Who logs in.
        type: str
        required: true
      password:
        description: >-
          Reference to the secret with the password or token, such as V(@@secret:registry_password@@). Needed but where
          O(registries[].state=absent).
        type: str
      state:
        description: V(absent) logs this user out.
        type: str
        choices: [present, absent]
        default: present
  state:
    description: V(absent) logs all of them out, if it is with their passwords that the host is logged in.
    type: str
    choices: [present, absent]
    default: present
  secret_store:
    description: The secret store that references are looked up in.
    type: path
    default: /etc/modelyard/secrets.json
attributes:
  check_mode:
    description: Says what would be done; no registry is asked.
    support: full
  diff_mode:
    description: Shows what is done, in words.
    support: full
notes:
  - Where a registry gives a token in place of the password, a new password is not noticed. Log out first.
seealso:
  - module: modelyard.platform.secrets
  - module: modelyard.platform.compose_project
"""

EXAMPLES = r"""
- name: Let this host pull the images of the team
  modelyard.platform.registry_login:
    registries:
      - host: registry.example.org
        username: deploy
        password: "{{ 'registry_password' | modelyard.platform.secret_reference }}"
"""

RETURN = r"""
plan:
  description: What was done, in check mode what would be.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: One of V(protect), V(login), V(logout).
      type: str
    subject:
      description: The registry, or the file of logins.
      type: str
    reason:
      description: Why.
      type: str
  sample:
    - {action: login, subject: registry.example.org, reason: nobody is logged in}
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._registry.logins import (
    Login,
    Registries,
    Step,
    config_path,
)
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import find_references, resolve

SPEC: dict[str, Any] = {
    "registries": {
        "type": "list", "elements": "dict", "required": True, "required_if": [("state", "present", ("password",))],
        "options": {
            "host": {"type": "str", "required": True},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
    },
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
}  # fmt: skip


def carry_out(params: Mapping[str, Any], source: SecretSource, *, check_mode: bool) -> list[Step]:
    """Plan, and but for check mode log in and out; return what was done.

    :raises PlatformError: a value is none, a secret is not in the store, or a registry refuses.
    """
    with source.masked_errors():
        wanted, unwanted = [], []
        for entry in params["registries"]:
            login = _parse(entry, source)
            if params["state"] == entry["state"] == "present":
                wanted.append(login)
            elif login.password is not None or not entry["password"]:
                unwanted.append(login)
        registries = Registries(config_path(os.environ), run_program)
        steps = registries.plan(wanted, unwanted)
        if not check_mode:
            registries.carry_out(steps)
    return steps


def _parse(entry: Mapping[str, Any], source: SecretSource) -> Login:
    given = entry["password"]
    if given and not find_references(given):
        raise PlatformError(
            f"Cannot log in to registry {entry['host']!r}: its password is no reference to a secret, so that everybody "
            "who reads the inventory has it; give it to site_secrets as 'value', and write '@@secret:NAME@@' here."
        )
    password = resolve(given, source.lookup) if given else None
    # A secret that is not there stands for itself: in check mode one that the run would take in, or one of no site.
    return Login(entry["host"], entry["username"], None if password == given else password)


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    source = SecretSource(
        module.params["secret_store"], may_lack=module.check_mode or module.params["state"] == "absent"
    )
    try:
        steps = carry_out(module.params, source, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed: it may hold a secret
        module.fail_json(msg=f"Cannot log in to registries: {describe_bug(error)}")
    plan = [step.as_result() for step in steps]
    told = "".join(f"{step['action']} {step['subject']}: {step['reason']}\n" for step in plan)
    module.exit_json(changed=bool(plan), plan=plan, diff={"before": "", "after": told})


if __name__ == "__main__":
    main()
