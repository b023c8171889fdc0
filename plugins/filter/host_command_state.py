# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: host_command_state
short_description: Tell how the command of a site is where it is as it should be
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Gives mode, owner and digest of the file that M(modelyard.platform.host_command) would write, in the words in which
    M(modelyard.platform.preflight) tells how it is, so that a role can leave out the task where both are the same.
options:
  _input:
    description: The site's folder.
    type: path
    required: true
  secret_store:
    description: The site's secret store.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Put the site's command on the host
  modelyard.platform.host_command:
    directory: /opt/modelyard
    secret_store: /etc/modelyard/secrets.json
  when: >-
    seen.programs['/usr/local/sbin/modelyard']
    != '/opt/modelyard' | modelyard.platform.host_command_state('/etc/modelyard/secrets.json')
"""

RETURN = r"""
_value:
  description: Mode, owner and digest.
  type: str
"""

import os
from collections.abc import Callable

from ansible_collections.modelyard.platform.plugins.module_utils._host_command.install import describe_command
from ansible_collections.modelyard.platform.plugins.module_utils._host_command.pack import make_content


def host_command_state(directory: str, secret_store: str) -> str:
    """Return what describes the command's file."""
    return describe_command(make_content(os.path.normpath(directory), os.path.normpath(secret_store)))


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Map name to filter."""
        return {"host_command_state": host_command_state}
