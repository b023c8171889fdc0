# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Releases: what was applied, kept on the host so that any of them can be applied again without asking anybody.

    releases/PROJECT/state.json         which release is current, which apply is under way
    releases/PROJECT/0007/release.json  result, times, who, services with image ids, secret versions
    releases/PROJECT/0007/target.json   the whole project: model, files, routes; secrets as references
    releases/PROJECT/0007/*.dump        databases as they were before this release's migrations

No value of a secret is in any of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from .._errors import PlatformError
from .._files import ensure_directory, sweep_temporary
from .._version import STATE_FORMAT
from .desired import Target, target_from_record, target_to_record
from .guests import Endpoints
from .plan import NOTHING_RECORDED, Recorded
from .site import Site, damaged, read_json, write_json

Result = Literal["applying", "ok", "failed", "interrupted"]
Asked = Literal["present", "stopped", "absent"]
#: A database as it was: what :func:`migration_from_record` reads, and ``users``.
Dump = Mapping[str, str]


@dataclass(frozen=True)
class Release:
    """One release without its target. Times are Unix seconds."""

    number: int
    result: Result
    started_at: float
    finished_at: float | None = None
    by: str = ""
    #: Keyed hash of everything that went in; equal inputs need no look at Compose.
    inputs: str = ""
    compose_version: str = ""
    #: Which installed Compose made the model.
    compose_stamp: str = ""
    services: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_hashes: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, int] = field(default_factory=dict)
    cause: str = ""
    #: The release that this one brought back.
    rolled_back_to: int | None = None
    #: How updates without a gap went, a sentence each.
    notes: Sequence[str] = ()
    #: Databases as they were before this release's migrations.
    dumps: Sequence[Dump] = ()
    #: Service to cause, for those that the gateway has not woken yet.
    unproven: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """``state.json``: what the next run must know, however the last one ended."""

    current: int | None = None
    in_progress: int | None = None
    #: Containers that an update keeps new connections from.
    blocked: tuple[str, ...] = ()
    #: Databases that must get their dumps back before anything uses them.
    restore: tuple[Dump, ...] = ()
    #: Key of a network that is made anew to those who are not the project's and must come back into it, by name.
    guests: Mapping[str, Endpoints] = field(default_factory=dict)
    #: What the project was last asked to be; status does not call failed what somebody stopped.
    asked: Asked = "present"


class ReleaseStore:
    """The releases of one project. Whoever writes holds the project's lock."""

    def __init__(self, site: Site, project: str) -> None:
        self.folder = site.releases_folder(project)
        self.project = project

    def progress(self) -> Progress:
        """Return where the project stands; nothing at all on a bare host."""
        path = f"{self.folder}/state.json"
        found = read_json(path)
        if found is None:
            return Progress()
        with _reading(path):
            return Progress(
                current=found["current"],
                in_progress=found["in_progress"],
                blocked=tuple(found["blocked"]),
                restore=tuple(found["restore"]),
                guests=dict(found.get("guests", {})),
                asked=found.get("asked", "present"),
            )

    def save_progress(self, progress: Progress) -> None:
        write_json(f"{self.folder}/state.json", {"format": STATE_FORMAT, **asdict(progress)})

    def path(self, number: int) -> str:
        return f"{self.folder}/{number:04d}"

    def numbers(self) -> list[int]:
        """Return the numbers of all kept releases, oldest first."""
        if not os.path.isdir(self.folder):
            return []
        return sorted(int(name) for name in self._folders() if os.path.exists(f"{self.folder}/{name}/release.json"))

    def _folders(self) -> list[str]:
        return [name for name in os.listdir(self.folder) if re.fullmatch("[0-9]{4,}", name)]

    def load(self, number: int) -> Release:
        """Return a kept release.

        :raises PlatformError: it is gone, damaged, or of a newer format.
        """
        path = f"{self.path(number)}/release.json"
        found = read_json(path)
        if found is None:
            kept = ", ".join(map(str, self.numbers())) or "none"
            raise PlatformError(
                f"Cannot find release {number} of project {self.project!r}: kept are {kept}; choose one of these."
            )
        with _reading(path):
            release = Release(**{key: value for key, value in found.items() if key != "format"})
            return replace(release, notes=tuple(release.notes), dumps=tuple(release.dumps))

    def load_target(self, number: int) -> Target:
        """Return the whole project of a kept release."""
        path = f"{self.path(number)}/target.json"
        found = read_json(path)
        if found is None:
            raise PlatformError(
                f"Cannot read release {number} of project {self.project!r}: its target.json is gone; "
                "choose another release."
            )
        with _reading(path):
            return target_from_record(found["target"])

    def begin(self, target: Target, **facts: Any) -> Release:
        """Write down that an apply of ``target`` begins; what killed ones left half done is put in order."""
        self.mark_interrupted()
        self.sweep()
        number = max([*self.numbers(), self.progress().current or 0], default=0) + 1
        ensure_directory(self.path(number), mode=0o700)
        write_json(f"{self.path(number)}/target.json", {"format": STATE_FORMAT, "target": target_to_record(target)})
        release = Release(
            number=number, result="applying", started_at=time.time(), by=who(), secrets=target.secrets, **facts
        )
        self._write(release)
        self.save_progress(replace(self.progress(), in_progress=number))
        return release

    def finish(self, release: Release, result: Result, **facts: Any) -> Release:
        """Write down how an apply ended; a good one becomes current."""
        done = replace(release, result=result, finished_at=time.time(), **facts)
        self._write(done)
        if result == "ok":
            self.save_progress(Progress(current=release.number))
        return done

    def settle(self) -> None:
        """Write down that a failed apply is over and the current release serves."""
        self.save_progress(replace(self.progress(), in_progress=None, blocked=(), restore=(), asked="present"))

    def note_containers(self, number: int, config_hashes: Mapping[str, str], unproven: Mapping[str, str]) -> None:
        """Write down which containers serve a release that was brought back, and which of them nobody has proven."""
        self._write(replace(self.load(number), config_hashes=config_hashes, unproven=unproven))

    def note_unproven(self, number: int, unproven: Mapping[str, str]) -> None:
        """Write down which services of a release nobody has proven yet."""
        self._write(replace(self.load(number), unproven=unproven))

    def mark_interrupted(self) -> None:
        """Write down of every apply that seems to be under way that it ended without a word: the lock is ours."""
        for number in self.numbers():
            release = self.load(number)
            if release.result == "applying":
                self._write(replace(release, result="interrupted", finished_at=time.time()))

    def recorded(self, number: int | None) -> tuple[Recorded, Target | None]:
        """Return what a release says for the planner, and its target."""
        if number is None:
            return NOTHING_RECORDED, None
        release, target = self.load(number), self.load_target(number)
        return Recorded(target.services, image_ids_of(release), release.config_hashes, release.unproven), target

    def save_asked(self, asked: Asked) -> None:
        """Write down what the project is asked to be, where anything of it was ever applied."""
        progress = self.progress()
        if progress.current is not None and progress.asked != asked:
            self.save_progress(replace(progress, asked=asked))

    def prunable(self, keep: int) -> list[int]:
        """Return the oldest releases beyond ``keep`` good ones and as many failed ones.

        Never the current one, nor one whose dumps a database still waits for.
        """
        progress = self.progress()
        waiting = {int(os.path.basename(os.path.dirname(dump["path"]))) for dump in progress.restore}
        spared = {progress.current, progress.in_progress} | waiting
        by_result: dict[bool, list[int]] = {True: [], False: []}
        for number in self.numbers():
            by_result[self.load(number).result == "ok"].append(number)
        old = [number for numbers in by_result.values() for number in numbers[: -max(keep, 1)]]
        return sorted(set(old) - spared)

    def dumps_since(self, number: int) -> list[Dump]:
        """Return the dumps that hold each database as it was when release ``number`` served last.

        That is the first one that a good release took after the last one that was, or brought back, ``number``:
        whatever came later, migration or way back, dumped again before it changed anything.
        """
        good = {kept: release for kept in self.numbers() if (release := self.load(kept)).result == "ok"}
        origin = origin_of(good, number)
        served_last = max((kept for kept in good if origin_of(good, kept) == origin), default=number)
        found: dict[tuple[str, str, str], Dump] = {}
        for later in sorted(kept for kept in good if kept > served_last):
            for dump in good[later].dumps:
                found.setdefault((dump["project"], dump["service"], dump["database"]), dump)
        return list(found.values())

    def prune(self, keep: int) -> list[int]:
        """Remove the oldest releases beyond ``keep``, never the current one; return their numbers."""
        old = self.prunable(keep)
        for number in old:
            # First the record: a folder without one is no release, so a killed prune leaves no half of one.
            os.unlink(f"{self.path(number)}/release.json")
            shutil.rmtree(self.path(number))
        return old

    def sweep(self) -> None:
        """Remove folders that a killed ``begin`` or ``prune`` left, and temporary files of any killed apply."""
        if not os.path.isdir(self.folder):
            return
        kept = set(self.numbers())
        for name in self._folders():
            if int(name) not in kept:
                shutil.rmtree(f"{self.folder}/{name}")
            else:
                sweep_temporary(f"{self.folder}/{name}")

    def _write(self, release: Release) -> None:
        write_json(f"{self.path(release.number)}/release.json", {"format": STATE_FORMAT, **asdict(release)})


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turn what goes wrong with the content of a state file into words."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise damaged(path) from None


def users_of(record: Dump) -> list[str]:
    """Return the services that a dump's record names: the migration, and what waits for it."""
    return record["users"].split(",")


def origin_of(releases: Mapping[int, Release], number: int | None) -> int | None:
    """Follow ways back to the release that was applied for its own sake."""
    while number is not None and number in releases and releases[number].rolled_back_to is not None:
        number = releases[number].rolled_back_to
    return number


def kept_images_of(directory: str, project: str) -> str:
    """Return what the tags of all kept images of one project begin with.

    Two sites of one host may have a project of the same name.
    """
    return f"modelyard.kept/{_tag_part(project, directory, project)}/"


def kept_image(directory: str, project: str, service: str, number: int) -> str:
    """Return the tag that keeps a release's image from every prune, no registry needed.

    :param directory: the site's.
    """
    return f"{kept_images_of(directory, project)}{_tag_part(service, service)}:r{number}"


def _tag_part(name: str, *identity: str) -> str:
    """Return a name that a tag may have, to be read by people; what ``identity`` tells apart stays apart.

    Compose has names that no tag may have, such as ``web_`` and ``Web``.
    """
    readable = re.sub("[^a-z0-9]+", "-", name.lower())[:40].strip("-")
    digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:8]
    return f"{readable}-{digest}".lstrip("-")


def image_ids_of(release: Release) -> dict[str, str]:
    """Return service to image id."""
    return {name: service["image_id"] for name, service in release.services.items() if service.get("image_id")}


def secret_versions(releases: Iterable[Release]) -> set[tuple[str, int]]:
    """Return every secret version that the releases refer to."""
    return {(name, version) for release in releases for name, version in release.secrets.items()}


def who() -> str:
    """Return who runs this: the user behind sudo, where there is one."""
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.geteuid()}"
