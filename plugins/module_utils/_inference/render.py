# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Compose and the gateway get of a service. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._gpu.requests import Form, device_request
from .engine import Variant
from .service import Service

#: Where a container has the files of its model.
MODELS = "/models"
_PLACEHOLDER = re.compile(r"\{(name|model|kind|port|file|files)\}")


@dataclass(frozen=True)
class SiteFacts:
    """What a service is rendered for.

    ``recipes``: recipe to the image that was built from it. ``has_gpus``: whether the host has some, None where nobody
    has looked.
    ``gateway``: the Compose project that wakes services; empty where they are started as any other.
    ``registered``: service to the folder of its model of MLflow's registry, once that is known.
    """

    domain: str
    prefix: str
    directory: str
    pulls_images: bool
    recipes: Mapping[str, str]
    health_check: Mapping[str, Any]
    gpu_form: Form
    has_gpus: bool | None
    gateway: str
    memory_limit: str
    registered: Mapping[str, str] = field(default_factory=dict)


def variant_of(service: Service, facts: SiteFacts) -> tuple[Variant | None, bool]:
    """Return what a service runs as, and whether on GPUs."""
    # That an index does not exist where there are others, preflight has said.
    falls_back = service.cpu_fallback and facts.has_gpus is False
    on_gpu = bool(service.gpus) and not falls_back
    return (service.engine.gpu if on_gpu else service.engine.cpu), on_gpu


def image_of(service: Service, variant: Variant, facts: SiteFacts) -> str:
    """Return a service's image; of one that is still to be built, what stands for it in check mode."""
    recipe = recipe_of(service, variant)
    return service.image or variant.image or facts.recipes.get(recipe) or f"modelyard/{recipe}:unbuilt"


def recipe_of(service: Service, variant: Variant) -> str:
    """Return the name of what a service's image is built from; a model of the registry brings its own."""
    return f"mlflow-model-{service.replica_of or service.name}" if service.model.uri else variant.recipe


def render_service(service: Service, variant: Variant, facts: SiteFacts, *, on_gpu: bool) -> dict[str, Any]:
    """Return a Compose service."""
    must_use_gpu = on_gpu and not service.cpu_fallback
    environment = {**variant.environment, **(service.engine.proof_environment if must_use_gpu else {})}
    filled = {key: fill(value, service) for key, value in environment.items()} | dict(service.environment)
    command = [fill(part, service) for part in (*(service.command or variant.command), *service.arguments)]
    if must_use_gpu and service.guard:
        command = ["/bin/sh", "-c", f'{fill(service.guard, service)} && exec "$0" "$@"', *command]
    rendered: dict[str, Any] = {
        "image": image_of(service, variant, facts),
        "user": service.engine.user,
        "environment": {key: escape(value) for key, value in filled.items()},
        # Of its own, with the gate and nobody else: no service reaches another one, where no key is asked for.
        "networks": {service.name: {}},
        "read_only": True,
        "tmpfs": list(service.engine.tmpfs),
        "mem_limit": service.memory_limit,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": f"{service.stop_seconds}s",
    }
    if command:
        rendered["entrypoint"] = [escape(part) for part in command]
    if service.model.files:
        rendered["volumes"] = [f"{facts.directory}/models/trees/{service.model.files.tree}:{MODELS}:ro"]
    if service.model.uri:
        folder = facts.registered.get(service.replica_of or service.name, f"{facts.directory}/models/mlflow/unknown")
        rendered["volumes"] = [f"{folder}:{MODELS}:ro"]
    if service.ready:
        rendered["healthcheck"] = _health_check(service, facts)
    if service.engine.shm_size:
        rendered["shm_size"] = service.engine.shm_size
    if facts.gateway:
        rendered["x-modelyard"] = {"sleeper": {"project": facts.gateway, "service": "gateway", "name": service.name}}
    return rendered | (device_request(service.gpus, facts.gpu_form) if on_gpu else {})


def _health_check(service: Service, facts: SiteFacts) -> dict[str, Any]:
    """Return how the container is asked whether its model is loaded; it has so long as a wake may take."""
    path, status = service.ready.get("path", "/"), service.ready.get("status", 200)
    question = f"GET {path} HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n"
    asking = (
        f"exec 3<>/dev/tcp/127.0.0.1/{service.port} && printf '{question}' >&3 && head -n 1 <&3 | grep -q ' {status} '"
    )
    test = ["CMD", "bash", "-c", escape(asking)]
    return {**facts.health_check, "start_period": f"{service.wake_seconds:g}s", "test": test}


def container_of(service: Service, facts: SiteFacts) -> str:
    """Return the name of a service's container, by which it is dialled too."""
    return f"{facts.prefix}-inference-{service.name}-1"


def render_gated(service: Service, facts: SiteFacts) -> dict[str, Any]:
    """Return what the gateway has to know of a service."""
    never = {} if service.idle_seconds is None else {"idle_seconds": service.idle_seconds}
    warm_up = {"warm_up": _call(service.warm_up, service)} if service.warm_up else {}
    cors = {"cors": {"origins": list(service.origins)}} if service.origins else {}
    hold = {} if service.hold_seconds is None else {"hold_seconds": service.hold_seconds}
    falls_back = {"cpu_fallback": True} if service.cpu_fallback else {}
    scopes = {"scopes": list(service.scopes)} if service.scopes else {}
    replica = {"replica_of": service.replica_of} if service.replica_of else {}
    on_gpu = variant_of(service, facts)[1]
    container = container_of(service, facts)
    return {
        "name": service.name,
        "container": container,
        # The gate is in other networks too, where something else may have the service's bare name.
        "address": container,
        "port": service.port,
        "network": f"{facts.prefix}-inference_{service.name}",
        "vram_mib": dict(service.vram_mib) if on_gpu else {},
        "wake_seconds": service.wake_seconds,
        "stop_seconds": service.stop_seconds,
        "ready": _call(service.ready, service) if service.ready else {"path": "/"},
        "hosts": list(service.hosts),
        "max_body_mib": service.max_body_mib,
        "timeout_seconds": service.timeout_seconds,
        **never,
        **hold,
        **warm_up,
        **cors,
        **falls_back,
        **scopes,
        **replica,
    }


def _call(call: Mapping[str, Any], service: Service) -> dict[str, Any]:
    """Return a request of the gateway's; a body that is data goes as JSON."""
    filled = {key: fill(value, service) if isinstance(value, str) else value for key, value in call.items()}
    body = call.get("body", "")
    if not isinstance(body, str):
        filled["body"] = fill(json.dumps(body), service)
        filled.setdefault("content_type", "application/json")
    return filled


def fill(text: str, service: Service) -> str:
    """Return a text of an engine with what it leaves open of a service."""
    files = service.model.files.files if service.model.files else ()
    values = {
        "name": service.replica_of or service.name,
        "model": service.model.name,
        "kind": service.model.kind,
        "port": str(service.port),
        "file": f"{MODELS}/{files[0].path}" if files else "",
        "files": json.dumps(dict(service.model.parts)),
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def escape(text: str) -> str:
    """Return a text as Compose has to get it, which would put variables in the place of ``$``."""
    return text.replace("$", "$$")
