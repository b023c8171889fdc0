# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Projects in short form, as case files write them, made into what the planner works with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._compose.contents import render_files
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import DesiredService
from ansible_collections.modelyard.platform.plugins.module_utils._compose.model import make_services
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import Observed, ObservedContainer
from ansible_collections.modelyard.platform.plugins.module_utils._compose.plan import Plan, Recorded, make_plan
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project import ProjectFile, parse_extras
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.references import Reference

KEY = b"a key for tests"
CASE_KEYS = {
    "declared", "recorded", "observed", "asleep", "changed_networks", "drifted", "images", "carried", "plan",
    "restored", "edge", "image_volumes", "stop_first", "methods",
}  # fmt: skip


def make_desired(short: Mapping[str, Any]) -> dict[str, DesiredService]:
    """Return the services of a project in short form: ``services``, ``files`` and ``secrets``.

    Services are Compose's, with ``SOURCE:TARGET`` as mount and a list as ``depends_on``. ``files`` maps paths to
    a content, or to the options of a file. ``secrets`` maps names to values.
    """
    given = short.get("services") or {}
    services = {name: canonical_service(service or {}) for name, service in given.items()}
    model = {"name": "shop", "services": services}
    values = short.get("secrets") or {}

    def lookup(reference: Reference) -> str:
        return str(values[reference.name])

    files = [_file(path, options) for path, options in (short.get("files") or {}).items()]
    return make_services(
        model,
        extras=parse_extras([{"services": given}], "shop"),
        files=render_files(files, services, model, lookup),
        key=KEY,
        lookup=lookup,
        env={},
    )


def canonical_service(short: Mapping[str, Any]) -> dict[str, Any]:
    """Return a service as Compose writes it."""
    service = {key: value for key, value in short.items() if key != "x-modelyard"}
    service.setdefault("image", "web:1")
    if isinstance(service.get("depends_on"), list):
        service["depends_on"] = {name: {"condition": "service_started"} for name in service["depends_on"]}
    service["volumes"] = [_mount(entry) for entry in service.get("volumes") or ()]
    return service


def _mount(entry: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(entry, str):
        return entry
    source, _separator, target = entry.partition(":")
    return {"type": "bind" if source.startswith("/") else "volume", "source": source, "target": target}


def _file(path: str, options: str | Mapping[str, Any]) -> ProjectFile:
    if isinstance(options, str):
        return ProjectFile(path=path, content=options)
    return ProjectFile(**{"path": path, **options, "reload_command": tuple(options.get("reload_command", ()))})


def image_id(image: str) -> str:
    """Return the id that an image has in a case that says nothing else."""
    return f"sha256:{image}"


def read_observed(case: Mapping[str, Any], made_from: Mapping[str, Mapping[str, DesiredService]]) -> Observed:
    """Return what a case observes.

    :param made_from: ``declared`` and ``recorded`` services.
    """
    containers = tuple(_container(entry, made_from) for entry in case.get("observed") or ())
    images = {service.image: image_id(service.image) for service in made_from["declared"].values()}
    return Observed(containers, {**images, **(case.get("images") or {})})


def _container(entry: Mapping[str, Any], made_from: Mapping[str, Mapping[str, DesiredService]]) -> ObservedContainer:
    given = dict(entry)
    source = given.pop("made_from", "declared")
    maker = made_from.get(source, {}).get(given["service"])
    facts: dict[str, Any] = {"name": f"shop-{given['id']}", "state": "running", "directory": "/site"}
    facts["identity"] = maker.identity if maker else source
    facts["image_id"] = image_id(maker.image if maker else source)
    facts["config_hash"] = f"hash of {given['id']}"
    return ObservedContainer(**{**facts, **given})


def read_recorded(case: Mapping[str, Any], services: Mapping[str, DesiredService]) -> Recorded:
    """Return what the last release of a case says."""
    image_ids = {name: image_id(service.image) for name, service in services.items()}
    containers = (case.get("recorded") or {}).get("containers") or ()
    return Recorded(services, image_ids, {container: f"hash of {container}" for container in containers})


def plan_of(case: Mapping[str, Any]) -> Plan:
    """Return the plan of a case.

    :raises ValueError: the case has a key that means nothing.
    """
    if unknown := set(case) - CASE_KEYS:
        raise ValueError(f"a case has no key {', '.join(sorted(unknown))}")
    declared = make_desired(case["declared"])
    recorded = make_desired(case.get("recorded") or {})
    for name in case.get("carried") or ():
        declared[name] = dataclasses.replace(declared[name], identity=recorded[name].identity)
    return make_plan(
        declared,
        read_observed(case, {"declared": declared, "recorded": recorded}),
        recorded=read_recorded(case, recorded),
        asleep=frozenset(case.get("asleep") or ()),
        changed_networks=frozenset(case.get("changed_networks") or ()),
        drifted={name: tuple(paths) for name, paths in (case.get("drifted") or {}).items()},
        restored=case.get("restored") or (),
    )
