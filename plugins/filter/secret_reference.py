# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: secret_reference
short_description: Refer to a secret of the host's store without knowing its value
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Gives the placeholder that the modules of this collection replace on the host by the value of a secret which
    M(modelyard.platform.secrets) keeps there.
  - It checks the spelling only. Whether there is such a secret, the host knows.
options:
  _input:
    description: Name of the secret.
    type: str
    required: true
  part:
    description:
      - A part of it, such as V(public), V(private), V(certificate) or V(sha256). Without it, the secret's main value.
    type: str
"""

EXAMPLES = r"""
- name: Show the placeholder of a password
  ansible.builtin.debug:
    msg: "{{ 'postgres_password' | modelyard.platform.secret_reference }}"
    # => @@secret:postgres_password@@

- name: Show the placeholder of a certificate
  ansible.builtin.debug:
    msg: "{{ 'postgres_tls' | modelyard.platform.secret_reference(part='certificate') }}"
    # => @@secret:postgres_tls.certificate@@
"""

RETURN = r"""
_value:
  description: The placeholder.
  type: str
"""

from collections.abc import Callable

from ansible.errors import AnsibleFilterError
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import make_reference


def secret_reference(name: object, part: object = None) -> str:
    """Return the placeholder of a secret, or of a part of it."""
    try:
        return str(make_reference(name, part))
    except PlatformError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Map name to filter."""
        return {"secret_reference": secret_reference}
