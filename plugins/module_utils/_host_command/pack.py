# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packing the command ``modelyard`` into one file: decided by the sources alone, wherever it is packed.

Equal sources give equal bytes: names are sorted, times fixed, and nothing is compressed, as zlib's output differs
between its versions.
"""

from __future__ import annotations

import io
import os
import posixpath
import zipfile
from collections.abc import Iterable, Iterator, Mapping

PACKAGE = "modelyard_platform"
#: Beside the shared files; other packages are the controller's, or another module's.
_PACKAGES = ("_compose", "_secrets", "_host_command")
#: What the command runs, and what puts it on a host: with all that these import it is what the module carries there.
_ROOTS = ("_host_command/main.py", "_host_command/install.py")
# -I: neither the folder that it is called in nor variables of the caller's can bring in other code.
SHEBANG = b"#!/usr/bin/python3 -I\n"
#: The oldest time that a zip can tell.
_TIME = (1980, 1, 1, 0, 0, 0)
_MAIN = """\
import sys

from {package}._host_command.main import main

sys.exit(main({places}))
"""
#: The name of a file in every one of our archives, and in no other one.
_MARK = f"{PACKAGE}/_host_command/main.py".encode()


#: Where site and secrets usually are, which the command knows by itself.
USUAL_DIRECTORY = "/opt/modelyard"
USUAL_STORE = "/etc/modelyard/secrets.json"


def make_content(directory: str, secret_store: str) -> bytes:
    """Return the command's file for a site, from the sources beside this one wherever it runs.

    The usual places are left out: the file is then the same as the tool's.
    """
    module_utils = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return pack(
        read_sources(module_utils),
        directory="" if directory == USUAL_DIRECTORY else directory,
        secret_store="" if secret_store == USUAL_STORE else secret_store,
    )


def read_sources(module_utils: str) -> dict[str, bytes]:
    """Return path to content of the sources that go into the command.

    :param module_utils: the folder, or its path in a zip: Ansible brings to a host what a module imports, as one.
    """
    archive = _archive_of(module_utils)
    if os.path.isdir(archive):
        return dict(_follow_imports(module_utils))
    inside = os.path.relpath(module_utils, archive) + "/"
    with zipfile.ZipFile(archive) as payload:
        names = [name.removeprefix(inside) for name in payload.namelist() if name.startswith(inside)]
        return {name: payload.read(inside + name) for name in names if _is_packed(name)}


def read_files(module_utils: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return path to content of these sources; ``module_utils`` as for :func:`read_sources`."""
    archive = _archive_of(module_utils)
    if os.path.isdir(archive):
        found = {}
        for name in names:
            with open(f"{module_utils}/{name}", "rb") as stream:
                found[name] = stream.read()
        return found
    inside = os.path.relpath(module_utils, archive) + "/"
    with zipfile.ZipFile(archive) as payload:
        return {name: payload.read(inside + name) for name in names}


def _archive_of(path: str) -> str:
    """Return the lowest part of a path that exists: a folder, or the zip that the rest is in."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _is_packed(name: str) -> bool:
    folder, _slash, base = name.rpartition("/")
    return base.endswith(".py") and (folder in _PACKAGES or (not folder and base != "__init__.py"))


def _follow_imports(folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield the sources that :data:`_ROOTS` need: what Ansible finds too when it packs the module."""
    waiting = [*_ROOTS, *(f"{package}/__init__.py" for package in _PACKAGES)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            with open(f"{folder}/{name}", "rb") as stream:
                content = stream.read()
            yield name, content
            waiting += [found for found in _imports_of(name, content) if os.path.isfile(f"{folder}/{found}")]


def _imports_of(name: str, content: bytes) -> Iterator[str]:
    """Yield the files that a source's relative imports may mean, at its head and in its functions."""
    import ast  # in a payload Ansible has done this already

    # Expressions are most of a source, and none is an import.
    waiting: list[ast.AST] = [ast.parse(content)]
    while waiting:
        node = waiting.pop()
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())
        if isinstance(node, ast.ImportFrom) and node.level:
            package = posixpath.normpath(posixpath.join(posixpath.dirname(name), "../" * (node.level - 1)))
            module = posixpath.normpath(posixpath.join(package, (node.module or "").replace(".", "/")))
            yield f"{module}.py"
            yield from (posixpath.normpath(f"{module}/{alias.name}.py") for alias in node.names)


def pack(sources: Mapping[str, bytes], *, directory: str = "", secret_store: str = "") -> bytes:
    """Return the whole file.

    :param sources: what :func:`read_sources` returns.
    :param directory: the site's folder that the command looks at unless it is told otherwise; empty for the usual one.
    :param secret_store: the same for the secret store.
    """
    given = {"directory": directory, "secret_store": secret_store}
    places = ", ".join(f"{name}={path!a}" for name, path in given.items() if path)
    return make_program(sources, _MAIN.format(package=PACKAGE, places=places))


def make_program(sources: Mapping[str, bytes], main: str) -> bytes:
    """Return a file that a host's own Python runs.

    :param main: the source that starts it; it imports from :data:`PACKAGE`.
    """
    contents = {
        "__main__.py": main.encode(),
        f"{PACKAGE}/__init__.py": b"",
        **{f"{PACKAGE}/{name}": content for name, content in sources.items()},
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, content)
    return SHEBANG + archive.getvalue()


def is_ours(content: bytes) -> bool:
    """Whether a file is the command, of whichever version."""
    return content.startswith(b"#!") and _MARK in content
