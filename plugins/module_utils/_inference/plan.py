# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From services, engines and the site's facts to everything that a role needs of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .._errors import PlatformError
from .._models.declaration import first_twice
from .engine import Engine, parse_engine
from .render import SiteFacts, container_of, recipe_of, render_gated, render_service, variant_of
from .service import Service, parse_service, replicas_of

#: A gate that waits for a model lets it take as long as a wake, and then some.
_GATE_SECONDS = 300
#: Characters of a part of a name that is looked up (RFC 1035, 2.3.4).
_MOST_OF_LABEL = 63


def plan_inference(declared: object, engines: Mapping[str, Any], facts: SiteFacts) -> dict[str, Any]:
    """Return what services come to, and what is wrong with them; of those that are refused nothing but that.

    ``services`` for Compose, ``gated`` for the gateway, ``routes``, ``gpu`` requests, ``models`` for model_files,
    ``registered`` ones for mlflow_model, ``recipes`` of the images that they need, ``wait_seconds`` for the gate, and
    ``problems``.
    """
    problems: list[str] = []
    known: dict[str, Engine] = {}
    for name, found in engines.items():
        try:
            known[name] = parse_engine(name, found)
        except PlatformError as error:
            problems.append(str(error))
    if not isinstance(declared, list):
        return _answer([], facts, [*problems, "Cannot serve models: inference_services is no list; make it one."])
    services = []
    for entry in declared:
        try:
            service = parse_service(entry, known, domain=facts.domain, memory_limit=facts.memory_limit)
            _refuse_place(service, facts)
            replicas = replicas_of(service)
            _refuse_long_name(replicas[-1], facts)
            services += replicas
        except PlatformError as error:
            problems.append(str(error))
    problems += _clashes(services)
    # Of two with one name the gateway would complain once more.
    distinct = {service.name: service for service in reversed(services)}
    return _answer([service for service in services if distinct[service.name] is service], facts, problems)


def _refuse_place(service: Service, facts: SiteFacts) -> None:
    """Refuse a service that its engine cannot run here."""
    variant, on_gpu = variant_of(service, facts)
    doing = f"Cannot serve '{service.name}'"
    if variant is None:
        lack = "has no variant for GPUs; leave 'gpus' out" if on_gpu else "runs on GPUs alone; give it 'gpus'"
        raise PlatformError(f"{doing}: engine '{service.engine.name}' {lack}.")
    if service.cpu_fallback and not service.gpus:
        raise PlatformError(f"{doing}: it has cpu_fallback and no GPU; give it 'gpus', or leave cpu_fallback out.")
    if service.image or service.model.uri:
        return
    if not variant.image and not variant.recipe:
        raise PlatformError(f"{doing}: engine '{service.engine.name}' brings no image; give it 'image'.")
    if not variant.recipe and not facts.pulls_images:
        raise PlatformError(
            f"{doing}: engine '{service.engine.name}' has no packages to build its image from"
            f"{' for GPUs' if on_gpu else ''}, and site_images is 'packages'; choose another engine, or allow this one "
            f"image with 'image: {variant.image}'."
        )


def _refuse_long_name(service: Service, facts: SiteFacts) -> None:
    """Refuse a service whose container could not be dialled by its name."""
    if len(container := container_of(service, facts)) > _MOST_OF_LABEL:
        raise PlatformError(
            f"Cannot serve '{service.replica_of or service.name}': its container would be called {container}, and "
            f"names that are looked up have {_MOST_OF_LABEL} characters at most; give it, or the site (site_prefix), a "
            "shorter name."
        )


def _clashes(services: Iterable[Service]) -> list[str]:
    """Return what is wrong between services that are right by themselves."""
    services = list(services)
    problems = []
    if twice := first_twice(service.name for service in services):
        problems.append(f"Cannot serve '{twice}': two services have this name; rename one.")
    if twice := first_twice(host for service in services for host in service.hosts):
        named = [service.name for service in services if twice in service.hosts]
        if len(set(named)) > 1:
            problems.append(
                f"Cannot serve {' and '.join(map(repr, named))}: both have the host {twice}; give one "
                "another in 'hosts'."
            )
    return problems


def _answer(services: list[Service], facts: SiteFacts, problems: list[str]) -> dict[str, Any]:
    rendered, recipes, gpu = {}, set(), []
    asked = [service for service in services if not service.replica_of]
    for service in services:
        variant, on_gpu = variant_of(service, facts)
        if variant is None:
            continue
        rendered[service.name] = render_service(service, variant, facts, on_gpu=on_gpu)
        recipe = recipe_of(service, variant)
        recipes |= {recipe} if recipe and not service.image else set()
        if service.gpus:
            wanted = {"service": service.name, "gpus": list(service.gpus), "vram_mib": dict(service.vram_mib)}
            gpu.append({**wanted, "fallback": service.cpu_fallback})
    return {
        "services": rendered,
        "gated": [render_gated(service, facts) for service in services],
        "routes": [_route(service) for service in asked],
        "gpu": gpu,
        "models": [_declared_model(service) for service in asked if service.model.files],
        "registered": [_registered_model(service) for service in asked if service.model.uri],
        "recipes": sorted(recipes),
        "wait_seconds": int(_GATE_SECONDS + max((service.wake_seconds for service in services), default=0)),
        "problems": problems,
        "problem": "\n".join(problems),
    }


def _route(service: Service) -> dict[str, Any]:
    said = f"{service.model.name} by {service.engine.name}, for whoever has a key"
    # Its address alone shows nothing to a person.
    entry = {"name": service.name, "group": "Machine learning", "icon": "mdi-creation", "href": "", "description": said}
    return {"name": service.name, "hosts": list(service.hosts), "entry": entry}


def _declared_model(service: Service) -> dict[str, Any]:
    """Return a service's model as module model_files has it."""
    files = service.model.files.files if service.model.files else ()
    return {
        "name": service.name,
        "files": [
            {"path": file.path, "sha256": file.sha256, "sources": list(file.sources)}
            | ({"token": file.token} if file.token else {})
            for file in files
        ],
    }


def _registered_model(service: Service) -> dict[str, str]:
    """Return a service's model as module mlflow_model has it."""
    return {"service": service.name, "uri": service.model.uri, "python": service.model.python}
