# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at all that a site's removal touches: the engine, the folder, the secret store. Nothing is changed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .._compose.desired import DIRECTORY_LABEL, PROJECT_LABEL, SHARED_LABEL
from .._compose.engine import Engine
from .._compose.site import Site, read_json
from .._errors import PlatformError
from .._files import temporary_of
from .._image.garbage import Needs, read_release_needs
from .._image.images import Image, list_images
from .._image.record import read_current
from .._secrets.masking import secret_values
from .._secrets.store import SecretStore
from .removal import SeenContainer, SeenSecrets, SeenSite, SeenThing, other_sites

_RUNNING = ("running", "restarting", "paused", "removing")
#: What a project's file that holds a secret stays below.
_MOST_BYTES = 1 << 20
#: A shorter value may stand in a file by chance.
_SHORTEST_SECRET = 12


def check_folder(directory: str) -> bool:
    """Whether the site's folder is there.

    :raises PlatformError: what is there is no site of ours; nothing of it may be touched.
    """
    what = f"Cannot remove the site {directory}"
    if not directory.startswith("/") or directory == "/":
        raise PlatformError(f"{what}: that is no absolute path of a folder; give the site's folder.")
    try:
        found = os.lstat(directory)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        raise PlatformError(f"{what}: it is a link or a file, and links are not followed; give the folder itself.")
    stamp = read_json(f"{directory}/site.json")
    if stamp is None or not isinstance(stamp.get("version"), str):
        raise PlatformError(
            f"{what}: the folder has no site.json of modelyard.platform, so it is not known to be a site; give a "
            "site's folder, or remove this one by hand."
        )
    Site(directory).check_version(program="site_removal", exactly=False)
    return True


def known_projects(directory: str) -> frozenset[str]:
    """Return the projects that the site's folder tells of."""
    found: set[str] = set()
    for name in ("releases", "projects"):
        folder = f"{directory}/{name}"
        if os.path.isdir(folder) and not os.path.islink(folder):
            found |= {entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)}
    return frozenset(found)


def refuse_other_projects(directory: str, prefix: str) -> None:
    """Return when every project of the site's folder is of this prefix.

    :raises PlatformError: two sites share the folder, and whoever named one of them did not mean the other.
    """
    others = sorted(name for name in known_projects(directory) if not name.startswith(f"{prefix}-"))
    if others:
        raise PlatformError(
            f"Cannot remove the site {prefix!r}: {directory} also holds {', '.join(others)}; remove what else is there "
            "by its own name first."
        )


def observe_site(engine: Engine, directory: str, secret_store: str) -> SeenSite:
    """Look at everything.

    :raises PlatformError: the folder is no site's, or there is no engine.
    """
    is_there = check_folder(directory)
    containers = engine.get("/containers/json", {"all": "1"})
    networks = engine.get("/networks")
    volumes = engine.get("/volumes")["Volumes"] or []
    images = list_images(engine)
    labels = [entry.get("Labels") or {} for entry in (*containers, *networks, *volumes)]
    others = other_sites(directory, [*labels, *(image.labels for image in images)], DIRECTORY_LABEL)
    needs, doubt = _needs_of(others)
    return SeenSite(
        directory=directory,
        is_there=is_there,
        projects=known_projects(directory) if is_there else frozenset(),
        containers=[_container(entry) for entry in containers],
        networks=[_thing(entry, entry["Id"]) for entry in networks],
        volumes=[_thing(entry, entry["Name"]) for entry in volumes],
        images=_sorted(images),
        secrets=observe_secrets(secret_store, others),
        needs=needs,
        doubt=doubt,
        mounts=_mounts_below(directory),
    )


def _sorted(images: Sequence[Image]) -> list[Image]:
    return sorted(images, key=lambda image: (image.references, image.id))


def _container(entry: Mapping[str, Any]) -> SeenContainer:
    labels = entry.get("Labels") or {}
    return SeenContainer(
        id=entry["Id"],
        name=(entry.get("Names") or [entry["Id"]])[0].lstrip("/"),
        image_id=entry["ImageID"],
        is_running=entry["State"] in _RUNNING,
        directory=labels.get(DIRECTORY_LABEL, ""),
        project=labels.get(PROJECT_LABEL, ""),
        volumes=frozenset(mount["Name"] for mount in entry.get("Mounts") or () if mount.get("Name")),
        networks=frozenset((entry.get("NetworkSettings") or {}).get("Networks") or ()),
    )


def _thing(entry: Mapping[str, Any], identity: str) -> SeenThing:
    labels = entry.get("Labels") or {}
    return SeenThing(
        name=entry["Name"],
        id=identity,
        directory=labels.get(DIRECTORY_LABEL, ""),
        project=labels.get(PROJECT_LABEL, ""),
        shared=labels.get(SHARED_LABEL, ""),
    )


def _needs_of(others: Sequence[str]) -> tuple[Needs | None, str]:
    """Return what the other sites need of images; or None and why that cannot be said."""
    releases: dict[str, str] = {}
    current: set[str] = set()
    try:
        for other in others:
            releases |= {image: f"{words} of {other}" for image, words in read_release_needs(other).items()}
            current |= read_current(other)
    except (PlatformError, OSError) as error:
        return None, f"what another site needs cannot be read, so packaged images stay: {error}"
    return Needs(releases, {}, frozenset(current)), ""


def observe_secrets(path: str, others: Sequence[str]) -> SeenSecrets:
    """Look at the store's own files, and whether another site uses it too."""
    folder, name = os.path.split(path)
    ours = re.compile(rf"{re.escape(name)}(\.lock|\.format-\d+)?|{re.escape(os.path.basename(temporary_of(path)))}")
    try:
        there = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return SeenSecrets(path)
    files = tuple(f"{folder}/{entry}" for entry in there if ours.fullmatch(entry))
    if not files:
        return SeenSecrets(path)
    try:
        store = SecretStore.load(path)
    except PlatformError as error:
        return SeenSecrets(path, files, needed_by=f"cannot be read: {error}")
    values = {value.encode() for value in secret_values(store) if len(value) >= _SHORTEST_SECRET}
    user = next((other for other in others if _holds_one(other, values)), None)
    is_whole_folder = len(files) == len(there) and folder.count("/") > 1 and not os.path.islink(folder)
    return SeenSecrets(
        path, files, folder if is_whole_folder else "", f"is also used by the site {user}" if user else ""
    )


def _holds_one(directory: str, values: set[bytes]) -> bool:
    """Whether a file of the site's projects holds one of the values: they are random, so it came from this store."""
    return any(value in content for content in _contents_below(f"{directory}/projects") for value in values)


def _contents_below(folder: str) -> Iterator[bytes]:
    for parent, _folders, names in os.walk(folder):
        for path in (f"{parent}/{name}" for name in names):
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) and found.st_size <= _MOST_BYTES:
                with open(path, "rb") as stream:
                    yield stream.read()


def _mounts_below(directory: str) -> list[str]:
    """Return where file systems are mounted, on the folder or below it.

    Source: ``/proc/self/mountinfo`` (proc(5)): the fifth field, with spaces and the like as octal numbers.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in table]
    return sorted({point for point in points if point == directory or point.startswith(f"{directory}/")})
