# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a build sees of its context: the same before and after the files of the project are written."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._files import TEMPORARY_SUFFIX, FileState
from .dockerignore import IgnoreRules, parse_dockerignore
from .inputs import LIMIT_BYTES, keyed_hash

_HEAVY_BYTES = 64 * LIMIT_BYTES


@dataclass(frozen=True)
class _Entry:
    """One file of the context: declared by the project, or on disk only."""

    path: str
    mode: int
    size: int
    stamp: int
    declared: bytes | None = None

    def digest(self, *, heavy: bool) -> bytes:
        """Return what stands for the content.

        :raises FileNotFoundError: it is gone by now.
        """
        if self.declared is not None:
            return hashlib.sha256(self.declared).digest()
        if heavy:
            return str(self.stamp).encode()
        if stat.S_ISLNK(self.mode):
            return os.fsencode(os.readlink(self.path))
        if not stat.S_ISREG(self.mode):
            return b""
        with open(self.path, "rb") as stream:
            return hashlib.sha256(stream.read()).digest()


def digest_build_context(
    key: bytes,
    build: Mapping[str, Any],
    *,
    declared: Mapping[str, FileState] | None = None,
    left_out: Collection[str] = (),
) -> str | None:
    """Return the keyed hash of a build's context and Dockerfile; None where it is no folder of this host.

    Above 64 MiB, size and time stamp stand for the content: reading gigabytes on every run is worse than one
    build too many, which the build cache makes short.

    :param declared: files that are on disk when the build starts, whatever is there now.
    :param left_out: paths that change by themselves, with all that is below.
    """
    context = build.get("context", "")
    if not os.path.isabs(context):
        return None
    context, declared = os.path.normpath(context), declared or {}
    dockerfile = os.path.normpath(os.path.join(context, build.get("dockerfile") or "Dockerfile"))
    entries = _entries(context, dockerfile, declared, left_out)
    if not entries and not os.path.isdir(context):
        return None
    heavy = sum(entry.size for entry in entries) > _HEAVY_BYTES
    total = hashlib.sha256(json.dumps(build, sort_keys=True).encode())
    for entry in entries:
        try:
            content = entry.digest(heavy=heavy)
        except FileNotFoundError:
            continue
        name = os.fsencode(os.path.relpath(entry.path, context))
        total.update(name + f"\0{entry.mode:o}\0{entry.size}\0".encode() + content)
    return keyed_hash(key, total.digest())


def _entries(
    context: str, dockerfile: str, declared: Mapping[str, FileState], left_out: Collection[str]
) -> list[_Entry]:
    rules = _read_rules(context, dockerfile, declared)
    fixed = [path for path in left_out if _is_below(path, context)]

    def is_seen(path: str) -> bool:
        return not (
            _is_passing(os.path.relpath(path, context))
            or any(path == other or _is_below(path, other) for other in fixed)
            or rules.is_ignored(os.path.relpath(path, context))
        )

    paths = {path for path in _walk(context, rules) if is_seen(path)}
    paths |= {path for path in declared if _is_below(path, context) and is_seen(path)}
    # The builder reads it even where it is ignored, and it may lie elsewhere.
    paths.add(dockerfile)
    found = (_entry(path, declared.get(path)) for path in sorted(paths))
    return [entry for entry in found if entry is not None]


def _entry(path: str, state: FileState | None) -> _Entry | None:
    if state is not None:
        return _Entry(path, stat.S_IFREG | state.mode, len(state.content), 0, state.content)
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _Entry(path, found.st_mode, found.st_size, found.st_mtime_ns)


def _walk(context: str, rules: IgnoreRules) -> Iterator[str]:
    for folder, folders, names in os.walk(context):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        below = os.path.relpath(folder, context)
        folders[:] = [
            name for name in folders if name != ".git" and not rules.ignores_folder(os.path.join(below, name))
        ]
        yield from (os.path.join(folder, name) for name in (*names, *links))


def _is_passing(name: str) -> bool:
    """Whether it is Git's own, or a file of ours that is being written."""
    return ".git" in name.split("/") or name.endswith(TEMPORARY_SUFFIX)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


def _read_rules(context: str, dockerfile: str, declared: Mapping[str, FileState]) -> IgnoreRules:
    """Return the rules of the Dockerfile's own ignore file, which replaces the context's."""
    for path in (f"{dockerfile}.dockerignore", os.path.join(context, ".dockerignore")):
        if path in declared:
            return parse_dockerignore(declared[path].content.decode(errors="surrogateescape"))
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as stream:
                return parse_dockerignore(stream.read())
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
    return parse_dockerignore("")
