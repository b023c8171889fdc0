# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking MLflow by HTTP or HTTPS as one of its users, at an address that names need not lead to."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .._errors import PlatformError


class MissingError(PlatformError):
    """MLflow has nothing of that name."""


@dataclass(frozen=True)
class Connection:
    """Where MLflow is, and who asks.

    :param address: where to connect to, if not where the name leads.
    :param authority: certificates, as PEM, of who signs MLflow's; empty where a public authority does.
    """

    url: str
    username: str
    password: str = field(repr=False)
    address: str = ""
    authority: str = ""
    timeout_seconds: float = 60

    def ask(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer to a question of MLflow's REST API.

        :raises MissingError: there is no such thing.
        :raises PlatformError: MLflow does not answer, or refuses.
        """
        with self.open(f"{path}?{urlencode(query)}") as answer:
            content = answer.read()
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise PlatformError(
                f"Cannot ask {self.url}: it answers with something that is not MLflow's; correct the url."
            )
        return found

    @contextlib.contextmanager
    def open(self, target: str) -> Iterator[http.client.HTTPResponse]:
        """Yield the answer to GET, which succeeded.

        :raises PlatformError: as with :meth:`ask`.
        """
        connection = self._connect()
        login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        try:
            with contextlib.closing(connection):
                connection.request("GET", target, headers={"Authorization": f"Basic {login}"})
                answer = connection.getresponse()
                self._refuse(answer)
                yield answer
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise PlatformError(
                f"Cannot ask {self.url}: {reason}; see whether MLflow runs, and whether this host reaches it."
            ) from None

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context(cadata=self.authority or None)
            connection = http.client.HTTPSConnection(host, port, timeout=self.timeout_seconds, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout_seconds)
        if self.address:
            address = self.address
            # The name stays in the certificate and in the request's Host.
            connection._create_connection = (  # type: ignore[attr-defined]
                lambda pair, *rest, **more: socket.create_connection((address, pair[1]), *rest, **more)
            )
        return connection

    def _refuse(self, answer: http.client.HTTPResponse) -> None:
        if answer.status == 200:
            return
        said = _message_of(answer.read(4096))
        if answer.status == 404:
            raise MissingError(said)
        if answer.status in (401, 403):
            raise PlatformError(
                f"Cannot ask {self.url}: it answers {answer.status} to user {self.username!r}; give that user READ, or "
                "apply role 'mlflow' anew where its password was rotated."
            )
        raise PlatformError(f"Cannot ask {self.url}: it answers {answer.status}{said and f' ({said})'}; see its log.")


def path_of(*parts: str) -> str:
    """Return a path for a request; what stands in it as a slash stays one."""
    return "/".join(quote(part, safe="/") for part in parts)


def _message_of(content: bytes) -> str:
    """Return what MLflow says of a refusal; what is not its own is nobody's business."""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    return str(found.get("message", ""))[:300] if isinstance(found, dict) else ""
