# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: inference_plan
short_description: Turn inference services into what their roles and modules take
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Gives what services, which name engines, come to on a host of a site, and what is wrong with them. Nothing is looked
    at but what is given.
options:
  _input:
    description: The services, as O(modelyard.platform.inference#role:main:inference_services) has them.
    type: list
    elements: dict
    required: true
  engines:
    description: Name to engine, as the files of role C(inference) describe them.
    type: dict
    required: true
  site:
    description:
      - What the services are rendered for, as C(domain), C(prefix), C(directory), C(images), C(health_check) and
        C(memory_limit); and where they are known C(recipes), the images that were built, C(registered), the folders of
        models of MLflow's registry, C(gpu_form), C(has_gpus) and C(gateway).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what is wrong with the services
  ansible.builtin.debug:
    msg: "{{ (inference_services | modelyard.platform.inference_plan(engines, site)).problems }}"
"""

RETURN = r"""
_value:
  description:
    - C(services) of Compose, C(gated) services and C(routes), C(gpu) requests, C(models) for
      M(modelyard.platform.model_files), C(registered) ones for M(modelyard.platform.mlflow_model), C(recipes) of
      images, C(wait_seconds) for the gate, and C(problems) with C(problem), all of them as one text.
  type: dict
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._inference.plan import plan_inference
from ansible_collections.modelyard.platform.plugins.module_utils._inference.render import SiteFacts


def inference_plan(services: object, engines: Mapping[str, Any], site: Mapping[str, Any]) -> dict[str, Any]:
    """Return what services come to."""
    facts = SiteFacts(
        domain=str(site["domain"]),
        prefix=str(site["prefix"]),
        directory=str(site["directory"]),
        pulls_images=site["images"] == "registry",
        recipes=site.get("recipes") or {},
        health_check=site["health_check"],
        gpu_form="cdi" if site.get("gpu_form") == "cdi" else "nvidia",
        has_gpus=site.get("has_gpus"),
        gateway=str(site.get("gateway") or ""),
        memory_limit=str(site["memory_limit"]),
        registered=site.get("registered") or {},
    )
    return plan_inference(services, engines, facts)


class FilterModule:
    """The filters of this file, as Ansible looks them up."""

    def filters(self) -> dict[str, Callable[..., dict[str, Any]]]:
        """Map name to filter."""
        return {"inference_plan": inference_plan}
