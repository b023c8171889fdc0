# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry with the REST API of MLflow 3.17, as far as a reader asks it: its answers have the fields of that one."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_FILES = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class FakeMlflow:
    """Models by name, each with its aliases and the files of its versions; ``asked`` are the paths of all requests."""

    username: str = "inference"
    password: str = "of-the-reader"
    versions: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    status: dict[tuple[str, str], str] = field(default_factory=dict)
    sources: dict[tuple[str, str], str] = field(default_factory=dict)
    version: bytes = b"3.17.2"
    #: Scheme and root of what it says of its files.
    artifacts: str = "mlflow-artifacts:/1/models"
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def register(self, name: str, number: str, files: Mapping[str, bytes], *, alias: str = "") -> None:
        self.versions[name, number] = dict(files)
        if alias:
            self.aliases[name, alias] = number

    def start(self) -> None:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                fake.hosts.append(self.headers["Host"])
                status, content = fake.answer(self.path, self.headers["Authorization"] or "")
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def answer(self, target: str, login: str) -> tuple[int, bytes]:
        expected = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if login != f"Basic {expected}":
            return 401, b"You are not authenticated."
        parts = urlsplit(target)
        if parts.path == "/version":
            return 200, self.version
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path.startswith(f"{_FILES}/"):
            return self._file(unquote(parts.path.removeprefix(f"{_FILES}/")))
        found = self._known(parts.path, query)
        if found is None:
            said = {
                "error_code": "RESOURCE_DOES_NOT_EXIST",
                "message": f"There is nothing for {sorted(query.values())}",
            }
            return 404, json.dumps(said).encode()
        return 200, json.dumps(found).encode()

    def _known(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        if path == "/api/2.0/mlflow/registered-models/alias":
            return self._version(query["name"], self.aliases.get((query["name"], query["alias"]), ""))
        if path == "/api/2.0/mlflow/model-versions/get":
            return self._version(query["name"], query["version"])
        if path == "/api/2.0/mlflow/model-versions/get-download-uri":
            return {"artifact_uri": f"{self.artifacts}/{query['name']}-{query['version']}/artifacts"}
        return self._listing(query["path"]) if path == _FILES else None

    def _version(self, name: str, number: str) -> dict[str, Any] | None:
        if (name, number) not in self.versions:
            return None
        source = self.sources.get((name, number), f"models:/m-{name}-{number}")
        status = self.status.get((name, number), "READY")
        return {"model_version": {"name": name, "version": number, "status": status, "source": source, "run_id": "1"}}

    def _files(self) -> dict[str, bytes]:
        return {
            f"1/models/{name}-{number}/artifacts/{path}": content
            for (name, number), files in self.versions.items()
            for path, content in files.items()
        }

    def _listing(self, folder: str) -> dict[str, Any]:
        found: dict[str, dict[str, Any]] = {}
        for path, content in self._files().items():
            if path.startswith(f"{folder}/"):
                name, slash, _rest = path.removeprefix(f"{folder}/").partition("/")
                found[name] = {"path": name, "is_dir": bool(slash), **({} if slash else {"file_size": len(content)})}
        return {"files": list(found.values())}

    def _file(self, path: str) -> tuple[int, bytes]:
        found = self._files()
        return (200, found[path]) if path in found else (404, b'{"message": "No such artifact"}')
