#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.client_trust: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: client_trust
short_description: Let a machine reach a site that has no public DNS and no public CA
description:
  - Keeps a marked block with the site's names in the hosts file, and the site's CA in the system's trust store.
  - Everything else in both stays as it is.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - ca-certificates on the host, for O(certificate)
options:
  site:
    description: Name of the site; marks the block and names the file of the CA.
    type: str
    required: true
  address:
    description: Address of the site's edge.
    type: str
    default: 127.0.0.1
  names:
    description: Names that lead to it. None removes the block.
    type: list
    elements: str
    default: []
  certificate:
    description:
      - Certificate of the site's CA (PEM), usually a reference to a part of a secret. Empty removes it.
    type: str
    default: ""
  hosts_path:
    description: The hosts file.
    type: path
    default: /etc/hosts
  secret_store:
    description: The secret store that references are looked up in.
    type: path
    default: /etc/modelyard/secrets.json
attributes:
  check_mode:
    description: Says what would change; writes nothing.
    support: full
  diff_mode:
    description: Shows what changes, in words.
    support: full
seealso:
  - module: modelyard.platform.secrets
"""

EXAMPLES = r"""
- name: Reach the site from its own machine
  modelyard.platform.client_trust:
    site: modelyard
    names: [mlflow.modelyard.test, s3.modelyard.test]
    certificate: "{{ 'site_ca' | modelyard.platform.secret_reference(part='certificate') }}"
"""

RETURN = r"""
changes:
  description: What was done, in check mode what would be done, a sentence each.
  returned: success
  type: list
  elements: str
  sample:
    - "names of the site in /etc/hosts: mlflow.modelyard.test"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import resolve
from ansible_collections.modelyard.platform.plugins.module_utils._site.client_trust import (
    Trust,
    Wanted,
    apply_trust,
    plan_trust,
)

SPEC = {
    "site": {"type": "str", "required": True},
    "address": {"type": "str", "default": "127.0.0.1"},
    "names": {"type": "list", "elements": "str", "default": []},
    # A certificate is public.
    "certificate": {"type": "str", "default": "", "no_log": False},
    "hosts_path": {"type": "path", "default": "/etc/hosts"},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
}


def carry_out(module: AnsibleModule) -> Trust:
    """Plan, and but for check mode apply.

    :raises PlatformError: the certificate is not in the store, or a file cannot be read or written.
    """
    params = module.params
    source = SecretSource(params["secret_store"], may_lack=module.check_mode)
    wanted = Wanted(
        site=params["site"],
        address=params["address"],
        names=tuple(dict.fromkeys(params["names"])),
        certificate=resolve(params["certificate"], source.lookup),
    )
    trust = plan_trust(wanted, hosts_path=params["hosts_path"])
    if not module.check_mode:
        apply_trust(trust, wanted, hosts_path=params["hosts_path"], run=run_program)
    return trust


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        trust = carry_out(module)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        module.fail_json(msg=f"Cannot change what this machine trusts: {describe_bug(error)}")
    changes = list(trust.changes)
    diff = {"before": "", "after": "".join(f"{change}\n" for change in changes)}
    module.exit_json(changed=bool(changes), changes=changes, diff=diff)


if __name__ == "__main__":
    main()
