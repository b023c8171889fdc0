# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quick look: does the host look precisely as it did when the last release was written down?

If so nothing needs planning, and it is known from two small files and at most five requests to the engine, without
Compose. If anything at all differs, or cannot be told, the answer is None and the whole run decides. So this may be
too strict, never too lax. It exists because Ansible sends modules as source: a run without changes costs what is
compiled, so this path imports next to nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .._errors import PlatformError
from .._files import read_state
from .._lock import hold_lock
from .._version import STATE_FORMAT, VERSION
from .engine import Engine, socket_path_of
from .inputs import digest_inputs, digest_mounted, has_hidden_inputs, keyed_hash

#: A container that crashed since it was made has to run this long before it counts as one that runs.
RESTARTED_SETTLE_SECONDS = 10.0

_PROJECT_LABEL = "com.docker.compose.project"
_SERVICE_LABEL = "com.docker.compose.service"
_REMEMBERED_LABELS = ("modelyard.identity", "modelyard.directory", "com.docker.compose.config-hash")

Snapshot = Mapping[str, Any]


def find_unchanged(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any] | None:
    """Return the module's result when there is nothing to do and every service is well; else None."""
    if params["state"] != "present" or params["pull"] == "always" or has_hidden_inputs(params):
        return None
    try:
        return _look(params, check_mode=check_mode)
    except (PlatformError, OSError, AttributeError, KeyError, TypeError, ValueError):
        # Whatever is wrong, also a damaged snapshot, the whole run meets it again and says it in its own words.
        return None


def _look(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any] | None:
    directory, name = params["directory"].rstrip("/"), params["name"]
    lock_path = f"{directory}/locks/{name}.lock"
    if not os.path.exists(lock_path):
        return None
    with hold_lock(lock_path, purpose=f"look at project {name!r}", wait_seconds=0):
        current, snapshot = _read_snapshot(directory, name)
        key = read_state(f"{directory}/state/identity.key")
        if snapshot is None or key is None or not _is_same_input(params, snapshot, key.content):
            return None
        verdicts = check_containers(Engine(socket_path_of(os.environ)), name, snapshot, directory=directory)
    if verdicts is None:
        return None
    result: dict[str, Any] = {
        "changed": False,
        "plan": [],
        "other_changes": [],
        "release": current,
        "secrets_in_env": snapshot["secrets_in_env"],
        "unproven": snapshot.get("unproven", {}),
        "diff": {"before": "", "after": ""},
    }
    return result if check_mode else {**result, "services": verdicts}


def _read_snapshot(directory: str, name: str) -> tuple[int | None, Snapshot | None]:
    """Return the current release's number and snapshot; None when an apply is under way or was interrupted."""
    stamp = _read_json(f"{directory}/site.json")
    progress = _read_json(f"{directory}/releases/{name}/state.json")
    if stamp != {"format": STATE_FORMAT, "version": VERSION} or progress is None:
        return None, None
    current = progress.get("current")
    if current is None or progress.get("in_progress") is not None or progress.get("asked", "present") != "present":
        return None, None
    snapshot = _read_json(snapshot_path(f"{directory}/releases/{name}/{current:04d}"))
    return current, snapshot if snapshot and snapshot.get("format") == STATE_FORMAT else None


def snapshot_path(release_folder: str) -> str:
    """Return where a release keeps its snapshot."""
    return f"{release_folder}/snapshot.json"


def _read_json(path: str) -> dict[str, Any] | None:
    found = read_state(path)
    try:
        value = json.loads(found.content) if found is not None else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_same_input(params: Mapping[str, Any], snapshot: Snapshot, key: bytes) -> bool:
    def versions(texts: Sequence[str]) -> dict[str, int]:
        if not any("@@secret:" in text for text in texts):
            return {}
        from .secret_source import SecretSource

        return SecretSource(params["secret_store"]).versions(texts)

    if digest_inputs(params, key=key, versions=versions) != snapshot["inputs"]:
        return False
    if any(digest_mounted(key, path) != digest for path, digest in snapshot["mounted"].items()):
        return False
    return all(digest_written(key, path) == digest for path, digest in snapshot["files"].items())


def digest_written(key: bytes, path: str) -> list[Any] | None:
    """Return keyed hash, mode and owner of a file of ours; None where there is no plain file."""
    try:
        found = read_state(path)
    except OSError:
        return None
    return None if found is None else [keyed_hash(key, found.content), found.mode, found.uid, found.gid]


def check_containers(engine: Engine, project: str, snapshot: Snapshot, *, directory: str = "") -> dict[str, str] | None:
    """Return service to verdict when the containers are those of the snapshot and all is well; else None.

    At most five requests, and two more where services sleep, all under way at once.

    :param directory: the site's, where the gateway says what sleeps.
    """
    expected, images, settle_seconds = snapshot["containers"], snapshot["images"], snapshot["settle_seconds"]
    ended = {container_id for container_id, container in expected.items() if container["ended"]}
    now = time.time()
    wanted = {"all": _listing(project), "ill": _listing(project, health=["starting", "unhealthy"])}
    if ended:
        wanted["ended"] = _listing(project, exited=["0"])
    if images:
        wanted["images"] = ("/images/json", {"filters": {"reference": sorted(images)}})
    if settle_seconds:
        wanted["deaths"] = _deaths(project, settle_seconds, now)
    sleepers = None
    if snapshot.get("sleepers"):
        from .unchanged_sleepers import Sleepers

        sleepers = Sleepers(snapshot, directory)
        wanted |= {f"asleep {code}": _listing(project, exited=[str(code)]) for code in sleepers.codes()}
        wanted["networks"] = ("/networks", {"filters": {}})
    listed = dict(zip(wanted, engine.request_all(list(wanted.values())), strict=True))
    answers = listed if sleepers is None else {kind: sleepers.without(answer) for kind, answer in listed.items()}
    found = {entry["Id"]: remember(entry) for entry in _containers(answers["all"])}
    if found != expected or _containers(answers["ill"]):
        return None
    if ended and {entry["Id"] for entry in _containers(answers["ended"])} != ended:
        return None
    if images and not _has_same_images(json.loads(answers["images"]), images):
        return None
    if settle_seconds and _died(listed["deaths"], settle_seconds, now):
        return None
    verdicts = sleepers.judge(listed) if sleepers is not None else {}
    return None if verdicts is None else {**snapshot["verdicts"], **verdicts}


def remember(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a listed container must stay the same, and whether it has ended (else it runs)."""
    labels = entry["Labels"]
    return {
        "ended": entry["State"] == "exited",
        "state": entry["State"],
        "image_id": entry["ImageID"],
        "labels": {name: labels.get(name, "") for name in _REMEMBERED_LABELS},
    }


def _listing(project: str, **filters: list[str]) -> tuple[str, dict[str, object]]:
    return "/containers/json", {"all": "1", "filters": {"label": [f"{_PROJECT_LABEL}={project}"], **filters}}


def _containers(answer: bytes) -> list[dict[str, Any]]:
    return [entry for entry in json.loads(answer) if entry["Labels"].get("com.docker.compose.oneoff") != "True"]


def _has_same_images(listed: Iterable[Mapping[str, Any]], images: Mapping[str, str]) -> bool:
    """Whether every tag that the project names still means the image that runs; a tag that is gone changes nothing."""
    return all(images.get(tag, entry["Id"]) == entry["Id"] for entry in listed for tag in entry.get("RepoTags") or ())


def recently_ended(engine: Engine, project: str, settle_seconds: Mapping[str, float]) -> set[str]:
    """Return the services with a container that ended within their settle time: one request, answered at once.

    The engine keeps the last 256 events. A container that it does not bring back is in state exited anyway, so
    what this finds beyond the list is the crash loop caught while it happens to run.
    """
    now = time.time()
    [answer] = engine.request_all([_deaths(project, settle_seconds, now)])
    return _died(answer, settle_seconds, now)


def _deaths(project: str, settle_seconds: Mapping[str, float], now: float) -> tuple[str, dict[str, object]]:
    return "/events", {
        "since": f"{now - max(_death_seconds(name, settle_seconds) for name in settle_seconds):.9f}",
        "until": f"{now:.9f}",
        "filters": {"type": ["container"], "event": ["die"], "label": [f"{_PROJECT_LABEL}={project}"]},
    }


def _died(answer: bytes, settle_seconds: Mapping[str, float], now: float) -> set[str]:
    events = (json.loads(line) for line in answer.splitlines())
    ended = {
        event.get("Actor", {}).get("Attributes", {}).get(_SERVICE_LABEL, ""): event.get("time", 0) for event in events
    }
    return {
        name
        for name, at in ended.items()
        if name in settle_seconds and now - at <= _death_seconds(name, settle_seconds)
    }


def _death_seconds(service: str, settle_seconds: Mapping[str, float]) -> float:
    """Return how far back the death of a container says that what runs now has not settled.

    A second more than it must run: events carry whole ones.
    """
    return max(settle_seconds[service], RESTARTED_SETTLE_SECONDS) + 1


def make_snapshot(
    *,
    inputs: str,
    key: bytes,
    containers: Iterable[Mapping[str, Any]],
    files: Iterable[str],
    mounted: Mapping[str, str],
    images: Mapping[str, str],
    verdicts: Mapping[str, str],
    settle_seconds: Mapping[str, float],
    secrets_in_env: Sequence[str],
    sleepers: Sequence[str] = (),
    unproven: Mapping[str, str] = MappingProxyType({}),
    digest: Callable[[bytes, str], list[Any] | None] = digest_written,
) -> dict[str, Any]:
    """Return the snapshot of a release that has just passed the gate.

    :param containers: as the engine lists them.
    :param files: paths that we wrote.
    :param mounted: paths that others keep, with the keyed hash that their containers started with.
    :param images: tag, in the engine's spelling, to image id.
    :param settle_seconds: of each long-running service without a health check.
    :param sleepers: services that the gateway alone starts; ``unproven``: those of them that it has not woken yet.
    """
    entries = list(containers)
    asleep = {entry["Id"] for entry in entries if entry["Labels"].get(_SERVICE_LABEL) in sleepers}
    remembered = {entry["Id"]: remember(entry) for entry in entries}
    return {
        "format": STATE_FORMAT,
        "inputs": inputs,
        "containers": {key: one for key, one in remembered.items() if key not in asleep},
        "sleepers": {key: one for key, one in remembered.items() if key in asleep},
        "files": {path: digest(key, path) for path in sorted(files)},
        "mounted": dict(mounted),
        "images": dict(images),
        "verdicts": dict(verdicts),
        "settle_seconds": dict(settle_seconds),
        "secrets_in_env": list(secrets_in_env),
        "unproven": dict(unproven),
    }
