#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.model_files: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_files
short_description: Models on a host, each file with its checksum
description:
  - Fetches files of models that are missing, compares each with its SHA-256 before it gets its name, and lays them out
    in a folder per model, which an engine mounts read-only. What broke off is gone on with.
  - A file is kept under its checksum, so models share what they have in common, and a second run reads none of them.
  - With O(mirror), files come from a bucket of the site's own store first, and are put there afterwards.
  - Nothing is removed; what no declared model needs is told as RV(unused).
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  directory:
    description: The site's folder on the host; models are in C(models) below it.
    type: path
    default: /opt/modelyard
  models:
    description: The models.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name, for messages and RV(models).
        type: str
        required: true
      files:
        description: Its files.
        type: list
        elements: dict
        required: true
        suboptions:
          path:
            description: Where the engine finds it below the model's folder.
            type: str
            required: true
          sha256:
            description: SHA-256 of its content, of 64 hexadecimal digits.
            type: str
            required: true
          sources:
            description: >-
              Where it may come from, asked in this order; addresses of C(https) or C(http), or paths of files on the
              host. Not needed where the mirror has it.
            type: list
            elements: str
            default: []
          token:
            description: >-
              Sent as C(Authorization: Bearer) to sources of C(https), and to no host that they lead on to; better a
              secret reference.
            type: str
            default: ""
  mirror:
    description: A bucket of the site's own store on this host, in a service of a Compose project.
    type: dict
    suboptions:
      project:
        description: Compose project of the store.
        type: str
        required: true
      service:
        description: Service of the store.
        type: str
        required: true
      port:
        description: Where the store listens inside its container.
        type: int
        default: 9000
      bucket:
        description: The bucket; its objects are named by their SHA-256.
        type: str
        required: true
      access_key_id:
        description: Id of a key that may write there, or a secret reference.
        type: str
        required: true
      secret_access_key:
        description: Secret of that key, better a secret reference.
        type: str
        required: true
  compare:
    description:
      - V(changed) compares the content of files that were written since they were compared last, which it sees by size
        and time.
      - V(all) reads every file, and fetches anew what is damaged.
    type: str
    choices: [changed, all]
    default: changed
  secret_store:
    description: The host's secret store, for secret references.
    type: path
    default: /etc/modelyard/secrets.json
  timeout_seconds:
    description: How long a source may say nothing.
    type: int
    default: 60
  wait_seconds:
    description: How long to wait for another run that fetches models of this site.
    type: int
    default: 3600
attributes:
  check_mode:
    description: Says what would be fetched, laid out and mirrored; asks no source and no store.
    support: full
  diff_mode:
    description: Shows the declared files that are there, before and after.
    support: full
notes:
  - A mirror that does not answer is told as a warning. A model that cannot be had is an error.
  - The host's proxy variables and certificates count.
seealso:
  - module: modelyard.platform.s3_objects
  - module: modelyard.platform.compose_project
"""

EXAMPLES = r"""
- name: Have the models of two services
  modelyard.platform.model_files:
    models:
      - name: chat
        files:
          - path: model.gguf
            sha256: dc4503da5d7cc7254055a86cd90e1a8c9d16c6ac71eb3a32b34bf48a1f4e0999
            sources:
              - https://huggingface.co/MaziyarPanahi/Qwen3-0.6B-GGUF/resolve/main/Qwen3-0.6B.Q4_K_M.gguf
      - name: fields
        files:
          - path: encoder.onnx
            sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
            sources: [/srv/models/fields-encoder.onnx]
    mirror:
      project: modelyard-object-store
      service: s3
      bucket: models
      access_key_id: "@@secret:inference_s3_key_id@@"
      secret_access_key: "@@secret:inference_s3_secret@@"
  register: fetched

- name: Read every file of them, and fetch anew what is damaged
  modelyard.platform.model_files:
    models: "{{ my_models }}"
    compare: all
"""

RETURN = r"""
models:
  description: Name of each model to its folder, as C(path). Another content is another folder.
  returned: success
  type: dict
  sample:
    chat: {path: /opt/modelyard/models/trees/0b5cd8b1b1a1c9a35c5e4e5bb0c5d9a7}
plan:
  description: What was done, in check mode what would be done, with the reason of each step.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description: V(fetch), V(compare), V(link) or V(mirror).
      type: str
    model:
      description: Name of the model.
      type: str
    file:
      description: Path of the file; empty with V(link).
      type: str
    reason:
      description: Why.
      type: str
unused:
  description: Checksums of files that no declared model needs.
  returned: success
  type: list
  elements: str
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import DEFAULT_DIRECTORY, Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._models.declaration import parse_models
from ansible_collections.modelyard.platform.plugins.module_utils._models.mirror import Mirror
from ansible_collections.modelyard.platform.plugins.module_utils._models.task import MirrorPlace, Task
from ansible_collections.modelyard.platform.plugins.module_utils._s3.signing import AccessKey
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import resolve

FILE_OPTIONS: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "sha256": {"type": "str", "required": True},
    "sources": {"type": "list", "elements": "str", "default": []},
    "token": {"type": "str", "default": "", "no_log": True},
}

MIRROR_OPTIONS: dict[str, Any] = {
    "project": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "port": {"type": "int", "default": 9000},
    "bucket": {"type": "str", "required": True},
    # A name, not a secret.
    "access_key_id": {"type": "str", "required": True, "no_log": False},
    "secret_access_key": {"type": "str", "required": True, "no_log": True},
}

MODEL_OPTIONS: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE_OPTIONS},
}

OPTIONS: dict[str, Any] = {
    "directory": {"type": "path", "default": DEFAULT_DIRECTORY},
    "models": {"type": "list", "elements": "dict", "default": [], "options": MODEL_OPTIONS},
    "mirror": {"type": "dict", "options": MIRROR_OPTIONS},
    "compare": {"type": "str", "choices": ["changed", "all"], "default": "changed"},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "timeout_seconds": {"type": "int", "default": 60},
    "wait_seconds": {"type": "int", "default": 3600},
}


def find_mirror(params: Mapping[str, Any], key: AccessKey, *, timeout_seconds: float) -> Mirror:
    """Return the store that runs on this host.

    :raises PlatformError: it does not run.
    """
    from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine, socket_path_of
    from ansible_collections.modelyard.platform.plugins.module_utils._s3.container import find_container

    project, service = params["project"], params["service"]
    container = find_container(Engine(socket_path_of(os.environ)), project, service, wait_seconds=0)
    if container is None or not container.addresses:
        raise PlatformError(f"service '{service}' of project '{project}' does not run; apply that project first.")
    return Mirror(f"{container.addresses[0]}:{params['port']}", params["bucket"], key, timeout_seconds)


def mirror_of(params: Mapping[str, Any], source: SecretSource) -> MirrorPlace | None:
    """Return where the mirror is; nothing is asked yet."""
    mirror = params["mirror"]
    if mirror is None:
        return None

    def connect() -> Mirror:
        values = [resolve(mirror[name], source.lookup) for name in ("access_key_id", "secret_access_key")]
        return find_mirror(mirror, AccessKey(*values), timeout_seconds=params["timeout_seconds"])

    return MirrorPlace(mirror["bucket"], connect)


def with_tokens(models: list[dict[str, Any]], source: SecretSource) -> list[dict[str, Any]]:
    """Return the models with the values of the secrets that their tokens refer to."""
    return [
        {**model, "files": [{**file, "token": resolve(file["token"], source.lookup)} for file in model["files"]]}
        for model in models
    ]


def run_task(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Return the module's result.

    :raises PlatformError: a model cannot be had; the text holds no secret.
    """
    site = Site(os.path.normpath(params["directory"]))
    site.check_version(program="the module model_files", exactly=False)
    # In check mode a secret may be one that an earlier task would make.
    source = SecretSource(params["secret_store"], may_lack=check_mode)
    with source.masked_errors():
        task = Task(
            site,
            parse_models(with_tokens(params["models"], source)),
            mirror_of(params, source),
            compare_all=params["compare"] == "all",
            timeout_seconds=params["timeout_seconds"],
            wait_seconds=params["wait_seconds"],
        )
        return task.carry_out(check_mode=check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        result = run_task(module.params, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed: it may hold a secret
        module.fail_json(msg=f"Cannot have models: {describe_bug(error)}")
    for text in result.pop("warnings"):
        module.warn(text)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
