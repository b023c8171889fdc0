#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: compose_project
short_description: Apply a Docker Compose project with a true plan, a health gate, releases and a way back
version_added: 0.1.0
description:
  - Writes a project's files, plans what differs per service, applies exactly that, waits until every service is what
    it should be, and records a release. When nothing differs it is one round trip of a few requests to the engine.
  - A failed apply goes back to the last good release, from images, files and secret versions kept on the host.
  - Check mode and the real run use the same plan. V(check_mode) touches nothing and works on a bare host.
  - Containers, networks and volumes that are not the site's own are refused, never adopted.
  - How a plan is made is told in C(docs/compose_project.md).
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Docker Engine 20.10 or newer, reached by its socket on the host.
  - Docker Compose 2.24.4 or newer, as a plugin.
attributes:
  check_mode:
    support: full
    description: Nothing is pulled, so with O(pull=always) a tag that moved in its registry is not seen.
  diff_mode:
    support: full
    description: Shows images, names of variables, mounts, ports and labels, never the value of a variable.
options:
  name:
    description: Name of the Compose project.
    type: str
    required: true
  directory:
    description:
      - Folder of the site on the host; projects, releases and locks live below it.
    type: path
    default: /opt/modelyard
  layers:
    description:
      - Compose definitions as data, merged by Compose itself in this order.
      - >-
        C({__reset__: true}) becomes Compose's C(!reset), C({__override__: x}) its C(!override), so that a later layer
        can remove what an earlier one declares.
      - Under C(x-modelyard) a service says what Compose has no word for, see the notes.
      - With O(src), they are merged over the project that is there.
    type: list
    elements: dict
  src:
    description:
      - Folder on the host of a project that somebody else wrote. It is applied as it is; C(.env) there may set
        C(COMPOSE_FILE) and C(COMPOSE_PROFILES).
    type: path
  src_files:
    description: Compose files in O(src), in order. By default what Compose itself would take.
    type: list
    elements: str
  profiles:
    description: Profiles that are on.
    type: list
    elements: str
  env:
    description:
      - Variables for interpolation. Without O(src) they are written to C(.env) as well.
      - A value with a secret reference must be named in O(secrets_in_env).
    type: dict
  env_files:
    description: Files on the host with more variables for interpolation, relative to the project's folder.
    type: list
    elements: str
  secrets_in_env:
    description:
      - Variables of containers that may hold a secret. Whoever may ask the engine can read them there, so this is for
        programs that cannot read a file.
    type: list
    elements: str
  files:
    description: Files that containers of the project mount. One that is not declared any more is removed.
    type: list
    elements: dict
    suboptions:
      path:
        description: Path, relative to the project's folder, or absolute below O(directory).
        type: str
        required: true
      content:
        description: Content; secret references are replaced on the host.
        type: str
        required: true
      mode:
        description:
          - Octal mode, quoted. By default V(0644), and V(0400) for a file with a secret.
        type: str
      uid:
        description:
          - Owner. By default 0, and for a file with a secret the numeric C(user) of the services that mount it.
        type: int
      gid:
        description: Group, 0 by default.
        type: int
      on_change:
        description:
          - What a change does to the services that mount the file. V(recreate) makes their containers anew, V(reload)
            sends O(files[].reload_signal) or runs O(files[].reload_command) in them, V(watch) leaves them alone.
        type: str
        choices: [recreate, reload, watch]
        default: recreate
      reload_signal:
        description: Signal that makes the program read the file again, such as V(HUP).
        type: str
      reload_command:
        description: Command in the container that makes the program read the file again.
        type: list
        elements: str
  networks:
    description: Networks that several projects share; made if missing, with the host's MTU.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the network; layers refer to it as C(external).
        type: str
        required: true
      internal:
        description: Whether it has no way out.
        type: bool
        default: false
  edge:
    description:
      - Routes of the project for a Traefik with a file provider. With them a stateless service is updated start-first.
    type: dict
    suboptions:
      file:
        description: File below O(directory), in a folder that Traefik watches.
        type: path
        required: true
      config:
        description:
          - Traefik's dynamic configuration. The URL of a server names a service, such as C(http://web:8080); the
            names of its containers take its place.
        type: dict
        required: true
      api:
        description: URL of Traefik's API as this host reaches it. Without it nothing is updated start-first.
        type: str
  pull:
    description: When to ask registries for images.
    type: str
    choices: [missing, always, never]
    default: missing
  wait_seconds:
    description: How long services may take until they are what they should be.
    type: int
    default: 300
  lock_seconds:
    description: How long to wait for another apply of the same project.
    type: int
    default: 600
  update:
    description:
      - V(auto) updates start-first where that is safe, and the plan says why where it is not; V(stop_first) never does.
    type: str
    choices: [auto, stop_first]
    default: auto
  on_failure:
    description: Whether a failed apply goes back to the last good release, or stays as it is for a look.
    type: str
    choices: [rollback, keep]
    default: rollback
  keep_releases:
    description: How many releases are kept, with their images.
    type: int
    default: 5
  secret_store:
    description: The secret store that references are looked up in.
    type: path
    default: /etc/modelyard/secrets.json
  state:
    description:
      - V(present) applies, V(stopped) stops the containers, V(absent) removes them, the project's networks and
        the files that were written for it.
      - Volumes, releases and data stay in every state.
    type: str
    choices: [present, stopped, absent]
    default: present
notes:
  - >-
    Keys under C(x-modelyard) of a service are C(one_shot) (true when it is meant to end), C(migrates) (with
    C(database), C(service) and optionally C(project) and C(user)), C(update) (V(auto), V(start_first) or
    V(stop_first)), C(drain_seconds), C(settle_seconds), C(sleeps) (the gateway stops and starts it) and C(sleeper)
    (with C(project), C(service) and C(name); only that gateway starts it, and proves it whenever it is made anew).
  - A one-shot that C(migrates) a PostgreSQL database has it dumped first; the way back over it restores the dump.
seealso:
  - module: modelyard.platform.secrets
  - module: modelyard.platform.compose_release
  - module: modelyard.platform.compose_project_info
"""

EXAMPLES = r"""
- name: Apply a small web application
  modelyard.platform.compose_project:
    name: shop
    layers:
      - services:
          web:
            image: registry.example.org/shop:1.4.2
            user: "1000:1000"
            volumes:
              - ./config:/etc/shop:ro
            healthcheck:
              test: [CMD, /usr/bin/shop, --check]
              interval: 2s
    files:
      - path: config/shop.ini
        content: |
          [database]
          password = @@secret:shop_database@@

- name: Take a published port away that a layer declares
  modelyard.platform.compose_project:
    name: shop
    layers:
      - "{{ shop_definition }}"
      - services:
          web:
            ports:
              __reset__: true

- name: Apply a project that somebody else wrote, as it is
  modelyard.platform.compose_project:
    name: atlas
    src: /srv/atlas
    profiles: [production]
"""

RETURN = r"""
plan:
  description: What happens, or in check mode would happen, to each service that does not stay as it is.
  returned: success
  type: list
  elements: dict
  contains:
    service:
      description: Name of the service.
      type: str
    action:
      description: One of V(create), V(recreate), V(reload), V(start), V(stop), V(remove).
      type: str
    reasons:
      description: Why; each with a C(code) for programs and a C(text) for people.
      type: list
      elements: dict
    method:
      description: For V(recreate), V(start_first) or V(stop_first).
      type: str
    why:
      description: Why that method.
      type: str
  sample:
    - service: web
      action: recreate
      reasons:
        - code: image
          text: "image: shop:1.4.1 -> shop:1.4.2"
      method: start_first
      why: it is stateless
other_changes:
  description: What else changes, such as files and networks.
  returned: success
  type: list
  elements: str
services:
  description:
    - Every service of the project with its verdict, one of V(healthy), V(running), V(completed), V(asleep), and where
      the task fails also V(failed) and V(pending).
  returned: not in check mode, and on failure where the gate found it
  type: dict
  sample:
    web: healthy
release:
  description: Number of the release that serves; null in check mode on a host where nothing was applied.
  returned: success
  type: int
notes:
  description:
    - How start-first updates went, a sentence each, such as connections that were still open at the end, and what
      became of services that only the gateway starts.
  returned: when something was applied
  type: list
  elements: str
unproven:
  description:
    - Services that only the gateway starts and that it has not woken yet since they were made, each with the cause,
      such as no room in the GPUs. Their next wake proves them; if that fails, the next run brings the release before
      back.
  returned: when O(state=present)
  type: dict
  sample: {}
secrets_in_env:
  description: Variables that hold a secret where the engine shows it.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._compose.unchanged import find_unchanged
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError

FILE_SPEC = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True, "no_log": False},
    "mode": {"type": "str"},
    "uid": {"type": "int"},
    "gid": {"type": "int"},
    "on_change": {"type": "str", "choices": ["recreate", "reload", "watch"], "default": "recreate"},
    "reload_signal": {"type": "str"},
    "reload_command": {"type": "list", "elements": "str"},
}

SPEC = {
    "name": {"type": "str", "required": True},
    "directory": {"type": "path", "default": "/opt/modelyard"},
    "layers": {"type": "list", "elements": "dict"},
    "src": {"type": "path"},
    "src_files": {"type": "list", "elements": "str"},
    "profiles": {"type": "list", "elements": "str"},
    "env": {"type": "dict"},
    "env_files": {"type": "list", "elements": "str"},
    # Names of variables, not values.
    "secrets_in_env": {"type": "list", "elements": "str", "no_log": False},
    "files": {"type": "list", "elements": "dict", "options": FILE_SPEC},
    "networks": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, "internal": {"type": "bool", "default": False}},
    },
    "edge": {
        "type": "dict",
        "options": {
            "file": {"type": "path", "required": True},
            "config": {"type": "dict", "required": True},
            "api": {"type": "str"},
        },
    },
    "pull": {"type": "str", "choices": ["missing", "always", "never"], "default": "missing"},
    "wait_seconds": {"type": "int", "default": 300},
    "lock_seconds": {"type": "int", "default": 600},
    "update": {"type": "str", "choices": ["auto", "stop_first"], "default": "auto"},
    "on_failure": {"type": "str", "choices": ["rollback", "keep"], "default": "rollback"},
    "keep_releases": {"type": "int", "default": 5},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "state": {"type": "str", "choices": ["present", "stopped", "absent"], "default": "present"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    progress: dict[str, object] = {}
    try:
        unchanged = find_unchanged(module.params, check_mode=module.check_mode)
        if unchanged is not None:
            module.exit_json(**unchanged)
        # Compiled only where there is something to do.
        from ansible_collections.modelyard.platform.plugins.module_utils._compose.run_project import ProjectRun

        run = ProjectRun(module.params, check_mode=module.check_mode)
        progress = run.progress
        result = run.carry_out()
    except PlatformError as error:
        module.fail_json(msg=str(error), **progress)
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug

        module.fail_json(msg=f"Cannot apply project {module.params['name']!r}: {describe_bug(error)}", **progress)
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
