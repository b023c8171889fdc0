# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of registered models on a host: each a folder that is whole from its first moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO

from .._compose.site import damaged, read_json, write_json
from .._errors import PlatformError
from .._files import TEMPORARY_SUFFIX, ensure_directory, sync_directory, telling
from .._version import STATE_FORMAT
from .model import ModelVersion
from .registry import VersionFile

_CHUNK_BYTES = 1 << 20
#: A container's user reads them through a mount.
_FOLDER_MODE, _FILE_MODE = 0o755, 0o644


@dataclass(frozen=True)
class VersionsFolder:
    """``VERSION/`` of each version that was fetched, and ``served.json``: service to the version it had last."""

    path: str

    def of(self, version: ModelVersion) -> str:
        return f"{self.path}/{version.key}"

    def has(self, version: ModelVersion) -> bool:
        return os.path.isdir(self.of(version))

    def read_served(self) -> dict[str, ModelVersion]:
        """Return service to the version that it had when a run of this went through last."""
        found = read_json(self._record) or {}
        try:
            return {service: ModelVersion(**known) for service, known in found.get("services", {}).items()}
        except (AttributeError, TypeError):
            raise damaged(self._record) from None

    def write_served(self, served: dict[str, ModelVersion]) -> None:
        with telling("note which models are served"):
            services = {service: vars(version) for service, version in sorted(served.items())}
            write_json(self._record, {"format": STATE_FORMAT, "services": services})

    def prepare(self) -> None:
        """Make the folder, and sweep what a killed run left."""
        with telling("make the folder of registered models"):
            ensure_directory(os.path.dirname(self.path), mode=_FOLDER_MODE)
            ensure_directory(self.path, mode=_FOLDER_MODE)
            for name in os.listdir(self.path):
                if name.endswith(TEMPORARY_SUFFIX) and os.path.isdir(f"{self.path}/{name}"):
                    shutil.rmtree(f"{self.path}/{name}")

    def read(self, version: ModelVersion, path: str) -> str:
        """Return a small file of a version that is there; empty where it has none."""
        with telling(f"read {path} of model {version.name!r}"):
            try:
                with open(f"{self.of(version)}/{path}", encoding="utf-8") as stream:
                    return stream.read()
            except FileNotFoundError:
                return ""

    def keep(
        self,
        version: ModelVersion,
        files: list[VersionFile],
        content: Callable[[str], AbstractContextManager[IO[bytes]]],
    ) -> None:
        """Fetch all files of a version; it has its name only once they are all there, durable.

        :raises PlatformError: a file is not of the size that MLflow names, or the disk is full.
        """
        temporary = f"{self.path}/.{version.key}{TEMPORARY_SUFFIX}"
        with telling(f"keep version {version.number} of model {version.name!r}"):
            self._refuse_full(version, files)
            for file in files:
                path = f"{temporary}/{file.path}"
                os.makedirs(os.path.dirname(path), mode=_FOLDER_MODE, exist_ok=True)
                with content(file.path) as stream:
                    size = _copy(stream, path)
                if size != file.size_bytes:
                    raise PlatformError(
                        f"Cannot keep version {version.number} of model {version.name!r}: {file.path} has {size} bytes "
                        f"and MLflow names {file.size_bytes}; run again."
                    )
            for folder in [found[0] for found in os.walk(temporary, topdown=False)]:
                os.chmod(folder, _FOLDER_MODE)
                sync_directory(folder)
            os.rename(temporary, self.of(version))
            sync_directory(self.path)

    def _refuse_full(self, version: ModelVersion, files: list[VersionFile]) -> None:
        size, free = sum(file.size_bytes for file in files), shutil.disk_usage(self.path).free
        if free < size:
            raise PlatformError(
                f"Cannot keep version {version.number} of model {version.name!r}: it has {size >> 20} MiB and "
                f"{self.path} has {free >> 20} MiB free; make room there."
            )

    @property
    def _record(self) -> str:
        return f"{self.path}/served.json"


def _copy(stream: IO[bytes], path: str) -> int:
    size = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    with os.fdopen(descriptor, "wb") as target:
        while chunk := stream.read(_CHUNK_BYTES):
            size += target.write(chunk)
        target.flush()
        os.fchmod(descriptor, _FILE_MODE)
        os.fsync(descriptor)
    return size
