# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of module api_keys: shows a new key, this once.

The key comes sealed to a pair of this run. So neither the connection nor Ansible ever has it in a readable form, with
whatever they write down at ``-vvvv``, and it is in no result, which would make it a fact and a line of every callback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.sealing import make_host_key, open_sealed


class ActionModule(ActionBase):
    """Runs the module, and opens what it sealed."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        given = dict(self._task.args)
        try:
            own = make_host_key() if boolean(given.get("show", False), strict=False) else None
            if own is not None:
                given["seal_for"] = own.public
            result.update(self._execute_module(module_args=given, task_vars=task_vars))
            sealed = result.pop("sealed", None) if own is not None else None
            if own is not None and sealed:
                opened = open_sealed(sealed, own)
                host = (task_vars or {}).get("inventory_hostname", "")
                # Not in the file that log_path names.
                Display().display(
                    f"{host}: the new key, secret {opened.name}, shown this once:\n\n    {opened.version.part(None)}\n",
                    screen_only=True,
                )
        except PlatformError as error:
            result.update(failed=True, msg=str(error))
        return result
