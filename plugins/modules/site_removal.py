#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.site_removal: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: site_removal
short_description: Remove a site with all its data from a host
description:
  - Removes what a site made on this host and only that - volumes, networks, images that it kept or built, its folder
    and its secrets. B(All data of the site is lost.)
  - Its projects have to be absent before, see M(modelyard.platform.compose_project). While a container of the site
    runs, nothing is removed.
  - What is not proved to be the site's stays, and is told.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Docker Engine 20.10 or newer
options:
  directory:
    description:
      - The site's folder. One without a C(site.json) of this collection is refused, and so is a link.
    type: path
    required: true
  prefix:
    description:
      - The site's prefix. A folder that also holds projects of another one is refused.
    type: str
  secret_store:
    description:
      - The site's secret store. It stays where another site of this host uses it.
    type: path
    default: /etc/modelyard/secrets.json
  lock_seconds:
    description: How long to wait for another run that works on a project of the site.
    type: int
    default: 60
attributes:
  check_mode:
    description: Says what would be removed, also while containers of the site still run; removes nothing.
    support: full
  diff_mode:
    description: Shows all that is removed.
    support: full
notes:
  - Images that were pulled stay, because nothing tells who else wants them.
seealso:
  - module: modelyard.platform.compose_project
  - module: modelyard.platform.image
"""

EXAMPLES = r"""
- name: Remove the site of the last workshop with all its data
  modelyard.platform.site_removal:
    directory: /opt/workshop
    secret_store: /etc/workshop/secrets.json
"""

RETURN = r"""
removed:
  description: What was removed, in check mode what would be, in this order.
  returned: success
  type: list
  elements: str
  sample:
    - network workshop-edge
    - volume workshop-postgres_data
    - folder /opt/workshop
left:
  description: What seems to be the site's and stays, each with the reason.
  returned: success
  type: list
  elements: str
  sample:
    - "image modelyard/base:97c2b1f0de5a8831: base of modelyard/mlflow"
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._site.removal_apply import plan, remove_site
from ansible_collections.modelyard.platform.plugins.module_utils._site.removal_observe import (
    check_folder,
    refuse_other_projects,
)

SPEC: dict[str, Any] = {
    "directory": {"type": "path", "required": True},
    "prefix": {"type": "str"},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "lock_seconds": {"type": "int", "default": 60},
}


def carry_out(module: AnsibleModule) -> dict[str, Any]:
    """Plan, and but for check mode remove; return the result.

    :raises PlatformError: something is in the way, or could not be removed.
    """
    directory = os.path.normpath(module.params["directory"])
    store = os.path.normpath(module.params["secret_store"])
    engine = Engine(socket_path_of(os.environ))
    if module.params["prefix"] and check_folder(directory):
        refuse_other_projects(directory, module.params["prefix"])
    if module.check_mode:
        removal = plan(engine, directory, store, may_run=True)
    else:
        removal = remove_site(engine, directory, store, wait_seconds=module.params["lock_seconds"])
    removed = [str(thing) for thing in removal.things]
    return {
        "changed": bool(removed),
        "removed": removed,
        "left": list(removal.left),
        "warnings": [f"{text}: without check mode this is refused." for text in removal.running],
        "diff": {"before": "".join(f"{line}\n" for line in removed), "after": ""},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = carry_out(module)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed: it may hold a secret
        module.fail_json(msg=f"Cannot remove the site {module.params['directory']}: {describe_bug(error)}")
    for text in result.pop("warnings"):
        module.warn(text)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
