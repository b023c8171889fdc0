# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of module preflight: its clock, its rules, and what is wrong with hosts that cannot answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._site.preflight_answer import (
    describe_failure,
    describe_unreachable,
    failure_text,
    find_skew,
)
from ansible_collections.modelyard.platform.plugins.module_utils._site.rules import (
    Judgement,
    judge,
    parse_rules,
)

_MODULE = "modelyard.platform.preflight"
#: What the controller judges by itself, so that no host is sent it.
_OWN = ("problems", "rules", "images", "installs_docker")


class ActionModule(ActionBase):
    """Asks the host, and answers with every finding in one failure."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = dict(task_vars or {})
        own = {name: self._task.args[name] for name in _OWN if name in self._task.args}
        problems = [str(text) for text in own.get("problems") or ()]
        host = str(variables.get("inventory_hostname", ""))
        before = time.time()
        try:
            found = self._ask_host(variables)
        except AnsibleConnectionFailure as error:
            return {**result, "unreachable": True, **_failure(host, problems, [describe_unreachable(str(error))])}
        except AnsibleError as error:
            return {**result, "failed": True, **_failure(host, problems, [describe_failure(str(error))])}
        if "seconds" not in found:
            # What Ansible would show instead of the message.
            found.pop("exception", None)
            return {**result, **found, "failed": True, **_failure(host, problems, [_why(found)])}
        try:
            judgement = self._judge(own, found["facts"])
        except PlatformError as error:
            return {**result, "failed": True, "msg": str(error)}
        skewed = find_skew(found.pop("seconds"), before=before, after=time.time())
        findings = [*skewed, *found["findings"], *judgement.refused]
        found["warnings"] = [f"{host}: {text}" for text in (*found.pop("noticed"), *judgement.warned)]
        if problems or findings:
            return {**result, **found, "failed": True, **_failure(host, problems, findings)}
        return {**result, **found, "changed": False}

    def _ask_host(self, variables: dict[str, Any]) -> dict[str, Any]:
        sent = {name: value for name, value in self._task.args.items() if name not in _OWN}
        found: dict[str, Any] = self._execute_module(module_name=_MODULE, module_args=sent, task_vars=variables)
        return found

    def _judge(self, own: Mapping[str, Any], facts: Mapping[str, Any]) -> Judgement:
        known = {**facts, "is_docker_role": boolean(own.get("installs_docker", True))}
        return judge(parse_rules(own.get("rules") or ()), known, own.get("images") or {})


def _failure(host: str, problems: list[str], findings: list[str]) -> dict[str, Any]:
    """Return the message of a task that fails with all that is wrong: with the site, and with this host by its name."""
    return {"msg": "\n".join([*problems, *(f"{host}: {text}" for text in findings)]), "findings": problems + findings}


def _why(found: Mapping[str, Any]) -> str:
    """Return why a module gave no answer of its own; what it says itself is for people already."""
    said = str(found.get("msg") or "")
    return said if said.startswith("Cannot ") else describe_failure(failure_text(found))
