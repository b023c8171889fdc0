# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What two sites must have in common after the same applies, however often one of them was disturbed.

Names and folders of the site, numbers of releases, containers and generations (see ``support.hostile``), and what an
engine makes up (ids, addresses) are taken out; everything else of containers, networks, volumes and files counts.
:func:`litter` lists what a killed apply may leave and no finished one may.
"""

from __future__ import annotations

import difflib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker

from support.events import Inspect, take_snapshot
from support.site import DIRECTORY_LABEL, PROJECT_LABEL, Site

#: Ids of containers, networks and anonymous volumes; an image's id has sha256: before it.
_HEX = re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b")
_NUMBERED = r"({name}-[a-z-]+)-\d+"
#: Labels that hold a hash over names and folders of the site, or a number; and the dependencies, of which Compose
#: writes down only those that the same ``up`` started.
_OWN_LABELS = re.compile(
    r"config-hash$|container-number$|replace$|compose\.(image|depends_on)$|^modelyard\.(identity|definition)"
)


def take_fingerprint(engine: docker.DockerClient, site: Site, project: str) -> dict[str, Any]:
    """Return the project as a value; two of them are compared with ``==``."""
    snapshot = take_snapshot(engine, project)
    layers = {image: engine.images.get(image).attrs["RootFS"]["Layers"] for image in snapshot.images}
    containers = sorted(
        json.dumps({**_container(inspect), "image": layers[inspect["Image"]]}, sort_keys=True)
        for inspect in snapshot.containers.values()
    )
    return {
        "containers": [json.loads(_plain(text, site, project)) for text in containers],
        "networks": _things(site, project, (network.attrs for network in engine.networks.list())),
        "volumes": _things(site, project, (volume.attrs for volume in engine.volumes.list())),
        "files": dict(_files(site, project)),
        "state": _state(site, project),
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the lines in which two fingerprints differ; empty when they are equal."""
    old, new = (json.dumps(found, indent=1, sort_keys=True).splitlines() for found in (one, other))
    return [line.rstrip() for line in difflib.unified_diff(old, new, n=2)]


def _container(inspect: Inspect) -> dict[str, Any]:
    config, host, state = inspect["Config"], inspect["HostConfig"], inspect["State"]
    return {
        "name": inspect["Name"],
        "state": state["Status"], "exit code": state["ExitCode"],
        "health": (state.get("Health") or {}).get("Status"),
        "config": {key: config.get(key) for key in ("Cmd", "Entrypoint", "Env", "User", "Healthcheck", "StopSignal")},
        "labels": {key: value for key, value in config["Labels"].items() if not _OWN_LABELS.search(key)},
        "host": {key: host.get(key) for key in ("RestartPolicy", "Init", "LogConfig", "PortBindings", "Memory")},
        # Not their mode: Compose writes another one when it hands the anonymous volume of an old container on.
        "mounts": sorted([m["Type"], m["Source"], m["Destination"], m["RW"]] for m in inspect["Mounts"]),
        "networks": {
            name: sorted(set(network["Aliases"] or []) - {inspect["Id"][:12]})
            for name, network in inspect["NetworkSettings"]["Networks"].items()
        },
    }  # fmt: skip


def _things(site: Site, project: str, found: Iterator[dict[str, Any]]) -> list[Any]:
    things = [
        {"name": thing["Name"], "labels": thing.get("Labels"), "driver": thing["Driver"], "options": thing["Options"]}
        for thing in found
        if thing["Name"].startswith(site.prefix)
    ]
    for thing in things:
        thing["labels"] = {k: v for k, v in (thing["labels"] or {}).items() if not _OWN_LABELS.search(k)}
    return [
        json.loads(text)
        for text in sorted(_plain(json.dumps(thing, sort_keys=True), site, project) for thing in things)
    ]


def _files(site: Site, project: str) -> Iterator[tuple[str, tuple[int, int, int, str]]]:
    """Yield every file of the site that is no record of releases."""
    for path in _walk(site.directory):
        relative = str(path.relative_to(site.directory))
        if relative.startswith(("releases/", "state/")):
            continue
        status = path.lstat()
        content = _plain(path.read_text(encoding="utf-8", errors="surrogateescape"), site, project)
        digest = hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()
        yield _plain(relative, site, project), (status.st_mode, status.st_uid, status.st_gid, digest)


def _state(site: Site, project: str) -> dict[str, Any]:
    folder = site.directory / "releases" / project
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    current = state.pop("current")
    release = json.loads((folder / f"{current:04}" / "release.json").read_text(encoding="utf-8"))
    return {**state, "result": release["result"], "services": sorted(release["services"])}


def _plain(text: str, site: Site, project: str) -> str:
    """Return ``text`` without what differs between two sites."""
    text = re.sub(_NUMBERED.format(name=re.escape(project)), r"\1-N", text)
    text = re.sub(r'("?modelyard\.identity"?: )"[^"]*"', r"\1IDENTITY", text)
    text = re.sub(r'("?modelyard\.definition"?: )"[^"]*"', r"\1DEFINITION", text)
    text = text.replace(str(site.directory), "SITE").replace(site.prefix, "PREFIX")
    text = re.sub(r"generation \d{4}", "generation N", text)
    return re.sub(r"(172|192)(\.\d+){3}", "ADDRESS", _HEX.sub("ID", text))


def _walk(folder: Path) -> Iterator[Path]:
    for root, _folders, names in os.walk(folder):
        yield from (Path(root) / name for name in names)


def litter(engine: docker.DockerClient, site: Site, project: str) -> list[str]:
    """Return, in words, all that an apply may not leave behind; empty after a good one."""
    return [
        *_stray_files(site, project), *_stray_containers(engine, site, project), *_stray_tags(engine, site, project),
        *_held_locks(site),
    ]  # fmt: skip


def _stray_files(site: Site, project: str) -> Iterator[str]:
    for path in _walk(site.directory):
        if path.name.endswith("-tmp"):
            yield f"temporary file {path}"
    for folder in (site.directory / "releases" / project).iterdir():
        if not folder.is_dir():
            continue
        names = {path.name for path in folder.iterdir()}
        if not {"release.json", "target.json"} <= names:
            yield f"half a release {folder.name}: {sorted(names)}"
        elif json.loads((folder / "release.json").read_text(encoding="utf-8"))["result"] == "applying":
            yield f"release {folder.name} is still being applied"


def _stray_containers(engine: docker.DockerClient, site: Site, project: str) -> Iterator[str]:
    seen: set[str] = set()
    for one in engine.api.containers(all=True, filters={"label": f"{PROJECT_LABEL}={project}"}):
        name, service = one["Names"][0].lstrip("/"), one["Labels"]["com.docker.compose.service"]
        if not re.fullmatch(rf"{re.escape(project)}-{service}-\d+", name) or service in seen:
            yield f"container {name} ({one['State']})"
        if one["Labels"].get(DIRECTORY_LABEL) != str(site.directory):
            yield f"container {name} without our label"
        seen.add(service)


def _stray_tags(engine: docker.DockerClient, site: Site, project: str) -> Iterator[str]:
    kept = set()
    for path in (site.directory / "releases" / project).glob("*/release.json"):
        services = json.loads(path.read_text(encoding="utf-8"))["services"]
        kept |= {service["kept_as"] for service in services.values()}
    for image in engine.api.images():
        for tag in image["RepoTags"] or []:
            if f"/{project}/" in tag and tag not in kept:
                yield f"image tag {tag}"


def _held_locks(site: Site) -> Iterator[str]:
    for path in (site.directory / "locks").iterdir():
        with path.open("r+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield f"lock {path}"
