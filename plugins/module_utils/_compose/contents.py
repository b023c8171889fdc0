# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Content that a container sees and Compose does not: mounted files, secrets, configs, ours and others'.

Compose's hash covers where a file is, not what is in it (docker/compose#11900), so a changed file would reach
nobody. Each such file up to 1 MiB gets a keyed hash; folders of data never do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError
from .._files import FileState
from .._run import clean_environment
from .._secrets.references import Reference, find_references, resolve
from .inputs import digest_mounted, keyed_hash
from .project import Project, ProjectFile

Lookup = Callable[[Reference], str]


@dataclass(frozen=True)
class RenderedFile:
    """A file of ours with its secrets in: never leaves the host, never enters a record."""

    path: str
    state: FileState
    source: ProjectFile


def render_files(
    files: Iterable[ProjectFile], services: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any], lookup: Lookup
) -> list[RenderedFile]:
    """Return the files as they are to be on disk.

    A file with a secret is readable by root and the container's user only: mode 0400, owned by the numeric
    ``user`` of the services that mount it unless ``uid`` is given.

    :raises PlatformError: a looser mode is asked for, or the mounting services disagree about the user.
    """
    return [_render_file(file, services, model, lookup) for file in files]


def _render_file(
    file: ProjectFile, services: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any], lookup: Lookup
) -> RenderedFile:
    content = _encode(file, lookup)
    if not find_references(file.content):
        mode = 0o644 if file.mode is None else file.mode
        return RenderedFile(file.path, FileState(content, mode, file.uid or 0, file.gid or 0), file)
    mode = 0o400 if file.mode is None else file.mode
    if mode & 0o077:
        raise PlatformError(
            f"Cannot write file {file.path!r} with mode {mode:04o}: it holds a secret, which only root and the "
            "container's user may read; leave the mode out, or set 0400 or 0600."
        )
    uid = file.uid if file.uid is not None else _mounting_uid(file, services, model)
    return RenderedFile(file.path, FileState(content, mode, uid, file.gid or 0), file)


def _encode(file: ProjectFile, lookup: Lookup) -> bytes:
    try:
        return resolve(file.content, lookup).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise PlatformError(
            f"Cannot write file {file.path!r}: its content holds half of a character (U+D800 to U+DFFF); correct it."
        ) from None


def _mounting_uid(file: ProjectFile, services: Mapping[str, Mapping[str, Any]], model: Mapping[str, Any]) -> int:
    users = {
        str(service.get("user", "")).partition(":")[0]
        for service in services.values()
        if is_used(file.path, mount_sources(service, model))
    }
    if names := sorted(user for user in users if user and not user.isdecimal()):
        raise PlatformError(
            f"Cannot tell who may read file {file.path!r}: it holds a secret and is mounted by a service with the user "
            f"{names[0]!r}, whose number only its image knows; give 'uid'."
        )
    uids = {int(user) for user in users if user}
    if len(uids) > 1:
        raise PlatformError(
            f"Cannot tell who may read file {file.path!r}: it holds a secret and is mounted by services with the "
            f"users {', '.join(map(str, sorted(uids)))}; give 'uid', or one file per service."
        )
    return uids.pop() if uids else 0


def mount_sources(service: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the host paths that the service mounts: binds, file secrets and file configs."""
    found = [volume["source"] for volume in service.get("volumes") or () if volume.get("type") == "bind"]
    for kind in ("secrets", "configs"):
        for entry in service.get(kind) or ():
            definition = (model.get(kind) or {}).get(entry.get("source"), {})
            if definition.get("file"):
                found.append(definition["file"])
    return tuple(sorted({os.path.normpath(path) for path in found}))


def is_used(path: str, sources: Iterable[str]) -> bool:
    """Whether a file is one of the mounted ``sources``, or lies below one."""
    return any(path == source or path.startswith(f"{source.rstrip('/')}/") for source in sources)


def digest_file(key: bytes, state: FileState) -> str:
    """Return the keyed hash of a file with its mode and owner, which the container sees too."""
    return keyed_hash(key, f"{state.mode:o}:{state.uid}:{state.gid}:".encode() + state.content)


def env_paths(project: Project) -> list[str]:
    """Return the files that Compose reads variables from which the project does not give itself."""
    names = [*project.env_files, *([".env"] if project.src is not None else [])]
    return [os.path.join(project.folder, name) for name in names]


def generated_paths(project: Project) -> list[str]:
    """Return the files that we make from all others: they change whenever anything does."""
    edge = [project.edge.file] if project.edge else []
    return edge if project.src is not None else [*edge, f"{project.folder}/compose.yaml", f"{project.folder}/.env"]


def changing_sources(model: Mapping[str, Any]) -> frozenset[str]:
    """Return the host paths that containers of the project may write to."""
    return frozenset(
        os.path.normpath(volume["source"])
        for service in (model.get("services") or {}).values()
        for volume in service.get("volumes") or ()
        if volume.get("type") == "bind" and not volume.get("read_only")
    )


def source_variables(service: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """Return the variables whose values Compose puts into the service as secrets and configs."""
    definitions = [
        (model.get(kind) or {}).get(entry.get("source")) or {}
        for kind in ("secrets", "configs")
        for entry in service.get(kind) or ()
    ]
    return sorted({definition["environment"] for definition in definitions if definition.get("environment")})


def source_values(model: Mapping[str, Any], env: Mapping[str, str], lookup: Lookup) -> dict[str, str]:
    """Return the given variables that secrets and configs of the model are made from, with their values."""
    return {name: resolve(env[name], lookup) for name in sorted(_all_sources(model) & env.keys())}


def source_files(model: Mapping[str, Any], project: Project) -> tuple[str, ...]:
    """Return the env files that Compose needs for secrets and configs from variables that the project does not give.

    Others would only tie a release to files that may be gone when it comes back.
    """
    if _all_sources(model) <= project.env.keys():
        return ()
    return tuple(os.path.join(project.folder, name) for name in project.env_files)


def _all_sources(model: Mapping[str, Any]) -> set[str]:
    definitions = [definition for kind in ("secrets", "configs") for definition in (model.get(kind) or {}).values()]
    return {definition["environment"] for definition in definitions if definition and definition.get("environment")}


def digest_variable(key: bytes, name: str, *, env: Mapping[str, str], paths: Iterable[str], lookup: Lookup) -> str:
    """Return the keyed hash of a variable's value, secrets resolved.

    Compose alone can read env files as it does, so those at ``paths`` stand for a variable that is not in ``env``.
    """
    if name in env:
        return keyed_hash(key, resolve(env[name], lookup).encode("utf-8", "surrogateescape"))
    elsewhere = [clean_environment().get(name), *(digest_mounted(key, path) for path in paths)]
    return keyed_hash(key, json.dumps(elsewhere).encode())
