#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.mlflow_model: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: mlflow_model
short_description: Models of MLflow's registry on a host, as their aliases lead to them now
description:
  - Looks up which version of a registered model an alias leads to, fetches its files into a folder that an engine
    mounts read-only, and tells of which packages the image is made that it runs in.
  - An alias that was moved in the registry is a change. Check mode says so and fetches nothing.
  - A version never changes, so one that is there is not fetched again; what no service has any more stays.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
options:
  directory:
    description: The site's folder on the host; versions are in C(models/mlflow) below it.
    type: path
    default: /opt/modelyard
  registry:
    description: Where MLflow is, and who asks. READ is enough.
    type: dict
    required: true
    suboptions:
      url:
        description: Its address, such as V(https://mlflow.example.org).
        type: str
        required: true
      username:
        description: The user.
        type: str
        required: true
      password:
        description: The user's password; better a reference to a secret.
        type: str
        required: true
      address:
        description: Where to connect to, if not where the name in O(registry.url) leads.
        type: str
        default: ""
      authority:
        description: >-
          Certificates, as PEM, of who signs MLflow's, or a reference to them. Public authorities are trusted where it
          is empty.
        type: str
        default: ""
  models:
    description: The models.
    type: list
    elements: dict
    required: true
    suboptions:
      service:
        description: Name of the inference service that has it.
        type: str
        required: true
      uri:
        description: C(models:/NAME@ALIAS), or C(models:/NAME/NUMBER) for one version for ever.
        type: str
        required: true
      python:
        description: Python that it runs on, where that is not what it says itself.
        type: str
        choices: ["", "3.11", "3.13"]
        default: ""
  secret_store:
    description: The store that references lead to.
    type: path
    default: /etc/modelyard/secrets.json
  timeout_seconds:
    description: How long MLflow may be silent.
    type: int
    default: 60
  wait_seconds:
    description: How long to wait for somebody else who fetches.
    type: int
    default: 3600
attributes:
  check_mode:
    support: full
    description: >-
      Asks the registry and reads small files of a new version; nothing is kept. Where the secret of its user was not
      made yet, there is nobody to ask, and RV(models) is empty.
  diff_mode:
    support: full
    description: The version of each service, before and after.
"""

EXAMPLES = r"""
- name: Have the model that the alias leads to
  modelyard.platform.mlflow_model:
    registry:
      url: https://mlflow.example.org
      username: inference
      password: "{{ 'registry_password' | modelyard.platform.secret_reference }}"
    models:
      - {service: roofs, uri: models:/roofs@champion}
  register: registered

- name: Build what it runs in
  modelyard.platform.image:
    name: modelyard/mlflow-model
    base: "{{ site_image_base | combine({'suite': registered.models.roofs.image.suite}) }}"
    files: "{{ registered.models.roofs.image.files }}"
    smoke: [mlflow --version]
    directory: /opt/modelyard
"""

RETURN = r"""
plan:
  description: What is done for which service, and why.
  returned: success
  type: list
  elements: dict
  sample:
    - service: roofs
      action: serve
      version: "4"
      reason: models:/roofs@champion is version 4, and version 3 is served
models:
  description: >-
    Service to its model: C(name) and C(version) in the registry, C(path) of its folder, and C(image), of which module
    M(modelyard.platform.image) makes what it runs in (C(suite) of the base, C(files)).
  returned: success
  type: dict
"""

import os
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import DEFAULT_DIRECTORY, Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.connection import Connection
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.model import RegisteredModel, parse_model_uri
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.registry import Registry
from ansible_collections.modelyard.platform.plugins.module_utils._mlflow.task import Task
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import resolve

REGISTRY_OPTIONS: dict[str, Any] = {
    "url": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "address": {"type": "str", "default": ""},
    "authority": {"type": "str", "default": ""},
}

MODEL_OPTIONS: dict[str, Any] = {
    "service": {"type": "str", "required": True},
    "uri": {"type": "str", "required": True},
    "python": {"type": "str", "choices": ["", "3.11", "3.13"], "default": ""},
}

OPTIONS: dict[str, Any] = {
    "directory": {"type": "path", "default": DEFAULT_DIRECTORY},
    "registry": {"type": "dict", "required": True, "options": REGISTRY_OPTIONS},
    "models": {"type": "list", "elements": "dict", "required": True, "options": MODEL_OPTIONS},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "timeout_seconds": {"type": "int", "default": 60},
    "wait_seconds": {"type": "int", "default": 3600},
}


def parse_models(given: list[dict[str, Any]]) -> list[RegisteredModel]:
    """Return the models of the services.

    :raises PlatformError: a service has two, or a name is none of the registry.
    """
    services = [entry["service"] for entry in given]
    for service in services:
        if services.count(service) > 1:
            raise PlatformError(f"Cannot serve two models as {service!r}: each service has one; rename one of them.")
    return [
        RegisteredModel(entry["service"], parse_model_uri(entry["uri"], entry["service"]), entry["python"])
        for entry in given
    ]


def unknown(models: list[RegisteredModel]) -> dict[str, Any]:
    """Return the result of check mode where the site has no registry yet that could be asked."""
    after = "".join(f"{model.service}: {model.uri}\n" for model in models)
    return {"changed": True, "plan": [], "models": {}, "diff": {"before": "", "after": after}}


def run_task(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Return the module's result.

    :raises PlatformError: a model cannot be had; the text holds no secret.
    """
    site = Site(os.path.normpath(params["directory"]))
    site.check_version(program="the module mlflow_model", exactly=False)
    given = params["registry"]
    # In check mode a secret may be one that an earlier task would make.
    source = SecretSource(params["secret_store"], may_lack=check_mode)
    with source.masked_errors():
        models = parse_models(params["models"])
        connection = Connection(
            given["url"].rstrip("/"),
            given["username"],
            resolve(given["password"], source.lookup),
            given["address"],
            resolve(given["authority"], source.lookup),
            params["timeout_seconds"],
        )
        if source.lacking():
            return unknown(models)
        task = Task(site, models, Registry(connection), params["wait_seconds"])
        return task.carry_out(check_mode=check_mode)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    try:
        result = run_task(module.params, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed: it may hold a secret
        module.fail_json(msg=f"Cannot have models of the registry: {describe_bug(error)}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
