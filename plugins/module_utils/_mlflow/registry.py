# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MLflow's registry as a user who may only read sees it: which version an alias leads to, and a version's files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from .._errors import PlatformError
from .connection import MissingError, path_of
from .model import ModelUri, ModelVersion, parse_version

_API = "/api/2.0/mlflow"
_FILES = "/api/2.0/mlflow-artifacts/artifacts"
#: A model has a few folders; a listing that goes on and on is no model's.
_MOST_FILES = 10_000
#: As packages have it.
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+]{0,40}")


class Asking(Protocol):
    """A connection to MLflow."""

    @property
    def ask(self) -> Callable[[str, Mapping[str, str]], dict[str, Any]]:
        """Answer a question of the REST API."""

    @property
    def open(self) -> Callable[[str], AbstractContextManager[Any]]:
        """Answer a request as it comes."""


@dataclass(frozen=True)
class VersionFile:
    """A file of a version, by its path below the model's folder."""

    path: str
    size_bytes: int


@dataclass(frozen=True)
class Registry:
    """The registry."""

    mlflow: Asking

    def resolve(self, uri: ModelUri) -> ModelVersion:
        """Return the version that a name leads to now.

        :raises PlatformError: there is no such model, alias or version, or it is not ready.
        """
        try:
            if uri.alias:
                query = {"name": uri.name, "alias": uri.alias}
                answer = self.mlflow.ask(f"{_API}/registered-models/alias", query)
            else:
                answer = self.mlflow.ask(f"{_API}/model-versions/get", {"name": uri.name, "version": uri.number})
        except MissingError as error:
            raise PlatformError(
                f"Cannot look up {uri}: {error or 'the registry has no such model'}; register the model, or set the "
                "alias."
            ) from None
        return parse_version(answer, uri)

    def server_version(self) -> str:
        """Return the version of MLflow itself.

        :raises PlatformError: it does not tell.
        """
        with self.mlflow.open("/version") as answer:
            said = answer.read(64).decode(errors="replace").strip()
        if not _VERSION.fullmatch(said):
            raise PlatformError(f"Cannot ask MLflow for its version: it answers {said!r:.60}; correct the url.")
        return str(said)

    def folder_of(self, version: ModelVersion) -> str:
        """Return where MLflow has the files of a version, as it serves them itself.

        :raises PlatformError: they are where only their owner reaches them.
        """
        query = {"name": version.name, "version": version.number}
        found = str(self.mlflow.ask(f"{_API}/model-versions/get-download-uri", query).get("artifact_uri", ""))
        parts = urlsplit(found)
        if parts.scheme != "mlflow-artifacts" or ".." in parts.path.split("/"):
            raise PlatformError(
                f"Cannot fetch version {version.number} of model {version.name!r}: its files are at '{parts.scheme}:', "
                "not behind MLflow itself; log it anew to an experiment of this server."
            )
        return parts.path.strip("/")

    def files(self, folder: str) -> list[VersionFile]:
        """Return the files below a folder, in order of their paths.

        :raises PlatformError: there are none, or a name leads out of the folder.
        """
        found = sorted(self._walk(folder, ""), key=lambda file: file.path)
        if not found:
            raise PlatformError(f"Cannot fetch {folder}: MLflow has no files there; log the model anew.")
        return found

    def _walk(self, folder: str, below: str) -> Iterator[VersionFile]:
        waiting, seen = [below], 0
        while waiting:
            inner = waiting.pop()
            listed = self.mlflow.ask(_FILES, {"path": f"{folder}/{inner}".rstrip("/")}).get("files", [])
            for entry in listed:
                seen += 1
                name = str(entry.get("path", ""))
                if seen > _MOST_FILES or name in ("", ".", "..") or "/" in name or "\0" in name:
                    raise PlatformError(
                        f"Cannot fetch {folder}: MLflow names {name!r} among its files; log the model anew."
                    )
                path = f"{inner}/{name}".lstrip("/")
                if entry.get("is_dir"):
                    waiting.append(path)
                else:
                    yield VersionFile(path, int(entry.get("file_size", 0)))

    def content(self, folder: str, path: str) -> AbstractContextManager[IO[bytes]]:
        """Return the content of a file, to be read within ``with``."""
        opened: AbstractContextManager[IO[bytes]] = self.mlflow.open(path_of(_FILES, folder, path))
        return opened

    def text(self, folder: str, path: str) -> str:
        """Return a small file as text; empty where there is none.

        :raises PlatformError: it is not text.
        """
        try:
            with self.content(folder, path) as stream:
                return stream.read().decode()
        except MissingError:
            return ""
        except UnicodeDecodeError:
            raise PlatformError(f"Cannot read {path} of {folder}: it is no text; log the model anew.") from None
