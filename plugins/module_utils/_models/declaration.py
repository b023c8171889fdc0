# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Models as they are declared: files with checksums, and where they may come from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._errors import PlatformError

_KEYS = ("path", "sha256", "sources", "token")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Relative, and none of its parts begins with a dot or a dash.
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_ADDRESS = re.compile(r"https?://[^\s/@]+/\S*")
_HOST_FILE = re.compile(r"/[^\0]+")


@dataclass(frozen=True)
class ModelFile:
    """One file of a model; ``path`` is where the engine finds it below the model's folder."""

    path: str
    sha256: str
    #: Addresses, or files of the host; asked in this order, after the mirror.
    sources: tuple[str, ...] = ()
    #: Sent as ``Authorization: Bearer``, to addresses of ``https`` alone.
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Model:
    """The files that one service needs."""

    name: str
    files: tuple[ModelFile, ...]

    @property
    def tree(self) -> str:
        """Name of its folder: the digest of what is in it, so that another model never takes its place."""
        content = json.dumps(sorted([file.path, file.sha256] for file in self.files))
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def parse_models(declared: object) -> tuple[Model, ...]:
    """Return the models that are declared.

    :raises PlatformError: one of them cannot be meant.
    """
    if not isinstance(declared, Sequence) or isinstance(declared, (str, bytes)):
        raise PlatformError(f"Cannot have models: {declared!r:.80} is no list; give a list of models.")
    models = tuple(_parse_model(entry) for entry in declared)
    if twice := first_twice(model.name for model in models):
        raise PlatformError(f"Cannot have model {twice!r}: two models have this name; rename one.")
    return models


def _parse_model(entry: object) -> Model:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    if not isinstance(entry, Mapping) or not isinstance(name, str) or not _NAME.fullmatch(name):
        raise PlatformError(
            f"Cannot have a model named {name!r:.80}: use up to 63 lower-case letters, digits, '_', '.' and '-'."
        )
    files = entry.get("files")
    if not isinstance(files, list) or not files:
        raise PlatformError(
            f"Cannot have model {name!r}: it has no files; give at least one, with 'path' and 'sha256'."
        )
    return Model(name, parse_files(name, files))


def parse_files(model: str, declared: Iterable[object]) -> tuple[ModelFile, ...]:
    """Return the files of a model.

    :raises PlatformError: one of them has no checksum, no place or no source of the right form, or two are in the same.
    """
    files = tuple(_parse_file(model, entry) for entry in declared)
    paths = [file.path for file in files]
    if twice := first_twice(paths):
        raise PlatformError(f"Cannot have model {model!r}: two of its files are called {twice!r}; rename one.")
    for path in paths:
        if inside := [other for other in paths if other.startswith(f"{path}/")]:
            raise PlatformError(
                f"Cannot have model {model!r}: {path!r} is a file, and {inside[0]!r} is to be below it; rename one."
            )
    return files


def _parse_file(model: str, entry: object) -> ModelFile:
    doing = f"Cannot have model {model!r}"
    if not isinstance(entry, Mapping) or (unknown := entry.keys() - set(_KEYS)):
        found = ", ".join(sorted(map(repr, unknown))) if isinstance(entry, Mapping) else f"{entry!r:.80}"
        raise PlatformError(f"{doing}: a file of it is said by {found}; known are {', '.join(map(repr, _KEYS))}.")
    path, sha256, token = entry.get("path"), entry.get("sha256"), entry.get("token") or ""
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise PlatformError(
            f"{doing}: {path!r:.80} is no path of a file; give one below the model's folder, of letters, digits and "
            "'_', '.', '+', '-'."
        )
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise PlatformError(
            f"{doing}: the checksum of {path!r} is {sha256!r:.80}; give the 64 hexadecimal digits of its SHA-256 "
            "(sha256sum FILE)."
        )
    sources = entry.get("sources") or []
    if not isinstance(sources, list) or not isinstance(token, str):
        raise PlatformError(f"{doing}: 'sources' of {path!r} is a list of addresses, and 'token' a text; correct them.")
    return ModelFile(path, sha256, tuple(_parse_source(doing, path, source) for source in sources), token)


def _parse_source(doing: str, path: str, source: Any) -> str:
    if not isinstance(source, str) or not (_ADDRESS.fullmatch(source) or _HOST_FILE.fullmatch(source)):
        raise PlatformError(
            f"{doing}: {path!r} cannot come from {source!r:.120}; give https://HOST/PATH, or the path of a file on the "
            "host."
        )
    return source


def first_twice(names: Iterable[str]) -> str:
    """Return the first name that comes a second time; empty where none does."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return ""
