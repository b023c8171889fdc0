#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.host_command: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_command
short_description: Put the command modelyard on a host
description:
  - Packs the command C(modelyard) from the very code that the modules run on the host, and writes it as one file.
  - Equal code gives equal bytes, the same that C(make host-command) gives, so a second run changes nothing.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  path:
    description:
      - The command's file. Two sites on one machine take two names.
      - A file that is not the command is not written over, and not removed.
    type: path
    default: /usr/local/sbin/modelyard
  state:
    description: Whether the command is there.
    type: str
    choices: [present, absent]
    default: present
  directory:
    description: The site's folder that the command looks at unless C(--directory) names another one.
    type: path
    default: /opt/modelyard
  secret_store:
    description: The secret store that the command reads unless C(--secret-store) names another one.
    type: path
    default: /etc/modelyard/secrets.json
attributes:
  check_mode:
    description: Says what would change; writes nothing.
    support: full
  diff_mode:
    description: Shows mode, owner and digest of the file, before and after.
    support: full
notes:
  - The file belongs to root and has mode 0755. It holds no secret.
seealso:
  - module: modelyard.platform.compose_project_info
"""

EXAMPLES = r"""
- name: Put the command on the host
  modelyard.platform.host_command:

- name: Put the command of a second site beside it
  modelyard.platform.host_command:
    path: /usr/local/sbin/modelyard-staging
    directory: /opt/staging
    secret_store: /etc/staging/secrets.json
"""

RETURN = r"""
path:
  description: The command's file.
  returned: success
  type: str
  sample: /usr/local/sbin/modelyard
changes:
  description: What was done, in check mode what would be done, a sentence.
  returned: success
  type: list
  elements: str
  sample: ["write /usr/local/sbin/modelyard: another content"]
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._host_command import pack
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.install import (
    carry_out,
    plan_installation,
)

SPEC: dict[str, Any] = {
    "path": {"type": "path", "default": "/usr/local/sbin/modelyard"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "directory": {"type": "path", "default": pack.USUAL_DIRECTORY},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": pack.USUAL_STORE, "no_log": False},
}


def carried_code() -> object:
    """Return what the command runs. Nobody calls this: Ansible brings to the host what it finds imported here."""
    from ansible_collections.modelyard.platform.plugins.module_utils._host_command import main as command

    return command


def check_path(path: str) -> str:
    """Return the plain form of an absolute path.

    :raises PlatformError: it is relative, or names a folder.
    """
    if not path.startswith("/") or path.endswith("/"):
        raise PlatformError(f"Cannot use path {path!r}: it names no file by its absolute path; give one that does.")
    return os.path.normpath(path)


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    params = module.params
    try:
        wanted = params["state"] == "present"
        directory = os.path.normpath(params["directory"])
        content = pack.make_content(directory, os.path.normpath(params["secret_store"])) if wanted else None
        plan = plan_installation(check_path(params["path"]), content)
        if not module.check_mode:
            carry_out(plan, content)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - a traceback is nothing that a user can act on
        module.fail_json(msg=f"Cannot put the command on this host: {describe_bug(error)}")
    module.exit_json(
        changed=plan.changes,
        path=plan.path,
        changes=plan.describe(),
        diff={"before": plan.before, "after": plan.after, "before_header": plan.path, "after_header": plan.path},
    )


if __name__ == "__main__":
    main()
