# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that a project needs on disk: compared, written, removed when nobody declares them any more."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .._errors import PlatformError
from .._files import FileState, ensure_directory, read_state, sweep_temporaries_of, sync_directory, write_atomically
from .._secrets.references import resolve
from .contents import Lookup, RenderedFile, render_files
from .desired import DesiredService, Target
from .dotenv import render_dotenv
from .project import ProjectFile
from .yaml_text import render_model


@dataclass(frozen=True)
class FileChanges:
    """Files to write, and paths to remove."""

    write: tuple[RenderedFile, ...] = ()
    remove: tuple[str, ...] = ()
    #: Files of which a killed run may have left a temporary one, changes there or not.
    known: tuple[str, ...] = ()
    #: The folders that the files are below; whoever made these may have used links.
    roots: tuple[str, ...] = ()

    def describe(self) -> list[str]:
        return [f"write {file.path}" for file in self.write] + [f"remove {path}" for path in self.remove]


def render_target_files(target: Target, lookup: Lookup) -> list[RenderedFile]:
    """Return every file of the project: those declared, and for a project of roles what people look at.

    ``compose.yaml`` is the resolved project, for a person with ``docker compose ps`` in that folder; it holds
    references, no values. ``.env`` holds values, so it is root's.
    """
    files = render_files(target.files, target.model.get("services") or {}, target.model, lookup)
    if target.writes_env:
        text = render_model(target.model, indent=2) + "\n"
        files.append(_generated(f"{target.folder}/compose.yaml", text, 0o600))
        if target.env:
            env = {name: resolve(value, lookup) for name, value in target.env.items()}
            files.append(_generated(f"{target.folder}/.env", render_dotenv(env), 0o600))
    return files


def _generated(path: str, text: str, mode: int) -> RenderedFile:
    state = FileState(text.encode("utf-8", "surrogateescape"), mode, os.geteuid(), os.getegid())
    return RenderedFile(path, state, ProjectFile(path=path, content="", mode=mode, on_change="watch"))


def compare_files(rendered: Iterable[RenderedFile], previous: Iterable[str], *, roots: Iterable[str]) -> FileChanges:
    """Return what differs on disk.

    :param previous: paths that the last release or an interrupted one wrote.
    :param roots: the folders of the site and of the project.
    :raises PlatformError: a folder has the name of a file, or a link that of a folder.
    """
    rendered, previous, roots = list(rendered), set(previous), tuple(roots)
    for path in sorted({*previous, *(file.path for file in rendered)}):
        refuse_linked_folder(path, roots)
    write = tuple(file for file in rendered if _read(file.path) != file.state)
    wanted = {file.path for file in rendered}
    remove = tuple(sorted(path for path in previous - wanted if os.path.lexists(path)))
    return FileChanges(write, remove, tuple(sorted({*wanted, *previous})), roots)


def refuse_linked_folder(path: str, roots: Iterable[str]) -> None:
    """Refuse to write or remove what somebody else has led to another place.

    A container with one of the folders mounted for writing may swap a folder below for a link to ``/etc``, and we
    are root. This is the first defence: it does not see a link that takes the folder's place after the look.

    :param roots: where the search for links starts; of several the nearest. Below none of them the whole path counts.
    :raises PlatformError: names the link.
    """
    folder = max((root for root in roots if path.startswith(f"{root}/")), key=len, default="")
    for part in os.path.dirname(path).removeprefix(folder).split("/"):
        folder = f"{folder}/{part}" if part else folder
        if part and os.path.islink(folder):
            raise PlatformError(
                f"Cannot write file {path!r}: its folder {folder} is a link; look who put it there and remove it, or "
                "declare the file where the link leads."
            )


def _read(path: str) -> FileState | None:
    try:
        return read_state(path)
    except (IsADirectoryError, OSError) as error:
        raise PlatformError(
            f"Cannot write file {path!r}: what is there is no plain file ({error.strerror}); move it away."
        ) from None


def file_paths(target: Target | None) -> set[str]:
    """Return the paths that a release wrote, its generated files too."""
    if target is None:
        return set()
    generated = {f"{target.folder}/compose.yaml", f"{target.folder}/.env"} if target.writes_env else set()
    edge = {target.edge.file} if target.edge else set()
    return {file.path for file in target.files} | generated | edge


def refuse_foreign_files(changes: FileChanges, target: Target, known: Iterable[str]) -> None:
    """In a folder that somebody else keeps, never overwrite a file that we did not write.

    :raises PlatformError: names it.
    """
    known = set(known)
    for file in changes.write:
        if not target.writes_env and file.path not in known and os.path.lexists(file.path):
            raise PlatformError(
                f"Cannot write file {file.path!r}: a file that is not ours is there; move it away, or remove it "
                "from 'files' to keep it."
            )


def drifted_files(changes: FileChanges, services: Mapping[str, DesiredService]) -> dict[str, tuple[str, ...]]:
    """Return service to the mounted files that are not on disk as they should be.

    A container that is up to date and mounts one has seen, or will see, content that nobody declared.
    """
    changed = {file.path for file in changes.write}
    drifted = {
        name: tuple(sorted(changed & ({*service.contents} | {*service.reload_contents})))
        for name, service in services.items()
    }
    return {name: paths for name, paths in drifted.items() if paths}


def write_files(changes: FileChanges) -> None:
    """Bring the disk to what was compared; each file is whole at any moment.

    :raises PlatformError: a folder is a link by now.
    """
    for path in changes.known:
        refuse_linked_folder(path, changes.roots)
    for folder in sorted({os.path.dirname(file.path) for file in changes.write}):
        ensure_directory(folder, mode=0o755)
    sweep_temporaries_of(changes.known)
    for file in changes.write:
        write_atomically(file.path, file.state)
    for path in changes.remove:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            sync_directory(os.path.dirname(path))
