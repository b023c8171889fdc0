#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.image: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image
short_description: Build packaged images on a host, without an image registry
description:
  - Builds a container image from distribution and language packages. The base is bootstrapped with C(mmdebstrap), the
    rest is a C(Dockerfile) that starts from it. No image registry is asked for anything.
  - The tag is the digest of all inputs, so equal recipes give equal tags, and a second run does nothing; it asks the
    engine one question.
  - With O(state=pruned), removes images that this module built and that no kept release, no container and no current
    recipe needs. Images of others are never touched.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Docker Engine 20.10 or newer, the docker CLI with buildx
  - mmdebstrap, to build a base
options:
  state:
    description:
      - V(present) builds what is missing.
      - V(pruned) removes what is not needed any more.
    type: str
    choices: [present, pruned]
    default: present
  name:
    description:
      - Repository part of the image's tag, such as V(modelyard/mlflow). Without a registry's host; see O(push_to).
      - Needed with O(state=present). With O(state=pruned), only images of this name, and bases, are looked at.
    type: str
  recipe:
    description:
      - Folder on the host with a C(Dockerfile) and the files that it copies. Exactly one of O(recipe) and O(files) is
        given.
      - Of a file's mode only the executable bit counts. Links are refused.
    type: path
  files:
    description:
      - The recipe as data, as path and text, so that a role needs no copy task. A file that starts with C(#!) is
        executable.
    type: dict
  base:
    description:
      - What the image starts from. Recipes with equal data share one base, tagged C(modelyard/base) and its digest.
      - Needed with O(state=present).
    type: dict
    suboptions:
      suite:
        description: Release of the distribution, such as V(trixie) or V(sid).
        type: str
        required: true
      variant:
        description: Size of the base, as C(mmdebstrap) names it.
        type: str
        choices: [minbase, apt, required, important, buildd, essential]
        default: minbase
      components:
        description: Components of the archive.
        type: list
        elements: str
        default: [main]
      packages:
        description: Packages to install besides those of the variant.
        type: list
        elements: str
        default: [ca-certificates]
      path_excludes:
        description: Paths that C(dpkg) leaves out, in the base and in everything that a recipe installs.
        type: list
        elements: str
        default: []
      apt_options:
        description:
          - Lines of apt configuration, kept in the image. V(Acquire::Check-Valid-Until "false") accepts a mirror
            whose lists have expired, as happens with sid.
        type: list
        elements: str
        default: []
      mirror:
        description:
          - Address of the archive. Without it, the one in the machine's own apt sources, together with its security
            repository. A mirror that is given here is an input of the tag, the machine's own is not.
        type: str
      security_mirror:
        description: Address of the security repository that goes with O(base.mirror).
        type: str
      revision:
        description: Any text; another one builds the base and all its images anew, from the packages of that day.
        type: str
        default: ""
  arguments:
    description:
      - Build arguments, by name. Never secrets, which could be read from the image; references to secrets are
        refused.
    type: dict
    default: {}
  smoke:
    description:
      - Commands that have to succeed in the new image before it gets its tag. Each is split like a shell would and
        run as the image's user without network. They are no input of the tag.
    type: list
    elements: str
    default: []
  push_to:
    description:
      - Registry, as C(host[:port][/path]), to which the image is pushed if it is not there. The login is that of the
        docker CLI (C(docker login)).
    type: str
  ca_bundle:
    description:
      - The host's certificates, offered to the build as the secret C(ca); they do not remain in the image. Empty for
        none.
      - Where the file is missing, none is offered.
    type: path
    default: /etc/ssl/certs/ca-certificates.crt
  directory:
    description: The site's folder on the host, where releases, locks and the record of current images are.
    type: path
    default: /opt/modelyard
  keep:
    description: How many images of a name O(state=pruned) leaves, the current one first, then the newest.
    type: int
    default: 2
  timeout_seconds:
    description: How long the bootstrap of a base, the build and the push may each take.
    type: int
    default: 3600
  smoke_seconds:
    description: How long each command of O(smoke) may take.
    type: int
    default: 300
  wait_seconds:
    description: How long to wait for another run that builds the same image.
    type: int
    default: 3600
attributes:
  check_mode:
    description:
      - Says what would be built, pushed or removed. Asks the engine, and with O(push_to) the registry; writes nothing.
    support: full
  diff_mode:
    description: Shows the recipe's inputs by their digests, before and after.
    support: full
notes:
  - A C(Dockerfile) starts with C(ARG BASE) and C(FROM ${BASE}). It has no C(# syntax=) line, and copies from its own
    stages only.
  - Steps run with the host's network, hence its MTU. The host's proxy variables reach them and are in no layer.
  - A step that fetches through a proxy with its own certificate mounts the bundle with
    C(RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt).
  - The here-documents of newer Dockerfiles need BuildKit of engine 23 or newer.
  - An image that two sites on one machine build from equal inputs is one image; it is pruned by the site that built
    it, and built again from the cache where the other one wants it.
seealso:
  - module: modelyard.platform.compose_project
"""

EXAMPLES = r"""
- name: Build the tracking server
  modelyard.platform.image:
    name: modelyard/mlflow
    recipe: /opt/recipes/mlflow
    base:
      suite: trixie
      packages: [ca-certificates, python3]
      path_excludes: [/usr/share/doc/*, /usr/share/man/*, /usr/share/locale/*]
    arguments:
      VERSION: "3.17.2"
    smoke:
      - /opt/mlflow/bin/python -c 'import mlflow.server.auth'
  register: mlflow_image

- name: Build a small tool from data
  modelyard.platform.image:
    name: modelyard/tool
    base: {suite: trixie}
    files:
      Dockerfile: |
        ARG BASE
        FROM ${BASE}
        RUN --mount=type=secret,id=ca,target=/etc/ssl/certs/ca-certificates.crt \
            apt-get update && apt-get install -y --no-install-recommends jq && rm -rf /var/lib/apt/lists/*
        COPY run.sh /usr/local/bin/run
        USER 10001
        ENTRYPOINT ["run"]
      run.sh: |
        #!/bin/sh
        exec jq --version

- name: Build once, and offer the image to the other hosts
  modelyard.platform.image:
    name: modelyard/tool
    recipe: /opt/recipes/tool
    base: {suite: trixie}
    push_to: registry.example.org:5000/platform

- name: Remove what no release needs
  modelyard.platform.image:
    state: pruned
    keep: 2
"""

RETURN = r"""
image:
  description: The image's full reference, with its digest tag.
  returned: with O(state=present)
  type: str
  sample: modelyard/mlflow:3f1d0c52a9b7e644
id:
  description: The image's id; empty in check mode while the image is not built.
  returned: with O(state=present)
  type: str
  sample: sha256:4b1a...
base:
  description: Reference of the base that the image starts from.
  returned: with O(state=present)
  type: str
  sample: modelyard/base:97c2b1f0de5a8831
pushed:
  description: The image's reference at the registry.
  returned: with O(state=present), if O(push_to) is given
  type: str
  sample: registry.example.org:5000/platform/modelyard/tool:3f1d0c52a9b7e644
plan:
  description: What was done, in check mode what would be done, with the reason of each step.
  returned: success
  type: list
  elements: dict
  contains:
    action:
      description:
        - With O(state=present), V(build), V(record) (make an image that is there the current one), V(push) or V(none).
        - With O(state=pruned), V(remove) or V(keep).
      type: str
    image:
      description: The image's reference, of an image without a tag its id.
      type: str
    reason:
      description: Why.
      type: str
  sample:
    - action: build
      image: modelyard/mlflow:3f1d0c52a9b7e644
      reason: "inputs changed since modelyard/mlflow:08f2b6b1c0d3a9e7: file Dockerfile, argument VERSION"
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import (
    Engine,
    EngineError,
    socket_path_of,
)
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import DEFAULT_DIRECTORY, Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.base import BASE_DEFAULTS, VARIANTS, parse_base
from ansible_collections.modelyard.platform.plugins.module_utils._image.build import Order, Workshop
from ansible_collections.modelyard.platform.plugins.module_utils._image.plan import (
    describe_inputs,
    is_changing,
    make_plan,
)
from ansible_collections.modelyard.platform.plugins.module_utils._image.recipe import parse_recipe
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program

BASE_OPTIONS: dict[str, Any] = {
    "suite": {"type": "str", "required": True},
    "variant": {"type": "str", "choices": list(VARIANTS), "default": BASE_DEFAULTS["variant"]},
    "components": {"type": "list", "elements": "str", "default": BASE_DEFAULTS["components"]},
    "packages": {"type": "list", "elements": "str", "default": BASE_DEFAULTS["packages"]},
    "path_excludes": {"type": "list", "elements": "str", "default": BASE_DEFAULTS["path_excludes"]},
    "apt_options": {"type": "list", "elements": "str", "default": BASE_DEFAULTS["apt_options"]},
    "mirror": {"type": "str", "default": BASE_DEFAULTS["mirror"]},
    "security_mirror": {"type": "str", "default": BASE_DEFAULTS["security_mirror"]},
    "revision": {"type": "str", "default": BASE_DEFAULTS["revision"]},
}

OPTIONS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "pruned"], "default": "present"},
    "name": {"type": "str"},
    "recipe": {"type": "path"},
    "files": {"type": "dict"},
    "base": {"type": "dict", "options": BASE_OPTIONS},
    "arguments": {"type": "dict", "default": {}},
    "smoke": {"type": "list", "elements": "str", "default": []},
    "push_to": {"type": "str"},
    "ca_bundle": {"type": "path", "default": "/etc/ssl/certs/ca-certificates.crt"},
    "directory": {"type": "path", "default": DEFAULT_DIRECTORY},
    "keep": {"type": "int", "default": 2},
    "timeout_seconds": {"type": "int", "default": 3600},
    "smoke_seconds": {"type": "int", "default": 300},
    "wait_seconds": {"type": "int", "default": 3600},
}


def parse_order(params: dict[str, Any]) -> Order:
    """Return the image that the task wants; nothing is run.

    :raises PlatformError: it cannot be built as it is described.
    """
    recipe = parse_recipe(
        name=params["name"],
        base=parse_base(params["base"], architecture=os.uname().machine),
        folder=params["recipe"],
        files=params["files"],
        arguments=params["arguments"],
    )
    destination = checks = None
    if params["push_to"]:
        from ansible_collections.modelyard.platform.plugins.module_utils._image.registry import parse_destination

        destination = parse_destination(params["push_to"])
    if params["smoke"]:
        from ansible_collections.modelyard.platform.plugins.module_utils._image.smoke import parse_commands

        checks = parse_commands(params["smoke"])
    return Order(
        recipe,
        checks=checks or (),
        destination=destination,
        ca_bundle=params["ca_bundle"] if os.path.isfile(params["ca_bundle"]) else "",
        timeout_seconds=params["timeout_seconds"],
        check_seconds=params["smoke_seconds"],
        wait_seconds=params["wait_seconds"],
    )


def ensure_present(workshop: Workshop, params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Build what is missing, in check mode nothing; return the module's result."""
    order = parse_order(params)
    observed = workshop.observe(order)
    plan = make_plan(order.recipe, observed, pushed_reference=order.pushed_reference)
    image = observed.image
    if is_changing(plan) and not check_mode:
        plan = workshop.apply(order)
        image = workshop.find(order)
    before = observed.record
    result = {
        "changed": is_changing(plan),
        "image": order.recipe.reference,
        "id": image.id if image else "",
        "base": order.recipe.base.reference,
        "plan": [step.as_result() for step in plan],
        "diff": {
            "before": describe_inputs(before.reference, before.inputs) if before else "",
            "after": describe_inputs(order.recipe.reference, order.recipe.inputs),
        },
    }
    return {**result, "pushed": order.pushed_reference} if order.destination else result


def ensure_pruned(workshop: Workshop, params: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Remove what is not needed, in check mode nothing; return the module's result."""
    from ansible_collections.modelyard.platform.plugins.module_utils._image.prune import observe, prune

    chosen = {"keep": params["keep"], "name": params["name"]}
    if check_mode:
        verdicts = observe(workshop.engine, workshop.directory, **chosen)
    else:
        verdicts = prune(workshop, wait_seconds=params["wait_seconds"], **chosen)
    titles = [verdict.title for verdict in verdicts]
    left = [verdict.title for verdict in verdicts if verdict.action == "keep"]
    return {
        "changed": left != titles,
        "plan": [verdict.as_result() for verdict in verdicts],
        "diff": {"before": "".join(f"{title}\n" for title in titles), "after": "".join(f"{title}\n" for title in left)},
    }


def _failure(params: dict[str, Any]) -> str:
    return f"Cannot build image {params['name']}" if params["state"] == "present" else "Cannot prune images"


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec=OPTIONS,
        mutually_exclusive=[("recipe", "files")],
        required_if=[("state", "present", ("name", "base")), ("state", "present", ("recipe", "files"), True)],
        supports_check_mode=True,
    )
    ensure = ensure_present if module.params["state"] == "present" else ensure_pruned
    directory = os.path.normpath(module.params["directory"])
    try:
        Site(directory).check_version(program="the module image", exactly=False)
        engine = Engine(socket_path_of(os.environ))
        workshop = Workshop(directory, engine=engine, run=run_program)
        result = ensure(workshop, module.params, check_mode=module.check_mode)
    except EngineError as error:
        # Without a status it says by itself that there is no engine.
        module.fail_json(msg=f"{_failure(module.params)}: {error}" if error.status else str(error))
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        cause = f"{error.filename or module.params['directory']}: {error.strerror or error}"
        module.fail_json(msg=f"{_failure(module.params)}: {cause}; run as root, on a disk with free space.")
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
