#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of the action plugin of this name, which runs on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tell
short_description: Print a text as it is
description:
  - Prints a text to whoever runs the playbook, line by line and unquoted, so that an example can be copied from it.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  text:
    description: The text.
    type: str
    required: true
attributes:
  check_mode:
    description: It prints in check mode too.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
notes:
  - Runs on the controller; nothing is asked of a host.
seealso:
  - module: ansible.builtin.debug
"""

EXAMPLES = r"""
- name: Say where the site is
  modelyard.platform.tell:
    text: |
      MLflow is at https://mlflow.example.org
  run_once: true
"""

RETURN = r"""
lines:
  description: How many lines were printed.
  returned: always
  type: int
"""
