# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of ``compose_release``, from options to result: list releases, go back to one, prune the oldest.

Going back is an apply like any other, with the same plan, gate and record; only its target is not declared but kept.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .._errors import PlatformError
from .._run import Run, run_program
from .answer import describe, verdicts_now
from .apply import apply, fetch_images
from .engine import Engine, socket_path_of
from .gate import Gate, refuse_failed
from .job import Settings
from .opening import open_host, project_lock
from .preflight import refuse_obstacles
from .prepare import Host, Prepared, prepare_release
from .project import check_name
from .record import prune_releases
from .release import Release, ReleaseStore, origin_of
from .secret_source import SecretSource
from .site import Site
from .status import is_known, release_to_record, unknown_project

# Going back is no time to give anything up: the next apply prunes by its own rule.
_KEEP_ALL = sys.maxsize

State = Literal["listed", "rolled_back", "pruned"]


@dataclass(frozen=True)
class Wish:
    """The options of ``compose_release``. ``release`` None means the last good one before the one that serves."""

    name: str
    directory: str
    secret_store: str
    state: State
    release: int | None = None
    keep: int = 5
    wait_seconds: float = 300
    lock_seconds: float = 600
    on_failure: Literal["rollback", "keep"] = "rollback"
    restore_databases: bool = True


def parse_wish(params: Mapping[str, Any]) -> Wish:
    """Return the module's options as a value.

    :raises PlatformError: one cannot be meant.
    """
    if params["keep"] < 1:
        raise PlatformError(
            f"Cannot prune releases of project {params['name']!r} to {params['keep']}: the one that serves is always "
            "kept; give 1 or more."
        )
    directory = params["directory"].rstrip("/")
    return Wish(**{**params, "name": check_name(params["name"]), "directory": directory})


class ReleaseRun:
    """A run; ``progress`` is what a failure may add to its message: the plan, once there is one."""

    def __init__(
        self, wish: Wish, *, program: str, check_mode: bool, exactly: bool = False, run: Run = run_program
    ) -> None:
        self._wish = wish
        self._check_mode = check_mode
        self._run = run
        self._program = program
        self._exactly = exactly
        self._source = SecretSource(wish.secret_store)
        self._site = Site(wish.directory)
        self._store = ReleaseStore(self._site, wish.name)
        self.progress: dict[str, Any] = {}

    def carry_out(self) -> dict[str, Any]:
        """Do what is wished; return the module's result.

        :raises PlatformError: it cannot be done; without any value of the secret store.
        """
        with self._source.masked_errors():
            return self._source.mask_texts(self._carry_out())

    def _carry_out(self) -> dict[str, Any]:
        self._site.check_version(program=self._program, exactly=self._exactly)
        if not is_known(self._site, self._wish.name):
            raise unknown_project(Engine(socket_path_of(os.environ)), self._site, self._wish.name)
        if self._wish.state == "listed":
            return self._list()
        purpose = "prune releases" if self._wish.state == "pruned" else "go back to a release"
        with project_lock(
            self._site,
            self._wish.name,
            purpose=f"{purpose} of project {self._wish.name!r}",
            wait_seconds=self._wish.lock_seconds,
            makes_nothing=self._check_mode,
        ) as lock:
            return self._prune() if self._wish.state == "pruned" else self._roll_back(lock)

    def _list(self) -> dict[str, Any]:
        return {"changed": False, "releases": self._records(), "release": self._store.progress().current}

    def _records(self, without: Iterable[int] = ()) -> list[dict[str, Any]]:
        current = self._store.progress().current
        numbers = [number for number in self._store.numbers() if number not in set(without)]
        return [release_to_record(self._store.load(number), current=current) for number in numbers]

    def _prune(self) -> dict[str, Any]:
        pruned = self._store.prunable(self._wish.keep)
        before = self._store.numbers()
        if not self._check_mode:
            host = self._open(folder=self._site.project_folder(self._wish.name))
            pruned = prune_releases(host, self._store, self._wish.keep)
        return {
            "changed": bool(pruned),
            "pruned": pruned,
            "releases": self._records(without=pruned),
            "release": self._store.progress().current,
            "diff": {"before": _lines(before), "after": _lines(set(before) - set(pruned))},
        }

    def _roll_back(self, lock: int) -> dict[str, Any]:
        releases = [self._store.load(number) for number in self._store.numbers()]
        current = self._store.progress().current
        number = choose_release(releases, current, self._wish.release, project=self._wish.name)
        release = self._store.load(number)
        host = self._open(folder=self._store.load_target(number).folder)
        refuse_lost_secrets(host.secrets, release, project=self._wish.name)
        prepared = prepare_release(host, self._store, number, restore=self._wish.restore_databases)
        refuse_lost_images(host.engine, prepared, release)
        result = {**describe(prepared), "rolled_back_to": number}
        self.progress.update(plan=result["plan"], rolled_back_to=number)
        if self._check_mode:
            return {**result, "release": current, "releases": self._records()}
        if not prepared.changes:
            return {**result, "release": current, "releases": self._records(), "services": self._gate(host, prepared)}
        refuse_obstacles(host, prepared)
        fetch_images(host, prepared, self._settings(lock))
        self._site.prepare(self._wish.name, self._site.read_key() or secrets.token_hex(32).encode())
        made = apply(host, prepared, self._settings(lock))
        services = verdicts_now(host.engine, prepared)
        unproven = dict(made.unproven)
        return {
            **result, "release": made.number, "releases": self._records(), "services": services, "unproven": unproven,
        }  # fmt: skip

    def _open(self, *, folder: str) -> Host:
        return open_host(
            self._site,
            source=self._source,
            project=self._wish.name,
            folder=folder,
            run=self._run,
        )

    def _gate(self, host: Host, prepared: Prepared) -> dict[str, str]:
        with Gate(host.engine, self._wish.name, self._site) as gate:
            found = gate.wait(prepared.target.services, wait_seconds=self._wish.wait_seconds)
        refuse_failed(host.engine, found, prepared.secrets.mask)
        return {name: verdict.kind for name, verdict in found.items()}

    def _settings(self, lock: int) -> Settings:
        return Settings(
            wait_seconds=self._wish.wait_seconds,
            pull="never",
            on_failure=self._wish.on_failure,
            keep_releases=_KEEP_ALL,
            lock=lock,
            run=self._run,
        )


def choose_release(releases: Iterable[Release], current: int | None, wanted: int | None, *, project: str) -> int:
    """Return the number of the release to go back to.

    Without ``wanted`` it is the last good one before what serves now. A release that is itself a way back stands for
    the one that it brought back, so that going back twice goes further back, not to where one came from.

    :raises PlatformError: it is gone, or never served.
    """
    by_number = {release.number: release for release in releases}
    good = [number for number, release in sorted(by_number.items()) if release.result == "ok"]
    kept = ", ".join(map(str, good)) or "none"
    if wanted is None:
        origin = origin_of(by_number, current)
        earlier = [number for number in good if origin is not None and number < origin]
        if not earlier:
            raise PlatformError(
                f"Cannot go back in project {project!r}: no good release before {origin or 'any apply'} is kept; "
                f"good ones are {kept}, name one of these."
            )
        return earlier[-1]
    if wanted not in by_number:
        raise PlatformError(
            f"Cannot go back to release {wanted} of project {project!r}: it is not kept; good ones are {kept}, "
            "choose one of these."
        )
    if wanted not in good:
        raise PlatformError(
            f"Cannot go back to release {wanted} of project {project!r}: its result is {by_number[wanted].result!r}, "
            f"and only what served once comes back; good ones are {kept}, choose one of these."
        )
    return wanted


def refuse_lost_secrets(source: SecretSource, release: Release, *, project: str) -> None:
    """Refuse to go back to a release of which the store has a secret's version no more.

    :raises PlatformError: names the secret and the version.
    """
    for name, version in sorted(release.secrets.items()):
        store = source.store
        if name not in store.secrets or version not in store.secrets[name].versions:
            raise PlatformError(
                f"Cannot go back to release {release.number} of project {project!r}: it needs version {version} of "
                f"secret {name!r}, which the store {store.path} does not keep; choose another release, or import the "
                "secret from a backup."
            )


def refuse_lost_images(engine: Engine, prepared: Prepared, release: Release) -> None:
    """Refuse to go back to a release of which an image was removed by hand.

    :raises PlatformError: names the service and the image.
    """
    from .project_images import has_image

    for name in prepared.plan.services("create", "recreate"):
        kept = release.services.get(name, {})
        if kept.get("image_id") and not has_image(engine, kept["image_id"]):
            raise PlatformError(
                f"Cannot go back to release {release.number} of project {prepared.target.name!r}: the image of service "
                f"{name!r} ({kept['image']}, {kept['image_id'][:19]}) was removed from this host; choose another "
                "release, or load the image."
            )


def _lines(numbers: Iterable[int]) -> str:
    return "".join(f"release {number}\n" for number in sorted(numbers))
