# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What really happened to a project, from the engine's event stream and inspects; a second opinion on the plan.

Nothing here imports ``plugins/`` or reads a label of ours: the actions are derived from what the engine did
(:class:`EventRecorder`), the reasons from how the containers differ before and after (:func:`take_snapshot`), so a
planner that is wrong in the same way as its apply is still caught.

>>> before = take_snapshot(engine, project)
>>> with EventRecorder(engine) as recorder:
...     run_module("compose_project", params)
>>> derive_actions(before, recorder.events, take_snapshot(engine, project))
{('web', 'recreate', 'image')}
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import docker

PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
ONE_OFF = "com.docker.compose.oneoff"
DEPENDS_ON = "com.docker.compose.depends_on"

Inspect = Mapping[str, Any]
#: Service, action, reason code: the words of the plan.
Derived = tuple[str, str, str]

_MARKER = "modelyard-test-marker-"
_MARKER_SECONDS = 30


@dataclass(frozen=True)
class Event:
    """One event of the engine. ``action`` of an exec or a health check holds its text after a colon."""

    kind: str
    action: str
    id: str
    time: float
    attributes: Mapping[str, str]

    @property
    def service(self) -> str:
        return self.attributes.get(SERVICE, "")


class EventRecorder:
    """A context manager that records all events of the engine between its begin and its end.

    It listens before the block starts and has heard all of the block when it ends: at either side it makes a volume
    of its own and waits until it hears of it. Those two are left out of ``events``.
    """

    def __init__(self, engine: docker.DockerClient) -> None:
        self._engine = engine
        self._all: list[Event] = []
        self._heard = threading.Condition()
        # Of its own: closing it ends the thread.
        self._client = docker.from_env(version="auto")
        self._begin = self._end = 0

    @property
    def events(self) -> list[Event]:
        return [event for event in self._all[self._begin : self._end] if not event.id.startswith(_MARKER)]

    def of_project(self, project: str) -> list[Event]:
        """Return what happened to containers, networks and volumes of one project."""
        return [
            event
            for event in self.events
            if event.attributes.get(PROJECT) == project or event.attributes.get("name", "").startswith(f"{project}_")
        ]

    def __enter__(self) -> EventRecorder:
        self._stream = self._client.events(decode=True)
        threading.Thread(target=self._listen, daemon=True).start()
        self._begin = self._mark()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end = self._mark()
        self._stream.close()
        self._client.close()

    def _listen(self) -> None:
        try:
            for raw in self._stream:
                with self._heard:
                    self._all.append(_parse_event(raw))
                    self._heard.notify_all()
        except (OSError, ValueError, AttributeError):
            return  # closed under the reader's hands: requests has no gentler way

    def _mark(self) -> int:
        """Return how many events there were when all up to now had been heard."""
        name = f"{_MARKER}{uuid.uuid4().hex}"
        self._engine.volumes.create(name).remove()
        with self._heard:
            if not self._heard.wait_for(lambda: self._position(name) is not None, timeout=_MARKER_SECONDS):
                raise RuntimeError(f"Cannot record events: the engine's stream was silent for {_MARKER_SECONDS} s.")
        return self._position(name) or 0

    def _position(self, name: str) -> int | None:
        places = [place for place, event in enumerate(self._all) if event.id == name and event.action == "destroy"]
        return places[0] if places else None


def _parse_event(raw: Mapping[str, Any]) -> Event:
    actor = raw.get("Actor", {})
    return Event(
        raw.get("Type", ""), raw.get("Action", ""), actor.get("ID", ""),
        raw.get("timeNano", 0) / 1e9, actor.get("Attributes") or {},
    )  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """All containers of a project as ``docker inspect`` shows them, by id; and the settings of their images, by id."""

    containers: Mapping[str, Inspect]
    images: Mapping[str, Inspect]

    def definition(self, container: Inspect) -> str:
        """Return what the container's maker asked for, beyond its image; equal texts mean an equal wish."""
        return _definition(container, self.images[container["Image"]])

    def of_service(self, service: str) -> dict[str, Inspect]:
        return {key: one for key, one in self.containers.items() if _label(one, SERVICE) == service}

    def services(self) -> set[str]:
        return {_label(one, SERVICE) for one in self.containers.values()}

    def without_values(self, variables: frozenset[str]) -> Snapshot:
        """Return the snapshot with these variables of the containers left empty."""

        def blank(item: str) -> str:
            return f"{item.partition('=')[0]}=" if item.partition("=")[0] in variables else item

        blanked = {
            key: {**one, "Config": {**one["Config"], "Env": [blank(item) for item in one["Config"]["Env"] or []]}}
            for key, one in self.containers.items()
        }
        return replace(self, containers=blanked)


def take_snapshot(engine: docker.DockerClient, project: str) -> Snapshot:
    """Return the project as it is now; containers of ``docker compose run`` do not belong to it."""
    listed = engine.api.containers(all=True, filters={"label": f"{PROJECT}={project}"})
    inspects = [engine.api.inspect_container(one["Id"]) for one in listed if one["Labels"].get(ONE_OFF) != "True"]
    images = {one["Image"] for one in inspects}
    return Snapshot(
        {one["Id"]: one for one in inspects},
        {image: engine.images.get(image).attrs["Config"] or {} for image in images},
    )


def derive_actions(
    before: Snapshot,
    events: Sequence[Event],
    after: Snapshot,
    *,
    left: Snapshot | None = None,
    secret_variables: frozenset[str] = frozenset(),
    scaled_to_zero: frozenset[str] = frozenset(),
) -> set[Derived]:
    """Return what was done to which service and why; services that were left are absent.

    Reasons: ``missing``, ``image``, ``definition``, ``network`` (its network is another one), ``dependency`` (the
    container whose namespace it shares is another one), ``content`` (recreated though engine and image see no
    difference, or told to reload), ``stopped``, ``failed`` (it had ended with a failure), ``scale``, ``undeclared``,
    ``by_hand`` (what was recreated is as the last run had left it, before somebody else made it anew).

    :param left: the project as the last run left it.
    :param secret_variables: variables of which a project declares where the value is from, so that a new value is
        ``content``.
    :param scaled_to_zero: services that are declared and want no container; the engine knows no declaration.
    """
    before, after = before.without_values(secret_variables), after.without_values(secret_variables)
    left = left and left.without_values(secret_variables)
    derived: set[Derived] = set()
    for service in before.services() | after.services():
        old, new = before.of_service(service), after.of_service(service)
        if old.keys() - new.keys() and new.keys() - old.keys():
            # Of a service with replicas each old one has the same differences; one pair tells all.
            gone, made = old[min(old.keys() - new.keys())], new[min(new.keys() - old.keys())]
            reasons = {"by_hand"} if _is_put_back(left, gone, after, made) else _differences(before, gone, after, made)
            derived |= {(service, "recreate", reason) for reason in reasons}
        elif old and not new and service in scaled_to_zero:
            derived.add((service, "remove", "scale"))
        else:
            derived |= {(service, action, reason) for action, reason in _derive_service(old, new, events)}
    return derived


def _derive_service(
    old: Mapping[str, Inspect], new: Mapping[str, Inspect], events: Sequence[Event]
) -> set[tuple[str, str]]:
    made, gone, kept = new.keys() - old.keys(), old.keys() - new.keys(), old.keys() & new.keys()
    if made:
        return {("create", "scale" if kept else "missing")}
    if gone:
        return {("remove", "scale" if kept else "undeclared")}
    done: set[tuple[str, str]] = set()
    for key in kept:
        own = [event for event in events if event.kind == "container" and event.id == key]
        if any(event.action in ("start", "unpause") for event in own):
            done.add(("start", _why_started(old[key])))
        elif _was_told_to_reload(own, old[key]):
            done.add(("reload", "content"))
    return done


def _why_started(old: Inspect) -> str:
    """Tell a one-shot that failed from a container that was stopped: who is stopped ends by a signal (128 and up)."""
    is_one_shot = old["HostConfig"]["RestartPolicy"]["Name"] in ("", "no")
    failed = old["State"]["Status"] == "exited" and 0 < old["State"]["ExitCode"] < 128
    return "failed" if is_one_shot and failed else "stopped"


def _was_told_to_reload(events: Sequence[Event], container: Inspect) -> bool:
    """Return whether it got a signal that it lived through, or an exec that is not its health check."""
    if any(event.action == "die" for event in events):
        return False
    test = (container["Config"].get("Healthcheck") or {}).get("Test") or ["NONE"]
    probe = " ".join(test[1:])
    for event in events:
        command = event.action.removeprefix("exec_start: ").strip()
        if event.action == "kill" or (event.action.startswith("exec_start: ") and not command.endswith(probe or "\0")):
            return True
    return False


def _is_put_back(left: Snapshot | None, gone: Inspect, after: Snapshot, made: Inspect) -> bool:
    """Return whether somebody made the container that is gone, in place of one like the one that is there now."""
    if left is None or gone["Id"] in left.containers:
        return False
    return any(
        not _differences(left, one, after, made) - {"content"}
        for one in left.of_service(_label(made, SERVICE)).values()
    )


def _differences(before: Snapshot, old: Inspect, after: Snapshot, new: Inspect) -> set[str]:
    reasons = set()
    if old["Image"] != new["Image"]:
        reasons.add("image")
    if before.definition(old) != after.definition(new):
        reasons.add("definition")
    if not reasons and _network_ids(old) != _network_ids(new):
        reasons.add("network")
    if not reasons and _shared_namespaces(old) != _shared_namespaces(new):
        reasons.add("dependency")
    return reasons or {"content"}


def _definition(container: Inspect, image: Inspect) -> str:
    """Return all that makes up a container but its image and what differs from one to the next, as comparable text.

    What the image brings along is left out, so is what Compose and we note down in labels; but not the dependencies,
    which the engine does not know otherwise.
    """
    own = {name: value for name, value in container["Config"].items() if value != image.get(name)}
    inherited = image.get("Env") or []
    labels = _own_labels(container["Config"].get("Labels") or {}, image.get("Labels") or {})
    parts = {
        "config": {name: value for name, value in own.items() if name not in _PER_CONTAINER},
        "environment": sorted(item for item in own.get("Env") or [] if item not in inherited),
        "host": {name: value for name, value in container["HostConfig"].items() if name not in _SHOWN_ELSEWHERE},
        "labels": labels,
        "mounts": sorted(_mount(mount) for mount in container["Mounts"]),
        "networks": {
            name: sorted(set(network.get("Aliases") or []) - {container["Id"][:12]})
            for name, network in container["NetworkSettings"]["Networks"].items()
        },
    }
    return json.dumps(parts, sort_keys=True, default=str)


#: Parts of Config that differ between any two containers, or are compared by themselves.
_PER_CONTAINER = ("Hostname", "Image", "OnBuild", "Env", "Labels")
#: Parts of HostConfig that are compared by what came of them.
_SHOWN_ELSEWHERE = ("ContainerIDFile", "ConsoleSize", "Binds", "Mounts", "NetworkMode", "IpcMode", "PidMode")


def _own_labels(labels: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    noted = re.compile(r"com\.docker\.|modelyard\.")
    return {
        name: value
        for name, value in labels.items()
        if name == DEPENDS_ON or (inherited.get(name) != value and not noted.match(name))
    }


def _mount(mount: Mapping[str, Any]) -> str:
    name = mount.get("Name") or ""
    source = "anonymous" if re.fullmatch("[0-9a-f]{64}", name) else name or mount.get("Source", "")
    return f"{mount['Type']} {source} {mount['Destination']} {mount.get('RW')}"


def _network_ids(container: Inspect) -> dict[str, str]:
    return {name: network["NetworkID"] for name, network in container["NetworkSettings"]["Networks"].items()}


def _shared_namespaces(container: Inspect) -> list[str]:
    host = container["HostConfig"]
    return [host.get(name) or "" for name in ("NetworkMode", "IpcMode", "PidMode")]


def _label(container: Inspect, name: str) -> str:
    return str((container["Config"]["Labels"] or {}).get(name, ""))
