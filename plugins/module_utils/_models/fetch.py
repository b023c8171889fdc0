# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetching a file: from where a broken run left off, whole or not at all."""

from __future__ import annotations

import http.client
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from .._errors import PlatformError
from .._files import telling
from .declaration import ModelFile
from .folder import CHUNK_BYTES, Folder, digest_of, forget, keep
from .http import BrokenOffError, RangeRefusedError, SourceError, open_address, reason_of

#: A source that breaks off is asked for the rest so many times more.
_TRIES = 4
_PAUSE_SECONDS = 1.0
#: Left free, so that a full disk does not stop the site's other services.
_RESERVE_BYTES = 256 << 20


class Readable(Protocol):
    """What gives bytes."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Stream:
    """A file on its way: what follows ``start``, and how much that is, if the source says it."""

    reader: Readable
    start: int
    length: int | None


class Source(Protocol):
    """Where a file may come from; ``name`` is for messages."""

    @property
    def name(self) -> str: ...

    def open(self, sha256: str, start: int) -> AbstractContextManager[Stream]: ...


@dataclass(frozen=True)
class Address:
    """A file behind an address."""

    name: str
    token: str
    timeout_seconds: float

    @contextmanager
    def open(self, sha256: str, start: int) -> Iterator[Stream]:
        """Yield the file from ``start`` on, or from its beginning where the server knows no ranges."""
        del sha256
        with open_address(self.name, token=self.token, start=start, timeout_seconds=self.timeout_seconds) as answer:
            yield stream_of(answer, start)


@dataclass(frozen=True)
class HostFile:
    """A file of the host."""

    name: str

    @contextmanager
    def open(self, sha256: str, start: int) -> Iterator[Stream]:
        """Yield the file from ``start`` on."""
        del sha256
        try:
            descriptor = os.open(self.name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise SourceError(f"cannot be read on the host ({error.strerror})") from None
        with os.fdopen(descriptor, "rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            if start > length:
                raise RangeRefusedError("is shorter than what has come")
            stream.seek(start)
            yield Stream(stream, start, length - start)


def stream_of(answer: Any, start: int) -> Stream:
    """Return what an HTTP answer brings."""
    length = answer.headers.get("Content-Length")
    return Stream(answer, start if answer.status == 206 else 0, int(length) if (length or "").isdecimal() else None)


def sources_of(file: ModelFile, *, timeout_seconds: float) -> list[Source]:
    """Return where a file may come from, besides the mirror."""
    return [
        HostFile(source) if source.startswith("/") else Address(source, file.token, timeout_seconds)
        for source in file.sources
    ]


def fetch(
    folder: Folder, model: str, file: ModelFile, sources: Sequence[Source], pause: Callable[[float], None] = time.sleep
) -> str:
    """Have a file under its checksum, from the first source that gives it; return the source's name.

    :raises PlatformError: none did; says what each answered. What has come of it stays for the next run.
    """
    refused = []
    for source in sources:
        with telling(f"fetch {file.path!r} of model {model!r}"):
            try:
                _fetch_from(source, folder, file, pause)
            except SourceError as error:
                refused.append(f"{source.name} {error}")
            else:
                return source.name
    raise PlatformError(
        f"Cannot fetch {file.path!r} of model {model!r}: {'; '.join(refused) or 'no source is given for it'}; correct "
        f"its sources or its checksum, or put the file at {folder.blob(file.sha256)}."
    )


def _fetch_from(source: Source, folder: Folder, file: ModelFile, pause: Callable[[float], None]) -> None:
    """Bring a file whole.

    :raises SourceError: the source does not give it, or something else.
    """
    part = folder.part(file.sha256)
    for left in reversed(range(_TRIES)):
        began = _size_of(part)
        try:
            _bring(source, part, file.sha256)
        except RangeRefusedError:
            forget([part])
            continue
        except BrokenOffError:
            if not left:
                raise
            pause(_PAUSE_SECONDS)
            continue
        found = digest_of(part)
        if found == file.sha256:
            keep(part, folder.blob(file.sha256))
            return
        forget([part])
        if not began:
            raise SourceError(f"gives a file with the SHA-256 {found}, and {file.sha256} is expected")
    raise SourceError("gives no whole file")


def _bring(source: Source, part: str, sha256: str) -> None:
    with source.open(sha256, _size_of(part)) as stream:
        _refuse_a_full_disk(part, stream)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "r+b") as target:
            target.truncate(stream.start)
            target.seek(stream.start)
            _copy(stream, target)
            target.flush()
            os.fsync(target.fileno())


def _copy(stream: Stream, target: Any) -> None:
    copied = 0
    while True:
        try:
            chunk = stream.reader.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOffError(f"broke off after {copied} bytes ({reason_of(error)})") from None
        if not chunk:
            break
        target.write(chunk)
        copied += len(chunk)
    if stream.length is not None and copied < stream.length:
        raise BrokenOffError(f"broke off after {copied} of {stream.length} bytes")


def _refuse_a_full_disk(part: str, stream: Stream) -> None:
    free = shutil.disk_usage(os.path.dirname(part)).free
    if stream.length is not None and stream.length + _RESERVE_BYTES > free:
        raise PlatformError(
            f"Cannot fetch a model: it needs {stream.length >> 20} MiB, and {os.path.dirname(part)} has {free >> 20} "
            f"MiB free, of which {_RESERVE_BYTES >> 20} are left alone; make room there."
        )


def _size_of(part: str) -> int:
    try:
        return os.lstat(part).st_size
    except FileNotFoundError:
        return 0
