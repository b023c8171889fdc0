#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compose_release
short_description: List, bring back and prune the releases of a Compose project
version_added: 0.1.0
description:
  - Every apply of M(modelyard.platform.compose_project) is kept on the host as a release, with its definition, files,
    images and versions of secrets. This module lists them, applies one of them again, or gives up the oldest.
  - Going back asks no registry and needs no playbook of that time. It is an apply like any other, with the same plan,
    gate and way back, and is recorded as a new release.
  - What is in volumes and databases stays as it is.
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Docker Engine 20.10 or newer, reached by its socket on the host.
  - Docker Compose 2.24.4 or newer, as a plugin, for V(rolled_back) and V(pruned).
attributes:
  check_mode:
    support: full
    description: The plan is the one that the real run carries out.
  diff_mode:
    support: full
    description: As in M(modelyard.platform.compose_project); for V(pruned) the kept releases.
options:
  name:
    description: Name of the Compose project.
    type: str
    required: true
  directory:
    description: Folder of the site on the host.
    type: path
    default: /opt/modelyard
  state:
    description:
      - V(listed) only looks.
      - V(rolled_back) applies O(release) again. Nothing changes when that is what runs.
      - V(pruned) gives up the oldest releases beyond O(keep) with the names of their images, never the one that serves.
    type: str
    choices: [listed, rolled_back, pruned]
    default: listed
  release:
    description:
      - Number of the release to go back to; also a newer one than what serves, to go forward again.
      - By default the last good one before what serves. After a way back that is the one before the release that came
        back, so a second time goes further back.
    type: int
  keep:
    description: How many releases V(pruned) keeps, the newest ones.
    type: int
    default: 5
  wait_seconds:
    description: How long services may take until they are what they should be.
    type: int
    default: 300
  lock_seconds:
    description: How long to wait for another apply of the same project.
    type: int
    default: 600
  on_failure:
    description: Whether a way back that fails ends at the release that served before, or stays as it is for a look.
    type: str
    choices: [rollback, keep]
    default: rollback
  restore_databases:
    description:
      - Whether databases that were migrated since the release served get back what they held then. What they hold now
        is dumped first and kept with the new release.
      - Only databases of services that say C(migrates) under C(x-modelyard) are dumped and restored.
    type: bool
    default: true
  secret_store:
    description: The secret store that holds the versions that the release needs.
    type: path
    default: /etc/modelyard/secrets.json
seealso:
  - module: modelyard.platform.compose_project
  - module: modelyard.platform.compose_project_info
"""

EXAMPLES = r"""
- name: List the releases of a project
  modelyard.platform.compose_release:
    name: shop
  register: shop

- name: Go back to the last good release
  modelyard.platform.compose_release:
    name: shop
    state: rolled_back

- name: Go to release 7
  modelyard.platform.compose_release:
    name: shop
    state: rolled_back
    release: 7

- name: Keep the three newest releases only
  modelyard.platform.compose_release:
    name: shop
    state: pruned
    keep: 3
"""

RETURN = r"""
releases:
  description:
    - The kept releases, oldest first, each with C(number), C(current), C(result) (V(ok), V(failed), V(interrupted),
      V(applying)), C(started_at), C(finished_at), C(by), C(cause) of a failure, C(rolled_back_to), C(images) and
      C(image_ids) by service, C(secrets) (their versions) and C(compose_version).
  returned: success
  type: list
  elements: dict
  sample:
    - number: 1
      current: true
      result: ok
      images:
        web: registry.example.org/shop:1.4.2
release:
  description: Number of the release that serves.
  returned: success
  type: int
rolled_back_to:
  description: Number of the release that was, or in check mode would be, applied again.
  returned: when O(state=rolled_back)
  type: int
plan:
  description: What happens to each service that does not stay as it is, as in M(modelyard.platform.compose_project).
  returned: when O(state=rolled_back)
  type: list
  elements: dict
other_changes:
  description: What else changes, such as files and networks.
  returned: when O(state=rolled_back)
  type: list
  elements: str
services:
  description: Every service of the release with its verdict.
  returned: when O(state=rolled_back), not in check mode
  type: dict
secrets_in_env:
  description: Variables of the release that hold a secret where the engine shows it.
  returned: when O(state=rolled_back)
  type: list
  elements: str
pruned:
  description: Numbers of the releases that were, or in check mode would be, given up.
  returned: when O(state=pruned)
  type: list
  elements: int
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._compose.run_release import ReleaseRun, parse_wish
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

SPEC = {
    "name": {"type": "str", "required": True},
    "directory": {"type": "path", "default": "/opt/modelyard"},
    "state": {"type": "str", "choices": ["listed", "rolled_back", "pruned"], "default": "listed"},
    "release": {"type": "int"},
    "keep": {"type": "int", "default": 5},
    "wait_seconds": {"type": "int", "default": 300},
    "lock_seconds": {"type": "int", "default": 600},
    "on_failure": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
    "restore_databases": {"type": "bool", "default": True},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    progress: dict[str, object] = {}
    try:
        run = ReleaseRun(parse_wish(module.params), program="compose_release", check_mode=module.check_mode)
        progress = run.progress
        result = run.carry_out()
    except PlatformError as error:
        module.fail_json(msg=str(error), **progress)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug

        module.fail_json(
            msg=f"Cannot work on the releases of project {module.params['name']!r}: {describe_bug(error)}", **progress
        )
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
