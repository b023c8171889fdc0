# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removing a site: the engine's things first, its folder last, so that an interrupted removal goes on where it was."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace

from .._compose.engine import Engine, EngineError
from .._compose.site import Site
from .._errors import PlatformError
from .._files import telling
from .._image.images import REMOVAL_SECONDS
from .removal import Removal, Thing, plan_site_removal
from .removal_observe import check_folder, known_projects, observe_site

_PATHS = {"container": "/containers/{}?v=1", "network": "/networks/{}", "volume": "/volumes/{}", "image": "/images/{}"}
#: Read by the next run after an interruption: without it nobody knows that the folder is a site's.
_STAMP = "site.json"


def plan(engine: Engine, directory: str, secret_store: str, *, may_run: bool) -> Removal:
    """Return the plan.

    :param may_run: only look, though containers still run; something before this would have removed them.
    :raises PlatformError: something is in the way; names all of it.
    """
    removal = plan_site_removal(observe_site(engine, directory, secret_store))
    in_the_way = [*(() if may_run else removal.running), *removal.obstacles]
    if in_the_way:
        raise PlatformError(
            f"Cannot remove the site {directory}: {'; '.join(in_the_way)}; make the site's projects absent, and let go "
            "of what others use."
        )
    return removal


def remove_site(engine: Engine, directory: str, secret_store: str, *, wait_seconds: float) -> Removal:
    """Plan and carry out while nobody applies a project of the site; return the plan as it went.

    :raises PlatformError: something is in the way, or could not be removed; a second run goes on.
    """
    with _locked(directory, wait_seconds):
        removal = plan(engine, directory, secret_store, may_run=False)
        reasons = {thing: _remove(engine, thing, directory) for thing in removal.things}
    gone = tuple(thing for thing, reason in reasons.items() if not reason)
    return replace(removal, things=gone, left=(*removal.left, *filter(None, reasons.values())))


@contextlib.contextmanager
def _locked(directory: str, wait_seconds: float) -> Iterator[None]:
    """Hold the locks of all projects."""
    with contextlib.ExitStack() as locks:
        if check_folder(directory):
            purpose = f"remove the site {directory}"
            for project in sorted(known_projects(directory)):
                locks.enter_context(Site(directory).hold(project, purpose=purpose, wait_seconds=wait_seconds))
        yield


def _remove(engine: Engine, thing: Thing, directory: str) -> str:
    """Remove one thing; return why it was left, if it was."""
    if thing.kind in _PATHS:
        return _remove_from_engine(engine, thing)
    with telling(f"remove {thing}"):
        if thing.kind == "file":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(thing.id)
        elif thing.id == directory:
            return _remove_site_folder(directory)
        else:
            os.rmdir(thing.id)
    return ""


def _remove_from_engine(engine: Engine, thing: Thing) -> str:
    try:
        engine.request("DELETE", _PATHS[thing.kind].format(thing.id), timeout_seconds=REMOVAL_SECONDS)
    except EngineError as error:
        if error.status == 409 and thing.kind == "image":
            return f"{thing}: a container uses it"
        if error.status != 404:
            raise PlatformError(
                f"Cannot remove {thing}: {error}; let go of it, and run again: what is gone by now stays gone."
            ) from None
    return ""


def _remove_site_folder(directory: str) -> str:
    """Remove the folder with all that is in it; no link is followed. The stamp goes last."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        elif entry.name != _STAMP:
            os.unlink(entry.path)
    try:
        os.unlink(f"{directory}/{_STAMP}")
        os.rmdir(directory)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return f"folder {directory}: a file system is mounted on it; it is empty now"
    return ""
