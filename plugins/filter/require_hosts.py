# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: require_hosts
short_description: Refuse an inventory without a host
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - A play of no hosts succeeds, also where a cloud was asked for the wrong region. With this filter as its C(hosts) it
    fails.
options:
  _input:
    description: All hosts of the inventory.
    type: list
    elements: str
    required: true
  sources:
    description:
      - Where the inventory comes from. Where it was not named at all Ansible itself says so, and linters name none, so
        that nothing is refused then.
    type: list
    elements: path
    required: true
"""

EXAMPLES = r"""
- name: Deploy the site
  hosts: "{{ groups['all'] | modelyard.platform.require_hosts(ansible_inventory_sources) }}"
  roles:
    - modelyard.platform.site
"""

RETURN = r"""
_value:
  description: The pattern for all hosts.
  type: str
"""

from collections.abc import Callable, Sequence

from ansible.errors import AnsibleFilterError

_UNNAMED = ["/etc/ansible/hosts"]


def require_hosts(hosts: Sequence[str], sources: Sequence[str]) -> str:
    """Return the pattern for all hosts."""
    if not hosts and list(sources) != _UNNAMED:
        raise AnsibleFilterError(
            "Cannot deploy a site: the inventory has no host; add one, or correct what it asks for (region, tags)."
        )
    return "all"


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Map name to filter."""
        return {"require_hosts": require_hosts}
