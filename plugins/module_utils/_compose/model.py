# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From Compose's canonical model to what should be on this host. Pure but for reading mounted files."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError
from .._secrets.references import find_references, resolve
from .contents import (
    Lookup,
    RenderedFile,
    changing_sources,
    digest_file,
    digest_variable,
    is_used,
    mount_sources,
    source_variables,
)
from .desired import DEFINITION_LABEL, DIRECTORY_LABEL, IDENTITY_LABEL, DesiredService, Reload
from .host import USUAL_MTU
from .inputs import digest_mounted, keyed_hash
from .project import NO_EXTRAS, ServiceExtras

_LOG_LIMITS = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}

# Changing these changes no container.
_NOT_IN_IDENTITY = ("build", "depends_on", "develop", "profiles", "pull_policy", "scale")


def add_good_manners(model: Mapping[str, Any], *, directory: str, mtu: int, ours: bool) -> dict[str, Any]:
    """Return ``model`` with our labels and, in projects that roles declare, the defaults of a good citizen.

    ``init`` because a PID 1 that ignores SIGTERM holds a reboot for 90 s; log limits because json-file has none;
    the MTU because the daemon's setting only covers its own bridge. A project that somebody else wrote
    (``ours`` false) only gets labels and the MTU.
    """
    made: dict[str, Any] = copy.deepcopy(dict(model))
    for service in (made.get("services") or {}).values():
        service["labels"] = {**(service.get("labels") or {}), DIRECTORY_LABEL: _escaped(directory)}
        if ours:
            service.setdefault("init", True)
            service.setdefault("logging", copy.deepcopy(_LOG_LIMITS))
    for network in _owned(made.get("networks")):
        if mtu != USUAL_MTU and network.get("driver", "bridge") == "bridge":
            options = {"com.docker.network.driver.mtu": str(mtu)}
            network["driver_opts"] = {**options, **(network.get("driver_opts") or {})}
    for owned in (*_owned(made.get("networks")), *_owned(made.get("volumes"))):
        definition = hash_definition(owned)
        owned["labels"] = {
            **(owned.get("labels") or {}),
            DIRECTORY_LABEL: _escaped(directory),
            DEFINITION_LABEL: definition,
        }
    return made


def _owned(entries: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [entry for entry in (entries or {}).values() if entry is not None and not entry.get("external")]


def hash_definition(definition: Mapping[str, Any]) -> str:
    """Return the hash of a network's or volume's definition."""
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]


def _escaped(text: str) -> str:
    return text.replace("$", "$$")


def refuse_exposed_secrets(model: Mapping[str, Any], allowed: Iterable[str]) -> None:
    """Refuse a secret reference anywhere but in an environment variable that the project names.

    :raises PlatformError: says where it is; everybody who may ask the engine would read it there.
    """
    allowed = frozenset(allowed)
    for path, text in _texts(model, ()):
        references = find_references(text)
        is_variable = len(path) == 4 and path[0] == "services" and path[2] == "environment"
        if references and not (is_variable and path[3] in allowed):
            name = min(reference.name for reference in references)
            raise PlatformError(
                f"Cannot put secret {name!r} into {'.'.join(path)}: 'docker inspect' would show it; give it as a file"
                + (f", or add {path[3]!r} to 'secrets_in_env'." if is_variable else ".")
            )


def _texts(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield path, str(key)
            yield from _texts(item, (*path, str(key)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _texts(item, (*path, str(number)))


def make_services(
    model: Mapping[str, Any],
    *,
    extras: Mapping[str, ServiceExtras],
    files: Iterable[RenderedFile],
    key: bytes,
    lookup: Lookup,
    env: Mapping[str, str],
    env_paths: Iterable[str] = (),
    generated: Collection[str] = (),
) -> dict[str, DesiredService]:
    """Return each service of the model with its identity.

    :param env: the project's variables, which ``secrets`` and ``configs`` may take their content from.
    :param env_paths: the files that Compose reads further variables from.
    :param generated: files of ours that follow from all others.
    """
    services: Mapping[str, Mapping[str, Any]] = model.get("services") or {}
    given = _Given(tuple(files), key, lookup, env, tuple(env_paths), frozenset(generated))
    awaited = {
        name
        for service in services.values()
        for name, condition in _dependencies(service).items()
        if condition == "service_completed_successfully"
    }
    return {
        name: _make_service(
            name,
            service,
            model=model,
            extras=extras.get(name, NO_EXTRAS),
            given=given,
            awaited=name in awaited,
        )
        for name, service in services.items()
    }


@dataclass(frozen=True)
class _Given:
    """What the identities of all services are made from, beside the model."""

    files: tuple[RenderedFile, ...]
    key: bytes
    lookup: Lookup
    env: Mapping[str, str]
    env_paths: tuple[str, ...]
    generated: frozenset[str]


def _make_service(
    name: str,
    service: Mapping[str, Any],
    *,
    model: Mapping[str, Any],
    extras: ServiceExtras,
    given: _Given,
    awaited: bool,
) -> DesiredService:
    definition = canonical_definition(service)
    sources = mount_sources(service, model)
    used = [file for file in given.files if is_used(file.path, sources)]
    contents = _fixed_contents(service, model, sources, used, given)
    reloading = [file for file in used if file.source.on_change == "reload"]
    _refuse_single_mounts(name, used, sources)
    one_shot = extras.one_shot or awaited
    if extras.sleeper is not None and (_scale(service) > 1 or one_shot):
        why = "it has several copies" if _scale(service) > 1 else "it is meant to end"
        raise PlatformError(f"Cannot let service {name!r} be woken by the gateway: {why}; take its 'sleeper' away.")
    return DesiredService(
        name=name,
        image=service.get("image") or f"{model['name']}-{name}",
        identity=make_identity(definition, contents, key=given.key, lookup=given.lookup),
        definition=definition,
        contents=contents,
        reload_contents={file.path: digest_file(given.key, file.state) for file in reloading},
        reloads=tuple(Reload(file.path, file.source.reload_signal, file.source.reload_command) for file in reloading),
        scale=_scale(service),
        builds=bool(service.get("build")),
        one_shot=one_shot,
        may_end=one_shot or _may_end(service),
        extras=extras,
        depends_on=_dependencies(service),
        bound_to=_bound_to(service),
        networks=tuple(sorted(service.get("networks") or {})),
    )


def canonical_definition(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a service makes its container: no nulls, no build, scale, dependencies, profiles."""
    kept = {key: value for key, value in service.items() if key not in _NOT_IN_IDENTITY and value is not None}
    kept["labels"] = {key: value for key, value in (service.get("labels") or {}).items() if key != IDENTITY_LABEL}
    if "deploy" in kept:
        kept["deploy"] = {key: value for key, value in kept["deploy"].items() if key != "replicas" and value}
        if not kept["deploy"]:
            del kept["deploy"]
    return kept


def make_identity(definition: Mapping[str, Any], contents: Mapping[str, str], *, key: bytes, lookup: Lookup) -> str:
    """Return the keyed hash of a container: its definition, secrets resolved, and the content it mounts."""
    text = json.dumps([definition, dict(contents)], sort_keys=True, ensure_ascii=False)
    return keyed_hash(key, resolve(text, lookup).encode("utf-8", "surrogateescape"))


def _fixed_contents(
    service: Mapping[str, Any],
    model: Mapping[str, Any],
    sources: tuple[str, ...],
    used: list[RenderedFile],
    given: _Given,
) -> dict[str, str]:
    key, ours = given.key, {file.path for file in given.files}
    contents = {file.path: digest_file(key, file.state) for file in used if file.source.on_change == "recreate"}
    for path in sources:
        digest = None if path in ours else digest_mounted(key, path)
        if digest is not None:
            contents[path] = digest
    if service.get("build"):
        digest = _digest_build(service["build"], model, given)
        if digest is not None:
            contents["build context"] = digest
    for name in source_variables(service, model):
        contents[f"variable {name}"] = digest_variable(
            key, name, env=given.env, paths=given.env_paths, lookup=given.lookup
        )
    return contents


def _digest_build(build: Mapping[str, Any], model: Mapping[str, Any], given: _Given) -> str | None:
    # Few projects build.
    from .build_context import digest_build_context

    declared = {file.path: file.state for file in given.files}
    left_out = changing_sources(model) | given.generated
    return digest_build_context(given.key, build, declared=declared, left_out=left_out)


def _refuse_single_mounts(name: str, used: list[RenderedFile], sources: tuple[str, ...]) -> None:
    for file in used:
        if file.source.on_change != "recreate" and file.path in sources:
            raise PlatformError(
                f"Cannot {file.source.on_change} on a change of {file.path!r}: service {name!r} mounts it as a single "
                "file, and a container keeps the old one of these; mount its folder, or use 'on_change: recreate'."
            )


def _scale(service: Mapping[str, Any]) -> int:
    replicas = (service.get("deploy") or {}).get("replicas")
    scale = service.get("scale")
    return int(scale if scale is not None else 1 if replicas is None else replicas)


def _may_end(service: Mapping[str, Any]) -> bool:
    policy = str(service.get("restart", ""))
    has_check = bool(service.get("healthcheck")) and not service["healthcheck"].get("disable")
    return (policy == "no" or policy.startswith("on-failure")) and not has_check


def _dependencies(service: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(entry.get("condition")) for name, entry in (service.get("depends_on") or {}).items()}


def _bound_to(service: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the services whose new container makes this one's useless."""
    found = {
        str(service.get(key, "")).removeprefix("service:")
        for key in ("network_mode", "ipc", "pid")
        if str(service.get(key, "")).startswith("service:")
    }
    found |= {
        str(entry).partition(":")[0]
        for entry in service.get("volumes_from") or ()
        if not str(entry).startswith("container:")
    }
    found |= {name for name, entry in (service.get("depends_on") or {}).items() if entry.get("restart")}
    return tuple(sorted(found))


def label_identities(model: Mapping[str, Any], services: Mapping[str, DesiredService]) -> dict[str, Any]:
    """Return the model that is applied: every service carries its identity as a label."""
    made: dict[str, Any] = copy.deepcopy(dict(model))
    for name, service in (made.get("services") or {}).items():
        service["labels"] = {**(service.get("labels") or {}), IDENTITY_LABEL: services[name].identity}
    return made
