#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.acme_certificates: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificates
short_description: Wait until an authority has certified names for Traefik
description:
  - Returns when Traefik's file has a certificate for each name, and fails with the authority's own reasons where it
    refuses one.
  - A name that was refused before is asked for once more.
  - Reads names alone, no key.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  volume:
    description: Volume of Traefik's certificates.
    type: str
    required: true
  file:
    description: File in O(volume), of one authority.
    type: str
    required: true
  names:
    description: Names that must have a certificate there.
    type: list
    elements: str
    required: true
  project:
    description: Compose project of Traefik.
    type: str
    required: true
  service:
    description: Its service there.
    type: str
    default: traefik
  wait_seconds:
    description: How long it waits for the last name.
    type: float
    default: 180
attributes:
  check_mode:
    description: Says which names have none, and does not wait.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
seealso:
  - module: modelyard.platform.preflight
"""

EXAMPLES = r"""
- name: Wait for the certificate of the dashboard
  modelyard.platform.acme_certificates:
    volume: modelyard-traefik_acme
    file: acme-v02.api.letsencrypt.org-directory.json
    names: [traefik.example.org]
    project: modelyard-traefik
"""

RETURN = r"""
missing:
  description: Names without a certificate; only in check mode there can be any.
  returned: success
  type: list
  elements: str
  sample: []
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._edge.issue import (
    WantedCertificates,
    missing_names,
    wait_for_certificates,
)
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

SPEC = {
    "volume": {"type": "str", "required": True},
    "file": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "project": {"type": "str", "required": True},
    "service": {"type": "str", "default": "traefik"},
    "wait_seconds": {"type": "float", "default": 180},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    wanted = WantedCertificates(**module.params)
    try:
        engine = Engine(socket_path_of(os.environ))
        if not module.check_mode:
            wait_for_certificates(engine, wanted)
        missing = missing_names(engine, wanted)
    except (PlatformError, OSError) as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - never a bare traceback
        module.fail_json(msg=f"Cannot wait for certificates: {describe_bug(error)}")
    module.exit_json(changed=False, missing=missing)


if __name__ == "__main__":
    main()
