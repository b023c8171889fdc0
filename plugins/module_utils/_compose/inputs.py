# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that goes into a project, as one keyed hash: equal inputs need no look at Compose."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._run import clean_environment
from .._version import VERSION
from .host import read_default_mtu

LIMIT_BYTES = 1024 * 1024

_OVERRIDE = "__override__"

# Options that say how to apply, not what.
_NOT_INPUTS = frozenset(
    {"state", "pull", "wait_seconds", "lock_seconds", "on_failure", "keep_releases", "directory", "secret_store"}
)


def keyed_hash(key: bytes, content: bytes) -> str:
    """Return what identifies ``content`` to us and tells others nothing, not even by guessing."""
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:32]


def digest_inputs(
    params: Mapping[str, Any], *, key: bytes, versions: Callable[[Sequence[str]], Mapping[str, int]]
) -> str:
    """Return the keyed hash of a module's options, the versions of the secrets in them, and what they name.

    That is env files, and variables that Compose gets from us without being in ``env``.

    :param versions: secret name to version, for every reference in the given texts.
    """
    declared = json.dumps({name: value for name, value in params.items() if name not in _NOT_INPUTS}, sort_keys=True)
    folder = project_folder(params)
    paths = [
        os.path.join(folder, name) for name in (*(params["env_files"] or ()), *service_env_files(params["layers"]))
    ]
    contents = [digest_mounted(key, path) for path in paths]
    inherited = _named_variables([declared, *map(_read_text, paths)])
    everything = json.dumps([declared, versions([declared]), contents, inherited, VERSION, read_default_mtu()])
    return keyed_hash(key, everything.encode())


def _named_variables(texts: Iterable[str]) -> dict[str, str]:
    """Return the variables of our own environment that the texts may mean, as ``${NAME}`` or by bare name."""
    text = "\n".join(texts)
    return {name: value for name, value in clean_environment().items() if name in text}


def _read_text(path: str) -> str:
    try:
        # Opening a pipe would wait for its writer.
        if not os.path.isfile(path):
            return ""
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read(LIMIT_BYTES)
    except OSError:
        return ""


def project_folder(params: Mapping[str, Any]) -> str:
    """Return where a project's relative paths start."""
    folder = params["src"] or f"{params['directory'].rstrip('/')}/projects/{params['name']}"
    return str(folder).rstrip("/")


def has_hidden_inputs(params: Mapping[str, Any]) -> bool:
    """Whether Compose reads files that we do not know: those of others' projects, ``extends``, ``include``, builds."""
    if params["src"] is not None:
        return True
    for layer in params["layers"] or ():
        services = layer.get("services")
        if layer.get("include") or not isinstance(services, Mapping) or _OVERRIDE in services:
            return True
        if any(_reads_unknown_files(service) for service in services.values() if isinstance(service, Mapping)):
            return True
    # Compose alone knows what a variable in a path means.
    return any("$" in path or not path for path in service_env_files(params["layers"]))


def _reads_unknown_files(service: Mapping[str, Any]) -> bool:
    return any(service.get(key) for key in ("extends", "build", "label_file", _OVERRIDE))


def service_env_files(layers: Iterable[Mapping[str, Any]] | None) -> list[str]:
    """Return the paths under ``env_file`` of all services, as written."""
    found: list[str] = []
    for layer in layers or ():
        services = layer.get("services")
        for service in services.values() if isinstance(services, Mapping) else ():
            entries = service.get("env_file") if isinstance(service, Mapping) else None
            listed = entries if isinstance(entries, list) else [entries] if entries else []
            found += [str(entry.get("path", "")) if isinstance(entry, Mapping) else str(entry) for entry in listed]
    return found


def digest_mounted(key: bytes, path: str) -> str | None:
    """Return the keyed hash of a file that somebody else keeps; None for a folder, a socket, a large file, nothing."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LIMIT_BYTES:
            return None
        with open(path, "rb") as stream:
            return keyed_hash(key, stream.read(LIMIT_BYTES))
    except OSError:
        return None
