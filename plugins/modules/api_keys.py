#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.api_keys: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: api_keys
short_description: Issue, list, revoke and rotate the API keys of a gateway's clients
description:
  - Gives clients of gated services keys of their own, and takes them back. The gateway goes by that when the task is
    over; nothing is restarted and no request is cut. It fails where the gateway refuses its files, and warns where it
    does not run.
  - Who has which key, what it opens and until when, stands with its SHA-256 in a file of the site, which the gateway
    reads. The key itself is in the host's secret store alone, as secret C(gateway_key_CLIENT_ID).
  - Clients that the inventory (C(gateway_clients)) or a role declares are listed too; these are changed there.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  action:
    description:
      - V(list) changes nothing.
      - V(issue) makes a key, on each run another one but where O(id) names one that is there as asked.
      - V(revoke) ends a client's key O(id), or all of its keys, at once, and forgets them.
      - V(rotate) makes a key in the place of another one, which stays good for O(overlap_days).
    type: str
    choices: [list, issue, revoke, rotate]
    default: list
  client:
    description: >-
      Whose key it is, needed but with O(action=list). Up to 32 of V(a-z), V(0-9) and V(_), a letter first. One that is
      new is made.
    type: str
  id:
    description:
      - Which of the client's keys. A new key is called by its date where this is left out.
      - With O(action=rotate) it may be left out where one key alone has no successor yet.
    type: str
  scopes:
    description:
      - Names of the gated services that a new key opens, scopes that several share, or V(*) for all, those to come too.
      - With O(action=rotate) those of the old key, where this is left out.
    type: list
    elements: str
  expires:
    description:
      - The last day of a new key, in UTC, such as V(2027-01-31), or a time such as V(2027-01-31T12:00:00Z).
      - Without it a new key does not end, and one that takes another one's place ends when that one would have.
    type: str
  overlap_days:
    description: How long a key stays good after O(action=rotate) has put another one in its place.
    type: int
    default: 7
  rate:
    description: How often the client may call, with all its keys together. It stays as it was where this is left out.
    type: dict
    suboptions:
      per_minute:
        description: Requests a minute in the long run.
        type: float
        required: true
      burst:
        description: Requests at once; a second's worth if left out, at least 1.
        type: float
  show:
    description:
      - Print a new key on the screen of whoever runs the playbook, this once. It is in no result, diff, fact or log.
      - Without it C(modelyard secrets show SECRET) prints it on the host, as often as it is asked.
    type: bool
    default: false
  issued_by:
    description: Who asks, for the list. The user on the host if left out.
    type: str
  gateway:
    description: >-
      The folder of the gateway's configuration on the host, with C(services.json) and C(keys.json). That of project
      C(*-gateway) of the site if left out.
    type: path
  site_directory:
    description: The folder of the site.
    type: path
    default: /opt/modelyard
  secret_store:
    description: The secret store.
    type: path
    default: /etc/modelyard/secrets.json
  seal_for:
    description: Public key of whoever is to see a new key. O(show) makes one for the run; leave it out.
    type: str
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Shows the list of the client's keys before and after, never a key.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: partial
    details:
      - O(action=issue) without O(id) and O(action=rotate) make a key on every run.
requirements:
  - With O(show), C(python3-cryptography) on the host
seealso:
  - module: modelyard.platform.secrets
"""

EXAMPLES = r"""
- name: Give a client a key and show it
  modelyard.platform.api_keys:
    action: issue
    client: alice
    scopes: [chat, segmentation]
    expires: "2027-01-31"
    rate: {per_minute: 60}
    show: true

- name: Have a key that a second run leaves as it is
  modelyard.platform.api_keys:
    action: issue
    client: nightly
    id: batch
    scopes: [segmentation]

- name: Put a new key in the place of the old one, which stays good for two weeks
  modelyard.platform.api_keys:
    action: rotate
    client: alice
    expires: "2027-07-31"
    overlap_days: 14

- name: End all keys of a client at once
  modelyard.platform.api_keys:
    action: revoke
    client: alice

- name: Read which keys there are
  modelyard.platform.api_keys:
  register: __keys
"""

RETURN = r"""
api_keys:
  description: Every key that the gateway knows, issued and declared, after the run.
  returned: success
  type: list
  elements: dict
  contains:
    client:
      description: Whose it is.
      type: str
    id:
      description: Which of the client's keys.
      type: str
    scopes:
      description: The services that it opens.
      type: list
      elements: str
    expires:
      description: From when on it is none; null where it does not end.
      type: str
    state:
      description: >-
        One of V(active), V(ends_soon) (within 14 days), V(replaced) (good until it ends), V(expired) and V(lost) (its
        value is not in the secret store).
      type: str
    source:
      description: V(issued), or V(declared) by the inventory or a role.
      type: str
    issued_at:
      description: When it was issued; null of a declared one.
      type: str
    issued_by:
      description: Who issued it; null of a declared one.
      type: str
    replaced_by:
      description: Id of the key that has taken its place, or null.
      type: str
    secret:
      description: Name of the secret that holds it.
      type: str
  sample:
    - {client: alice, id: "20261122", scopes: [chat], expires: "2027-01-31T23:59:59Z", state: active, source: issued}
table:
  description: The same for people.
  returned: success
  type: str
plan:
  description: What was done, in check mode what would be.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: One of V(issue), V(limit), V(end), V(revoke) and V(forget).
      type: str
    client:
      description: Whose key.
      type: str
    id:
      description: Which key; empty of V(limit).
      type: str
    reason:
      description: Why, or how.
      type: str
  sample:
    - {action: issue, client: alice, id: "20261122", reason: "it was asked for, for chat, without end"}
secret:
  description: Name of the secret that holds the new key.
  returned: when one is made
  type: str
"""

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.release import who
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._keys.in_force import have_read
from ansible_collections.modelyard.platform.plugins.module_utils._keys.known import Places
from ansible_collections.modelyard.platform.plugins.module_utils._keys.task import (
    Outcome,
    diff_of,
    perform,
    result_of,
)
from ansible_collections.modelyard.platform.plugins.module_utils._keys.wish import parse_wish

SPEC: dict[str, Any] = {
    "action": {"type": "str", "choices": ["list", "issue", "revoke", "rotate"], "default": "list"},
    "client": {"type": "str"},
    "id": {"type": "str"},
    "scopes": {"type": "list", "elements": "str"},
    "expires": {"type": "str"},
    "overlap_days": {"type": "int", "default": 7},
    "rate": {
        "type": "dict",
        "options": {"per_minute": {"type": "float", "required": True}, "burst": {"type": "float"}},
    },
    "show": {"type": "bool", "default": False},
    "issued_by": {"type": "str"},
    "gateway": {"type": "path"},
    "site_directory": {"type": "path", "default": "/opt/modelyard"},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "seal_for": {"type": "str"},
}


def seal(outcome: Outcome, recipient: str | None) -> dict[str, str]:
    """Return a new key as the recipient alone can read it; nothing where none was made."""
    if not recipient or not outcome.made or outcome.store is None:
        return {}
    from ansible_collections.modelyard.platform.plugins.module_utils._secrets.sealing import seal as seal_secret

    return {"sealed": seal_secret(outcome.store, outcome.made, recipient=recipient)}


def carry_out(params: dict[str, Any], *, check_mode: bool, now: int) -> dict[str, Any]:
    """Do what is asked; return the answer.

    :raises PlatformError: it cannot be done.
    """
    wish = parse_wish(params, who=who(), now=now)
    if params["seal_for"] and not check_mode:
        from ansible_collections.modelyard.platform.plugins.module_utils._secrets.backend import require_cryptography

        # Before a key is made that nobody would see.
        require_cryptography("show a new key")
    places = Places(params["site_directory"], params["secret_store"], params["gateway"] or "")
    outcome = perform(wish, places, check_mode=check_mode, now=now)
    said = have_read(places.gateway_folder, wish.doing) if outcome.plan.steps and not check_mode else ""
    return {
        **result_of(outcome, now),
        "warnings": [f"The gateway was not asked to read the keys: {said}"] if said else [],
        "diff": diff_of(outcome, now),
        **seal(outcome, params["seal_for"]),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        answer = carry_out(module.params, check_mode=module.check_mode, now=int(time.time()))
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed: it may hold a key
        module.fail_json(msg=f"Cannot {module.params['action']} keys: {describe_bug(error)}")
    for warning in answer.pop("warnings"):
        module.warn(warning)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
