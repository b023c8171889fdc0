# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that the gateway is given, and the one that it writes."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import GatewayError

#: The form of every file here. A file of another number is refused.
FORMAT = 1
_MOST_BYTES = 16 * 1024 * 1024
_REQUIRED = object()


@dataclass(frozen=True)
class Fields:
    """A JSON object that is taken apart, and the words for what is wrong with it.

    :param path: the file, for messages.
    :param where: the object's place in it, such as ``services[2]``.
    """

    found: Mapping[str, Any]
    path: str
    where: str

    def wrong(self, cause: str) -> GatewayError:
        """Return the error that says ``cause`` of this object."""
        return GatewayError(f"Cannot use {self.path}: {self.where} {cause}; render the file anew.")

    def only(self, *names: str) -> None:
        """Refuse names that nobody reads: a misspelt limit would be no limit."""
        if unknown := sorted(self.found.keys() - set(names)):
            raise self.wrong(f"has the unknown {', '.join(unknown)}")

    def text(self, name: str, default: Any = _REQUIRED) -> str:
        return str(self._typed(name, str, "a text", default))

    def flag(self, name: str, *, default: bool) -> bool:
        return bool(self._typed(name, bool, "true or false", default))

    def number(self, name: str, default: Any = _REQUIRED, *, least: float, most: float) -> float:
        """Return a number from ``least`` to ``most``."""
        value = self._typed(name, (int, float), "a number", default)
        if not least <= value <= most:
            raise self.wrong(f"has {name} {value!r}, which is not from {least:g} to {most:g}")
        return float(value)

    def objects(self, name: str, default: Any = _REQUIRED) -> list[Fields]:
        """Return the objects of a list."""
        inner = self._typed(name, list, "a list", default)
        return [self._made(f"{name}[{index}]", value) for index, value in enumerate(inner)]

    def inner(self, name: str) -> Fields | None:
        """Return an object; None where there is none."""
        return None if self.found.get(name) is None else self._made(name, self.found[name])

    def named(self, name: str, default: Any = _REQUIRED) -> dict[str, Fields]:
        """Return the objects of an object."""
        inner = self._typed(name, dict, "an object", default)
        return {key: self._made(f"{name}.{key}", value) for key, value in inner.items()}

    def numbers(self, name: str, *, least: float, most: float) -> dict[str, int]:
        """Return the whole numbers of an object, none of it where it is missing."""
        fields = self._made(name, self.found.get(name, {}))
        return {key: int(fields.number(key, least=least, most=most)) for key in fields.found}

    def texts(self, name: str, default: Any = _REQUIRED) -> list[str]:
        values = self._typed(name, list, "a list", default)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(f"has {name} {values!r}, of which not all are texts")
        return list(values)

    def _typed(self, name: str, kind: Any, words: str, default: Any) -> Any:
        value = self.found.get(name, default)
        if value is _REQUIRED:
            raise self.wrong(f"has no {name}")
        # To Python, true is a number.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(f"has {name} {value!r}, which is not {words}")
        return value

    def _made(self, name: str, value: object) -> Fields:
        where = name if self.where == "it" else f"{self.where}.{name}"
        if not isinstance(value, dict):
            raise GatewayError(f"Cannot use {self.path}: {where} is no object; render the file anew.")
        return Fields(value, self.path, where)


def read_bytes(path: str) -> bytes:
    """Return what a file holds.

    :raises GatewayError: it cannot be read, or is larger than any such file is.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except OSError as error:
        raise GatewayError(f"Cannot read {path}: {error.strerror}; see that it is there and readable.") from error
    if len(content) > _MOST_BYTES:
        raise GatewayError(f"Cannot read {path}: it has more than {_MOST_BYTES} bytes; render the file anew.")
    return content


def read_those_there(paths: Iterable[str]) -> list[tuple[bytes, str]]:
    """Return what files hold, each with its path; one that is not there is left out.

    :raises GatewayError: one is there and cannot be read.
    """
    return [(read_bytes(path), path) for path in paths if os.path.exists(path)]


def parse_fields(content: bytes, path: str) -> Fields:
    """Return the object that a file holds.

    :raises GatewayError: it is no JSON object, or of another format. What it holds is not quoted: it may be a key.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise GatewayError(f"Cannot use {path}: it is no JSON; render the file anew.") from None
    if not isinstance(found, dict):
        raise GatewayError(f"Cannot use {path}: it is no JSON object; render the file anew.")
    if found.get("format") != FORMAT:
        raise GatewayError(
            f"Cannot use {path}: its format is {found.get('format')!r}, not {FORMAT}; render it with the same version."
        )
    return Fields(found, path, "it")


def write_json(path: str, content: Mapping[str, object]) -> None:
    """Replace ``path``, durable when this returns: at no moment is it missing or half there.

    :raises GatewayError: nothing was replaced.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.modelyard-tmp")
    try:
        _write_temporary(temporary, json.dumps(content, sort_keys=True).encode() + b"\n")
        os.replace(temporary, path)
        _sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):  # it must not hide the cause
            os.unlink(temporary)
        raise GatewayError(f"Cannot write {path}: {error.strerror}; make room there, or correct its rights.") from error


def _write_temporary(temporary: str, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):  # a killed gateway may have left one
        os.unlink(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
