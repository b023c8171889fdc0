#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.site_verify: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_verify
short_description: Try every promise of a site, from outside
description:
  - Asks the site's public names as a client would, with full verification of certificates, and fails when a promise
    does not hold. All of them are tried and told.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  promises:
    description: What is promised.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The promise in words, for the table.
        type: str
        required: true
      kind:
        description:
          - V(answers), with O(promises[].status); V(redirects), to HTTPS; V(refuses_tls), a client that speaks nothing
            newer than O(promises[].version); V(postgres_tls), a client of PostgreSQL that verifies fully.
        type: str
        choices: [answers, redirects, refuses_tls, postgres_tls]
        default: answers
      url:
        description: Where, with C(http), C(https) or C(postgresql) as scheme.
        type: str
        required: true
      status:
        description: Status that is promised.
        type: int
        default: 200
      user:
        description: Who logs in; nobody if empty.
        type: str
        default: ""
      password:
        description: Password of that user, usually a reference to a secret.
        type: str
        default: ""
      version:
        description: Newest version of TLS that the client speaks.
        type: str
        choices: [TLSv1, TLSv1_1, TLSv1_2]
        default: TLSv1_1
  directory:
    description: The site's folder; with it, containers of the site on this host are looked at for ports.
    type: path
  allowed_ports:
    description: Ports that the site may publish outside loopback.
    type: list
    elements: int
    default: []
  secret_store:
    description: The secret store that references are looked up in.
    type: path
    default: /etc/modelyard/secrets.json
attributes:
  check_mode:
    description: It only asks. In check mode secrets that are not made yet are no error, and promises may be broken.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
seealso:
  - module: modelyard.platform.compose_project_info
"""

EXAMPLES = r"""
- name: Try what the site promises
  modelyard.platform.site_verify:
    promises:
      - {name: MLflow asks for a login, url: "https://mlflow.example.org/", status: 401}
      - name: MLflow lets its administrator in
        url: https://mlflow.example.org/
        user: admin
        password: "{{ 'mlflow_admin_password' | modelyard.platform.secret_reference }}"
"""

RETURN = r"""
table:
  description: A line for each promise.
  returned: always
  type: list
  elements: str
  sample:
    - holds   MLflow asks for a login
broken:
  description: How many do not hold.
  returned: always
  type: int
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import resolve
from ansible_collections.modelyard.platform.plugins.module_utils._site.preflight import list_containers
from ansible_collections.modelyard.platform.plugins.module_utils._site.promises import (
    Outcome,
    Promise,
    as_table,
    find_open_ports,
    try_promises,
)

PROMISE_SPEC = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "choices": ["answers", "redirects", "refuses_tls", "postgres_tls"], "default": "answers"},
    "url": {"type": "str", "required": True},
    "status": {"type": "int", "default": 200},
    "user": {"type": "str", "default": ""},
    "password": {"type": "str", "default": "", "no_log": True},
    "version": {"type": "str", "choices": ["TLSv1", "TLSv1_1", "TLSv1_2"], "default": "TLSv1_1"},
}

SPEC = {
    "promises": {"type": "list", "elements": "dict", "options": PROMISE_SPEC, "default": []},
    "directory": {"type": "path"},
    "allowed_ports": {"type": "list", "elements": "int", "default": []},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
}


def try_all(module: AnsibleModule) -> list[Outcome]:
    """Try what the options name.

    :raises PlatformError: a secret is not in the store.
    """
    params = module.params
    source = SecretSource(params["secret_store"], may_lack=module.check_mode)
    promises = [
        Promise(
            name=given["name"],
            kind=given["kind"],
            url=given["url"],
            status=given["status"],
            login=f"{given['user']}:{resolve(given['password'], source.lookup)}" if given["user"] else "",
            version=given["version"],
        )
        for given in params["promises"]
    ]
    outcomes = try_promises(promises)
    if params["directory"]:
        listed = list_containers(Engine(socket_path_of(os.environ)))
        outcomes += find_open_ports(listed, params["directory"], params["allowed_ports"])
    return outcomes


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        outcomes = try_all(module)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        module.fail_json(msg=f"Cannot try the site's promises: {describe_bug(error)}")
    table = as_table(outcomes)
    broken = [line for line, outcome in zip(table, outcomes, strict=True) if not outcome.holds]
    if broken and not module.check_mode:
        module.fail_json(msg="Promises of the site do not hold:\n" + "\n".join(broken), table=table, broken=len(broken))
    module.exit_json(changed=False, table=table, broken=len(broken))


if __name__ == "__main__":
    main()
