# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bucket of the site's own store that has each model once more, so that a host gets it without its source."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .._s3.signing import NO_CONTENT, AccessKey, sign_request
from .fetch import Stream, stream_of
from .http import RangeRefusedError, SourceError, reason_of


@dataclass(frozen=True)
class Mirror:
    """A bucket whose objects are named by their checksums. ``address`` is host:port of the store."""

    address: str
    bucket: str
    key: AccessKey
    timeout_seconds: float

    @property
    def name(self) -> str:
        return f"the mirror (bucket {self.bucket!r})"

    @contextmanager
    def open(self, sha256: str, start: int) -> Iterator[Stream]:
        """Yield an object from ``start`` on.

        :raises SourceError: the store does not have it, or does not answer.
        """
        more = {"Range": f"bytes={start}-"} if start else {}
        with self._asking("GET", sha256, more) as answer:
            if answer.status == 416:
                raise RangeRefusedError("answers 416")
            if answer.status not in (200, 206):
                raise SourceError("has it not" if answer.status == 404 else f"answers {answer.status}")
            yield stream_of(answer, start)

    def has(self, sha256: str) -> bool:
        """Whether an object is there.

        :raises SourceError: the store does not say it.
        """
        with self._asking("HEAD", sha256, {}) as answer:
            if answer.status not in (200, 404):
                raise SourceError(f"answers {answer.status}")
            return bool(answer.status == 200)

    def put(self, sha256: str, path: str) -> None:
        """Give the store a file under its checksum, which the store compares.

        :raises SourceError: it does not take it.
        """
        with open(path, "rb") as stream:
            more = {"Content-Length": str(os.fstat(stream.fileno()).st_size)}
            with self._asking("PUT", sha256, more, content_sha256=sha256, body=stream) as answer:
                if answer.status != 200:
                    raise SourceError(f"does not take it, and answers {answer.status}")

    @contextmanager
    def _asking(
        self, method: str, sha256: str, more: dict[str, str], *, content_sha256: str = NO_CONTENT, body: object = None
    ) -> Iterator[http.client.HTTPResponse]:
        path = f"/{self.bucket}/{sha256}"
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = sign_request(method, path, address=self.address, key=self.key, now=now, content_sha256=content_sha256)
        connection = http.client.HTTPConnection(self.address, timeout=self.timeout_seconds)
        try:
            connection.request(method, path, body=body, headers={**headers, **more})  # type: ignore[arg-type]
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise SourceError(f"cannot be reached ({reason_of(error)})") from None
        try:
            yield answer
        finally:
            connection.close()
