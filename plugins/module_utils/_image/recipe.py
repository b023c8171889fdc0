# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recipe: a Dockerfile with the files beside it, and the base that it starts from."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError
from .base import BASE_NAME, Base
from .dockerfile import check_dockerfile
from .inputs import RECIPE_FORMAT, digest_of, refuse_secrets, tag_of

DOCKERFILE = "Dockerfile"

#: Arguments that the module gives itself.
RESERVED_ARGUMENTS = frozenset({"BASE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "ALL_PROXY"})

_CHUNK_BYTES = 1 << 20
_NAME_PART = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_NAME = re.compile(f"{_NAME_PART}(?:/{_NAME_PART})*")
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class RecipeFile:
    """One file of a recipe.

    Of its mode only the executable bit counts: the rest is the umask of whoever copied it.
    """

    path: str
    is_executable: bool
    digest: str
    origin: bytes | str
    """The content, or the path of the file on this host."""

    @property
    def mode(self) -> int:
        return 0o755 if self.is_executable else 0o644

    def read(self) -> bytes:
        """Return the content that was digested.

        :raises PlatformError: the file on the host is another one by now.
        """
        if isinstance(self.origin, bytes):
            return self.origin
        with open(self.origin, "rb") as stream:
            content = stream.read()
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise PlatformError(f"Cannot read recipe file {self.origin}: it changes while it is read; run again.")
        return content


@dataclass(frozen=True)
class Recipe:
    """All that one image is built from."""

    name: str
    base: Base
    files: tuple[RecipeFile, ...]
    arguments: tuple[tuple[str, str], ...]

    @property
    def inputs(self) -> dict[str, Any]:
        """What the tag is the digest of. Arguments stand by their digest, as this is also kept on the host."""
        return {
            "format": RECIPE_FORMAT,
            "base": self.base.reference,
            "files": {file.path: f"{file.mode:04o} {file.digest}" for file in self.files},
            "arguments": {name: hashlib.sha256(value.encode()).hexdigest() for name, value in self.arguments},
        }

    @property
    def digest(self) -> str:
        return digest_of(self.inputs)

    @property
    def reference(self) -> str:
        return f"{self.name}:{tag_of(self.digest)}"


def parse_recipe(
    *, name: str, base: Base, folder: str | None, files: Mapping[str, str] | None, arguments: Mapping[str, Any]
) -> Recipe:
    """Return the recipe in ``folder``, or given by ``files`` (path to text).

    :raises PlatformError: it cannot be built, for a reason that can be known without building it.
    """
    check_name(name)
    found = read_folder(folder) if folder is not None else files_of(files or {})
    ordered = tuple(sorted(found, key=lambda file: file.path))
    dockerfile = next((file for file in ordered if file.path == DOCKERFILE), None)
    if dockerfile is None:
        place = f"the recipe folder {folder}" if folder is not None else "the recipe's files"
        raise PlatformError(
            f"Cannot build image {name}: there is no {DOCKERFILE} in {place}; add one that starts FROM ${{BASE}}."
        )
    check_dockerfile(dockerfile.read().decode(errors="replace"), image=name)
    return Recipe(name, base, ordered, tuple(sorted(_parse_arguments(arguments))))


def check_name(name: str) -> None:
    """Refuse what is no name for a packaged image.

    :raises PlatformError: with the rule that it breaks.
    """
    first = name.split("/", maxsplit=1)[0]
    if not _NAME.fullmatch(name) or len(name) > 128:
        cause = "a name is made of lower-case words joined by '/', '-', '_' or '.', such as modelyard/mlflow"
    elif "/" in name and ("." in first or first == "localhost"):
        cause = f"{first!r} reads as a registry's host; give the registry as push_to"
    elif name == BASE_NAME:
        cause = "that is the name of the shared bases; choose another one"
    else:
        return
    raise PlatformError(f"Cannot build image {name!r}: {cause}.")


def _parse_arguments(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in arguments.items():
        if not _ARGUMENT.fullmatch(name) or name.upper() in RESERVED_ARGUMENTS:
            raise PlatformError(
                f"Cannot build an image: the build argument {name!r} is "
                f"{'given by the module itself' if name.upper() in RESERVED_ARGUMENTS else 'no name of a variable'}; "
                "rename it."
            )
        if isinstance(value, (dict, list)) or value is None:
            raise PlatformError(
                f"Cannot build an image: the build argument {name!r} is no text but {value!r}; quote it."
            )
        text = str(value)
        refuse_secrets(text, where=f"the build argument {name!r}")
        yield name, text


def files_of(files: Mapping[str, str]) -> Iterator[RecipeFile]:
    """Yield the recipe's files given as data. One that starts with ``#!`` is executable."""
    for path, text in files.items():
        parts = path.split("/")
        if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\0" in path:
            raise PlatformError(
                f"Cannot build an image: the recipe's file {path!r} is not a path below the recipe; write it as a/b."
            )
        refuse_secrets(text, where=f"the recipe's file {path!r}")
        content = text.encode()
        yield RecipeFile(path, content.startswith(b"#!"), hashlib.sha256(content).hexdigest(), content)


def read_folder(folder: str) -> Iterator[RecipeFile]:
    """Yield the files below ``folder`` with their digests. Empty folders are no inputs, as in git.

    :raises PlatformError: there is no such folder, or it holds what is neither file nor folder.
    """
    if not os.path.isdir(folder):
        raise PlatformError(
            f"Cannot build an image: there is no recipe folder {folder}; correct recipe, or give files."
        )
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        # A link to a folder is listed among the folders, and not gone into; it is refused like any link.
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in (*names, *links):
            yield _read_file(os.path.join(parent, name), folder)


def _read_file(path: str, folder: str) -> RecipeFile:
    found = os.lstat(path)
    relative = os.path.relpath(path, folder)
    if not stat.S_ISREG(found.st_mode):
        raise PlatformError(
            f"Cannot build an image: {path} is neither a file nor a folder (a link or a device); "
            "put the file itself there."
        )
    digest, tail = hashlib.sha256(), b""
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            refuse_secrets((tail + chunk).decode("latin-1"), where=f"the recipe's file {relative!r}")
            tail = chunk[-16:]
    return RecipeFile(relative, bool(found.st_mode & 0o100), digest.hexdigest(), path)


def _refuse_unreadable(error: OSError) -> None:
    raise PlatformError(f"Cannot build an image: {error.filename} cannot be read ({error.strerror}); correct its mode.")
