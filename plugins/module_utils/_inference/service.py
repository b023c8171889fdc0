# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inference services as an operator declares them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from .._gpu.requests import has_twice, is_name
from .._mlflow.environment import SUITES
from .._mlflow.model import parse_model_uri
from .._models.declaration import Model, parse_files
from .engine import Engine, texts_of
from .reading import Reader

_KEYS = (
    "name", "engine", "model", "gpus", "vram_mib", "cpu_fallback", "idle_minutes", "hold_seconds", "wake_seconds",
    "stop_seconds", "hosts", "scopes", "cors", "max_body_mib", "timeout_seconds", "arguments", "environment",
    "memory_limit", "image", "command", "port", "ready", "warm_up", "gpu_guard", "replicas",
)  # fmt: skip
_MODEL_KEYS = ("name", "kind", "files", "path", "part", "url", "sources", "sha256", "token", "uri", "python")
_FILE_KEYS = ("path", "part", "url", "sources", "sha256", "token")
#: A DNS label, since it stands in a host's name, and a Compose service.
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
#: Of the gateway's own on the same network.
_TAKEN_NAMES = ("gate", "gateway", "pod")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
#: As the gateway has them.
_SCOPE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_MEMORY = re.compile(r"[0-9]+(?:\.[0-9]+)?[bkmgBKMG]?b?")
_DAY_SECONDS = 86400
_MOST_MIB = 1 << 24
#: Each has one of Docker's networks, of which there are about 30.
_MOST_REPLICAS = 16


@dataclass(frozen=True)
class ServedModel:
    """What a service serves: its name for clients, its files, and which of them is which part.

    ``uri``: its name in MLflow's registry, empty where it comes from elsewhere; ``python``: in the place of its own.
    """

    name: str
    kind: str
    files: Model | None
    parts: Mapping[str, str]
    uri: str = ""
    python: str = ""


@dataclass(frozen=True)
class Service:
    """An inference service. ``idle_seconds`` is None where it is never put to sleep for being idle.

    ``replica_of``: of a further container of another one, its name; empty of any other.
    """

    name: str
    engine: Engine
    model: ServedModel
    gpus: tuple[str, ...]
    vram_mib: Mapping[str, int]
    cpu_fallback: bool
    idle_seconds: int | None
    #: None where it is as long as the gateway holds any.
    hold_seconds: float | None
    wake_seconds: float
    stop_seconds: int
    hosts: tuple[str, ...]
    scopes: tuple[str, ...]
    origins: tuple[str, ...]
    max_body_mib: int
    timeout_seconds: int
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    memory_limit: str
    image: str
    command: tuple[str, ...]
    port: int
    ready: Mapping[str, Any]
    warm_up: Mapping[str, Any]
    guard: str
    replicas: int = 1
    replica_of: str = ""


def name_of(found: object) -> str:
    """Return the name of a service for messages; of one without a name what it looks like."""
    name = found.get("name") if isinstance(found, Mapping) else found
    return f"{name!r:.60}"


def parse_service(found: object, engines: Mapping[str, Engine], *, domain: str, memory_limit: str) -> Service:
    """Return the service that an entry declares.

    :raises PlatformError: it cannot be meant.
    """
    doing = f"Cannot serve {name_of(found)}"
    reader = Reader(found if isinstance(found, Mapping) else {}, doing)
    if not isinstance(found, Mapping):
        raise reader.wrong("it is no mapping", "give one with 'name', 'engine' and 'model'")
    name = reader.text("name", form=_NAME, meant="up to 40 lower-case letters, digits and '-'")
    if name in _TAKEN_NAMES:
        raise reader.wrong("that is the gateway's own name", "choose another one")
    reader.only(_KEYS)
    engine = engines.get(reader.text("engine"))
    if engine is None:
        raise reader.wrong(f"there is no engine {found.get('engine')!r:.60}", f"known are {', '.join(sorted(engines))}")
    if not engine.ready and not found.get("ready"):
        raise reader.wrong("nothing says when its model is loaded", "give 'ready', such as {path: /health}")
    return _read_service(reader, name, engine, domain=domain, memory_limit=memory_limit)


def _read_service(reader: Reader, name: str, engine: Engine, *, domain: str, memory_limit: str) -> Service:
    gpus = _parse_gpus(reader)
    idle_minutes = reader.number("idle_minutes", 0, least=0, most=365 * 24 * 60)
    warm_up = {} if reader.found.get("warm_up") is False else {**engine.warm_up, **reader.mapping("warm_up")}
    if engine.loads_when_called and not warm_up:
        raise reader.wrong(
            f"engine {engine.name!r} loads its model with the first call, and warm_up is none",
            "leave 'warm_up' out, or give the call that loads it",
        )
    return Service(
        name=name,
        engine=engine,
        model=_parse_model(reader, engine, name),
        gpus=gpus,
        vram_mib=_parse_vram(reader, gpus),
        cpu_fallback=reader.truth("cpu_fallback", False),
        idle_seconds=int(idle_minutes * 60) or None,
        hold_seconds=reader.number("hold_seconds", 0, least=0, most=3600) if "hold_seconds" in reader.found else None,
        wake_seconds=reader.number("wake_seconds", 600, least=1, most=_DAY_SECONDS),
        stop_seconds=int(reader.number("stop_seconds", 30, least=0, most=3600)),
        hosts=_parse_hosts(reader, name, domain),
        scopes=_parse_scopes(reader),
        origins=_parse_origins(reader),
        max_body_mib=int(reader.number("max_body_mib", 1024, least=0, most=_MOST_MIB)),
        timeout_seconds=int(reader.number("timeout_seconds", 3600, least=1, most=_DAY_SECONDS)),
        arguments=reader.texts("arguments"),
        environment=texts_of(reader.mapping("environment")),
        memory_limit=reader.text("memory_limit", memory_limit, form=_MEMORY, meant="a size such as 4g"),
        image=reader.text("image"),
        command=reader.texts("command"),
        port=int(reader.number("port", engine.port, least=1, most=65535)),
        ready={**engine.ready, **reader.mapping("ready")},
        warm_up=warm_up,
        guard=reader.text("gpu_guard", engine.guard),
        replicas=_parse_replicas(reader, gpus),
    )


def _parse_gpus(reader: Reader) -> tuple[str, ...]:
    gpus = reader.texts("gpus")
    for gpu in gpus:
        if not is_name(gpu):
            raise reader.wrong(f"{gpu!r:.60} is no GPU", "name it by its index or UUID, as nvidia-smi -L shows them")
    if has_twice(gpus):
        raise reader.wrong(f"gpus are {', '.join(gpus)}", "name each once, or 'all' alone")
    return gpus


def _parse_replicas(reader: Reader, gpus: Sequence[str]) -> int:
    replicas = int(reader.number("replicas", 1, least=1, most=_MOST_REPLICAS))
    if gpus and len(gpus) % replicas and replicas % len(gpus):
        raise reader.wrong(
            f"{replicas} replicas cannot share {len(gpus)} GPUs", "give each as many, or each GPU as many of them"
        )
    return replicas


def replicas_of(service: Service) -> list[Service]:
    """Return a service's containers, each as a service of its own: itself, and those that are asked for by its name.

    Each has its share of the GPUs.
    """
    number, gpus = service.replicas, service.gpus
    share = max(len(gpus) // number, 1)
    found = []
    for index in range(number):
        first = index * share % len(gpus) if gpus else 0
        own = gpus[first : first + share]
        vram = {gpu: mib for gpu, mib in service.vram_mib.items() if gpu in own}
        found.append(replace(service, gpus=own, vram_mib=vram))
        if index:
            found[-1] = replace(found[-1], name=f"{service.name}-{index + 1}", hosts=(), replica_of=service.name)
    return found


def _parse_vram(reader: Reader, gpus: Sequence[str]) -> dict[str, int]:
    value = reader.found.get("vram_mib")
    if value is None:
        return {}
    given = {str(gpu): mib for gpu, mib in value.items()} if isinstance(value, Mapping) else dict.fromkeys(gpus, value)
    if not gpus or (others := sorted(given.keys() - set(gpus))):
        said = f"vram_mib names GPU {others[0]!r}" if gpus else "it has vram_mib"
        raise reader.wrong(f"{said}, and gpus are {', '.join(gpus) or 'none'}", "name the same GPUs in both")
    inner = Reader(given, f"{reader.doing}, vram_mib")
    return {gpu: int(inner.number(gpu, 0, least=1, most=_MOST_MIB)) for gpu in sorted(given)}


def _parse_hosts(reader: Reader, name: str, domain: str) -> tuple[str, ...]:
    hosts = reader.texts("hosts") or (f"{name}.{domain}",)
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise reader.wrong(f"{host!r:.80} is no name of a host", "give lower-case DNS names in 'hosts'")
    return hosts


def _parse_scopes(reader: Reader) -> tuple[str, ...]:
    scopes = reader.texts("scopes")
    for scope in scopes:
        if not _SCOPE.fullmatch(scope):
            raise reader.wrong(f"{scope!r:.80} is no scope", "use lower-case letters, digits, '_', '.' and '-'")
    return scopes


def _parse_origins(reader: Reader) -> tuple[str, ...]:
    inner = Reader(reader.mapping("cors"), reader.doing)
    inner.only(("origins",))
    return inner.texts("origins")


def _parse_model(service: Reader, engine: Engine, name: str) -> ServedModel:
    reader = Reader(service.mapping("model"), service.doing)
    reader.only(_MODEL_KEYS)
    entries = _file_entries(reader)
    if engine.model in ("none", "registered") and entries:
        raise reader.wrong(f"engine {engine.name!r} reads no files", "leave them out of 'model'")
    if engine.model == "needed" and not entries:
        raise reader.wrong(f"engine {engine.name!r} needs a model", "give 'model' with 'url' and 'sha256'")
    kind = reader.text("kind", engine.kinds[0] if engine.kinds else "")
    if kind and kind not in engine.kinds:
        raise reader.wrong(f"model.kind is {kind!r:.60}", f"known are {', '.join(engine.kinds) or 'none'}")
    files = parse_files(name, [_as_declared(reader, entry) for entry in entries])
    parts = {str(entry.get("part") or ""): file.path for entry, file in zip(entries, files, strict=True)}
    if engine.parts and (len(parts) < len(files) or "" in parts):
        raise reader.wrong("its files have no parts, or two the same", "give each 'part', such as encoder and decoder")
    called = reader.text("name", name, form=_MODEL_NAME, meant="letters, digits and '.', '_', ':', '/', '-'")
    uri, python = _parse_registered(reader, engine, name)
    return ServedModel(called, kind, Model(name, files) if files else None, parts if engine.parts else {}, uri, python)


def _parse_registered(reader: Reader, engine: Engine, name: str) -> tuple[str, str]:
    """Return the name of a model in MLflow's registry, and the Python that is to run it; empty for other engines."""
    uri, python = reader.text("uri"), reader.text("python")
    if engine.model != "registered":
        if uri or python:
            raise reader.wrong(f"engine {engine.name!r} has no models of the registry", "leave out 'uri' and 'python'")
        return "", ""
    if not uri:
        raise reader.wrong(f"engine {engine.name!r} needs a model of the registry", "give 'model' with 'uri'")
    if python and python not in SUITES:
        raise reader.wrong(f"python is {python!r:.80}", f"give {' or '.join(map(repr, SUITES))}")
    return str(parse_model_uri(uri, name)), python


def _file_entries(reader: Reader) -> list[Mapping[str, Any]]:
    """Return the files of a model, of which a single one may stand in the model itself."""
    files = reader.found.get("files")
    own = {key: reader.found[key] for key in _FILE_KEYS if key in reader.found}
    if files is None:
        return [own] if own else []
    if own or not isinstance(files, list) or not all(isinstance(entry, Mapping) for entry in files):
        raise reader.wrong(
            f"'files' is {'beside ' + repr(min(own)) if own else 'no list of mappings'}",
            "give either 'files', or 'url' and 'sha256' of one",
        )
    return files


def _as_declared(reader: Reader, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file as models are declared: its address is a source, and names it where nothing else does."""
    inner = Reader(entry, reader.doing)
    inner.only(_FILE_KEYS)
    url = inner.text("url")
    sources = ([url] if url else []) + list(inner.texts("sources"))
    path = inner.text("path") or (urlsplit(sources[0]).path.rsplit("/", 1)[-1] if sources else "")
    return {"path": path, "sha256": entry.get("sha256"), "sources": sources, "token": inner.text("token")}
