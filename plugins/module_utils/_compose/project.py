# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the user asks for: the options of ``compose_project`` as values, checked without any I/O."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .._errors import PlatformError

#: Compose's own rule for project names.
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]*")

OnChange = Literal["recreate", "reload", "watch"]
Update = Literal["auto", "start_first", "stop_first"]

_EXTRA_KEYS = {"one_shot", "migrates", "update", "drain_seconds", "settle_seconds", "sleeps", "sleeper"}
_SLEEPER_KEYS = {"project", "service", "name"}
_MIGRATES_KEYS = {"database", "service", "project", "user"}
#: What is ours in the site's folder beside ``projects``.
_KEPT_NAMES = frozenset({"state", "releases", "locks", "build", "site.json"})

DEFAULT_DRAIN_SECONDS = 60.0
DEFAULT_SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class ProjectFile:
    """A file that the project's containers mount. ``path`` is absolute; ``content`` may hold secret references."""

    path: str
    content: str
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    on_change: OnChange = "recreate"
    reload_signal: str | None = None
    reload_command: tuple[str, ...] = ()


@dataclass(frozen=True)
class SharedNetwork:
    """A network that several projects use; made if missing."""

    name: str
    internal: bool = False


@dataclass(frozen=True)
class Edge:
    """Traefik's file-provider data for this project; server URLs name services, containers take their place."""

    file: str
    config: Mapping[str, Any]
    api: str | None = None


@dataclass(frozen=True)
class Migration:
    """The database that a one-shot changes, and the service that can dump it."""

    database: str
    service: str
    project: str
    user: str


@dataclass(frozen=True)
class Sleeper:
    """Where the gateway runs that alone starts a service, and the name that it has there."""

    project: str
    service: str
    name: str


@dataclass(frozen=True)
class ServiceExtras:
    """What a layer says about a service under ``x-modelyard``."""

    one_shot: bool = False
    migrates: Migration | None = None
    update: Update = "auto"
    drain_seconds: float = DEFAULT_DRAIN_SECONDS
    settle_seconds: float = DEFAULT_SETTLE_SECONDS
    #: The gateway stops and starts it; a ``sleeper`` is started by the gateway alone.
    sleeps: bool = False
    sleeper: Sleeper | None = None


NO_EXTRAS = ServiceExtras()


@dataclass(frozen=True)
class Project:
    """One project as declared. ``folder`` is where its relative paths start."""

    name: str
    directory: str
    folder: str
    layers: tuple[Mapping[str, Any], ...] = ()
    src: str | None = None
    src_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    secrets_in_env: frozenset[str] = frozenset()
    files: tuple[ProjectFile, ...] = ()
    networks: tuple[SharedNetwork, ...] = ()
    edge: Edge | None = None
    extras: Mapping[str, ServiceExtras] = field(default_factory=dict)
    update: Literal["auto", "stop_first"] = "auto"
    #: The options that it was parsed from, for the hash of its inputs.
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def check_name(name: str) -> str:
    """Return ``name``; it also names folders and a lock file, so only Compose's own alphabet passes."""
    if not NAME_PATTERN.fullmatch(name):
        raise PlatformError(
            f"Cannot use project name {name!r}: a name starts with a lower-case letter or digit and goes on with "
            "these, '_' and '-'; choose such a name."
        )
    return name


def parse_project(params: Mapping[str, Any]) -> Project:
    """Return the project that a module's options declare.

    :raises PlatformError: an option has a value that cannot be meant.
    """
    name = check_name(params["name"])
    directory = params["directory"].rstrip("/")
    folder = (params["src"] or f"{directory}/projects/{name}").rstrip("/")
    layers = tuple(params["layers"] or ())
    _check_layers(layers, name)
    if not layers and not params["src"]:
        raise PlatformError(f"Cannot apply project {name!r}: it has no definition; give 'layers' or 'src'.")
    project = Project(
        name=name,
        directory=directory,
        folder=folder,
        layers=layers,
        src=params["src"],
        src_files=tuple(params["src_files"] or ()),
        profiles=tuple(sorted(set(params["profiles"] or ()))),
        env=_parse_env(params["env"] or {}),
        env_files=tuple(params["env_files"] or ()),
        secrets_in_env=frozenset(params["secrets_in_env"] or ()),
        files=tuple(_parse_file(entry, folder, directory) for entry in params["files"] or ()),
        networks=tuple(SharedNetwork(entry["name"], bool(entry["internal"])) for entry in params["networks"] or ()),
        edge=_parse_edge(params["edge"], directory),
        extras=parse_extras(layers, name),
        update=params["update"],
        options=params,
    )
    _refuse_twice(project)
    _refuse_kept(project)
    return project


def _check_layers(layers: Sequence[object], project: str) -> None:
    for number, layer in enumerate(layers):
        if not isinstance(layer, Mapping):
            raise PlatformError(
                f"Cannot read layer {number + 1} of project {project!r}: it is a {type(layer).__name__}; give a "
                "mapping, as a Compose file is one."
            )


def _parse_env(env: Mapping[str, Any]) -> dict[str, str]:
    parsed = {str(key): _parse_variable(str(key), value) for key, value in env.items()}
    return dict(sorted(parsed.items()))


def _parse_variable(name: str, value: object) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise PlatformError(
            f"Cannot write {name!r} to .env: a name has letters, digits and '_' and starts with no digit; rename it."
        )
    if isinstance(value, bool):
        return str(value).lower()  # as YAML and everybody but Python writes it
    if not (value is None or isinstance(value, (str, int, float))):
        raise PlatformError(f"Cannot write {name!r} to .env: its value is a {type(value).__name__}; give text.")
    text = "" if value is None else str(value)
    if "\0" in text:
        raise PlatformError(f"Cannot write {name!r} to .env: its value holds a NUL character; remove it.")
    return text


def _parse_file(entry: Mapping[str, Any], folder: str, directory: str) -> ProjectFile:
    given = entry["path"]
    # Plain, as Compose writes the sources of mounts: they are compared as texts.
    path = os.path.normpath(os.path.join(folder, given))
    if ".." in given.split("/") or given.endswith("/") or "\0" in given or path == folder:
        raise PlatformError(f"Cannot write file {given!r}: it must name a file, without '..'; correct it.")
    if not path.startswith((f"{directory}/", f"{folder}/")):
        raise PlatformError(
            f"Cannot write file {path!r}: it is outside the site's folder {directory}; "
            "give a path below it, or one relative to the project."
        )
    on_change = entry["on_change"]
    if (on_change == "reload") != bool(entry["reload_signal"] or entry["reload_command"]):
        raise PlatformError(
            f"Cannot reload on a change of {entry['path']!r}: 'on_change: reload' and one of 'reload_signal' and "
            "'reload_command' go together; give both or neither."
        )
    return ProjectFile(
        path=path,
        content=entry["content"],
        mode=parse_mode(entry["mode"], entry["path"]),
        uid=entry["uid"],
        gid=entry["gid"],
        on_change=on_change,
        reload_signal=entry["reload_signal"],
        reload_command=tuple(entry["reload_command"] or ()),
    )


def parse_mode(text: str | None, path: str) -> int | None:
    """Return the octal ``text`` as a number; None stays None."""
    if text is None:
        return None
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise PlatformError(
            f"Cannot write file {path!r}: mode {text!r} is no octal number of three digits; write it as '0640'."
        )
    return int(text, 8)


def _parse_edge(entry: Mapping[str, Any] | None, directory: str) -> Edge | None:
    if entry is None:
        return None
    path = os.path.normpath(entry["file"])
    if not path.startswith(f"{directory}/"):
        raise PlatformError(
            f"Cannot write the edge's file {entry['file']!r}: it is outside the site's folder {directory}; "
            "let the edge watch a folder below it."
        )
    return Edge(path, entry["config"], entry["api"])


def parse_extras(layers: Sequence[Mapping[str, Any]], project: str) -> dict[str, ServiceExtras]:
    """Merge ``x-modelyard`` of each service over the layers; a later layer's key wins.

    The markers ``__reset__`` and ``__override__`` mean what they mean elsewhere in a layer.
    """
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, service in _mapping(layer.get("services")).items():
            extras = _mapping(service).get("x-modelyard")
            if extras is not None:
                merged[name] = _merge_extras(
                    merged.get(name, {}), extras, f"Cannot read x-modelyard of service {name!r}"
                )
    return {name: _parse_service_extras(name, extras, project) for name, extras in merged.items()}


def _merge_extras(below: Mapping[str, Any], extras: object, where: str) -> dict[str, Any]:
    if not isinstance(extras, Mapping):
        raise PlatformError(f"{where}: it is {extras!r}; give a mapping of its keys.")
    if "__reset__" in extras:
        return {}
    if "__override__" in extras:
        return _merge_extras({}, extras["__override__"], where)
    merged = {**below, **extras}
    return {key: value for key, value in merged.items() if "__reset__" not in _mapping(value)}


def _parse_service_extras(name: str, extras: Mapping[str, Any], project: str) -> ServiceExtras:
    where = f"Cannot read x-modelyard of service {name!r}"
    _refuse_unknown(extras, _EXTRA_KEYS, where)
    update = extras.get("update", "auto")
    if update not in ("auto", "start_first", "stop_first"):
        raise PlatformError(f"{where}: update is {update!r}; choose auto, start_first or stop_first.")
    migrates, sleeper = extras.get("migrates"), _parse_sleeper(where, extras)
    return ServiceExtras(
        one_shot=_truth(where, extras, "one_shot", default=migrates is not None),
        migrates=None if migrates is None else _parse_migration(where, migrates, project),
        update=update,
        drain_seconds=_seconds(where, extras, "drain_seconds", DEFAULT_DRAIN_SECONDS),
        settle_seconds=_seconds(where, extras, "settle_seconds", DEFAULT_SETTLE_SECONDS),
        sleeps=_truth(where, extras, "sleeps", default=sleeper is not None) or sleeper is not None,
        sleeper=sleeper,
    )


def _parse_sleeper(where: str, extras: Mapping[str, Any]) -> Sleeper | None:
    given = extras.get("sleeper")
    if given is None:
        return None
    _refuse_unknown(_mapping(given), _SLEEPER_KEYS, where)
    texts = {key: _mapping(given).get(key) for key in sorted(_SLEEPER_KEYS)}
    # It becomes an argument of a program and a part of a path.
    if not all(isinstance(text, str) and re.fullmatch("[a-z0-9][a-z0-9_.-]{0,62}", text) for text in texts.values()):
        raise PlatformError(
            f"{where}: sleeper is {given!r}; give 'project' and 'service' of the gateway and the 'name' that it has "
            "for this one, in lower-case letters, digits, '_', '.' and '-'."
        )
    for key in ("one_shot", "migrates"):
        if extras.get(key):
            raise PlatformError(f"{where}: it has both sleeper and {key}; the gateway wakes what runs on, keep one.")
    return Sleeper(**{key: str(text) for key, text in texts.items()})


def _parse_migration(where: str, migrates: object, project: str) -> Migration:
    given = _mapping(migrates)
    _refuse_unknown(given, _MIGRATES_KEYS, where)
    if not given.get("database") or not given.get("service"):
        raise PlatformError(
            f"{where}: migrates needs 'database' and 'service' (the one that runs PostgreSQL); give both."
        )
    return Migration(
        database=str(given["database"]),
        service=str(given["service"]),
        project=check_name(str(given.get("project", project))),
        user=str(given.get("user", "postgres")),
    )


def _seconds(where: str, extras: Mapping[str, Any], key: str, default: float) -> float:
    value = extras.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise PlatformError(f"{where}: {key} is {value!r}; give a number of seconds.")
    return float(value)


def _truth(where: str, extras: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = extras.get(key, default)
    if not isinstance(value, bool):
        raise PlatformError(f"{where}: {key} is {value!r}; give true or false.")
    return value


def _refuse_unknown(given: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(given) - known, key=str):
        raise PlatformError(f"{where}: there is no key {unknown[0]!r}; known are {', '.join(sorted(known))}.")


def _refuse_twice(project: Project) -> None:
    paths = [file.path for file in project.files] + ([project.edge.file] if project.edge else [])
    for path in paths:
        if paths.count(path) > 1:
            raise PlatformError(f"Cannot write file {path!r}: it is declared twice; keep one.")


def _refuse_kept(project: Project) -> None:
    """Refuse to write over what the platform itself, or another project, keeps below the site's folder."""
    for path in [file.path for file in project.files] + ([project.edge.file] if project.edge else []):
        if project.src is None and path in (f"{project.folder}/compose.yaml", f"{project.folder}/.env"):
            source = "'env'" if path.endswith(".env") else "'layers'"
            raise PlatformError(f"Cannot write file {path!r}: it is made from {source}; choose another name.")
        root, _slash, below = path.removeprefix(f"{project.directory}/").partition("/")
        if path.startswith(f"{project.directory}/") and root in _KEPT_NAMES:
            raise PlatformError(
                f"Cannot write file {path!r}: {project.directory}/{root} is what modelyard.platform keeps for itself; "
                "choose another path."
            )
        if path.startswith(f"{project.directory}/projects/") and not path.startswith(f"{project.folder}/"):
            raise PlatformError(
                f"Cannot write file {path!r}: it belongs to project {below.partition('/')[0]!r}; declare it there, or "
                "choose another path."
            )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
