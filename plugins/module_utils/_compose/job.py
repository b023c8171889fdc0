# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One plan being carried out, phase by phase; :mod:`apply` says in which order and what follows a failure."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .._errors import PlatformError
from .._files import write_atomically
from .._run import Run
from .asleep import read_sleep_record
from .cli import RunningUp
from .containers import remove_container
from .contents import source_values
from .databases import Databases
from .desired import DesiredService, Reload
from .engine import EngineError
from .gate import Gate, refuse_failed
from .guests import Endpoints, bring_back, find_guests, read_endpoints
from .host import read_default_mtu
from .observe import (
    Observed,
    ObservedContainer,
    list_containers,
    observe,
)
from .plan import Action
from .ports import published_ports
from .prepare import Host, Prepared, current_names, edge_file
from .project_files import compare_files, write_files
from .project_images import ensure_images
from .record import prune_releases, record_release
from .release import Release, ReleaseStore
from .sleepers import prove, rest
from .surroundings import find_left_networks, make_shared_networks, remove_network
from .swap import Swap, reopen, swap_start_first
from .verdict import Verdict

OnFailure = Literal["rollback", "keep"]


@dataclass(frozen=True)
class Settings:
    """How to apply. ``lock`` is the descriptor that children inherit."""

    wait_seconds: float
    pull: str
    on_failure: OnFailure
    keep_releases: int
    lock: int
    run: Run


class Job:
    """One plan being carried out."""

    def __init__(self, host: Host, prepared: Prepared, settings: Settings, store: ReleaseStore) -> None:
        self._host = host
        self._prepared = prepared
        self._settings = settings
        self._store = store
        self._services = prepared.target.services
        self._steps = prepared.plan.steps
        self.databases = Databases(host, prepared, store)
        #: How updates without a gap went, and what became of sleepers, a sentence each.
        self.notes: list[str] = []
        #: Sleeper to cause, where the gateway could not prove it.
        self.unproven: dict[str, str] = {}

    def carry_out(self, release: Release) -> Release:
        self._unblock()
        self.databases.recover(release)
        release = self.databases.dump(release)
        self.databases.go_back()
        self.change_containers()
        done = replace(release, notes=tuple(self.notes), unproven=self.unproven)
        done = record_release(self._host, self._prepared, self._store, done)
        return replace(done, notes=(*done.notes, *self._prune()))

    def _prune(self) -> list[str]:
        """Give up old releases. The new one serves by now, so what goes wrong here is no failure of it."""
        try:
            prune_releases(self._host, self._store, self._settings.keep_releases)
        except (PlatformError, OSError) as error:
            return [f"old releases were not pruned: {error}"]
        return []

    def change_containers(self) -> None:
        """Bring files, networks and containers to the target, and wait until all are what they should be."""
        target = self._prepared.target
        write_files(self._prepared.files)
        make_shared_networks(
            self._host.engine,
            self._prepared.surroundings.missing,
            directory=self._host.site.directory,
            mtu=read_default_mtu(),
        )
        self._remove_changed_networks()
        self._bring_back_guests()
        with Gate(self._host.engine, target.name, self._host.site) as gate:
            self._remove(in_the_way=True)
            self._up(gate)
            self._up_sleepers(gate)
            self._reload(gate)
            self._swap(gate)
            self._gate(gate, {name: service for name, service in self._services.items() if service.scale})
            self._remove(in_the_way=False)
        self._remove_left_networks()
        self._route(None)

    def ensure_images(self) -> None:
        """Have every image that the plan needs; touches no container."""
        needed = {
            name: replace(self._services[name], image=self._image(name))
            for name in self._prepared.plan.services("create", "recreate")
        }
        ensure_images(
            self._host.engine,
            self._host.compose,
            self._settings.run,
            self._model(),
            needed,
            # What comes back is what was kept: the source on disk is another one by now.
            build=None if self._prepared.rolled_back_to is not None else self._outdated_builds(),
            pull=self._settings.pull,
            inherit=(self._settings.lock,),
        )

    def _outdated_builds(self) -> list[str]:
        """Return the services to build although their image may be here: its source changed, or its tag moved."""
        previous = self._prepared.recorded.services
        return [
            name
            for name in self._prepared.plan.services("create", "recreate")
            if self._services[name].builds
            and (
                any(reason.code == "image" for reason in self._steps[name].reasons)
                or name not in previous
                or previous[name].contents.get("build context") != self._services[name].contents.get("build context")
            )
        ]

    def _image(self, name: str) -> str:
        return self._prepared.images.get(name, self._services[name].image)

    def _model(self) -> dict[str, Any]:
        """Return the model as Compose gets it: secrets in place, images of a release that comes back by kept tag."""
        model = self._prepared.secrets.resolve_model(self._prepared.target.model)
        for name, image in self._prepared.images.items():
            model["services"][name]["image"] = image
        return model

    def _known_services(self) -> dict[str, DesiredService]:
        """Return the services of the project as they are declared; as they were where they are declared no more."""
        return {**self._prepared.recorded.services, **self._services}

    def _observe(self) -> Observed:
        return observe(self._host.engine, self._prepared.target.name, ())

    def _remove_changed_networks(self) -> None:
        """Remove them with every container of the project that is on them, of whichever release it is."""
        engine, target = self._host.engine, self._prepared.target
        for key, network_id in (self._prepared.surroundings.changed or {}).items():
            name = target.model["networks"][key]["name"]
            self._let_rest(service for service in self._known_services().values() if key in service.networks)
            # One that was never started has the network's name alone.
            for entry in list_containers(engine, target.name, network=[network_id, name]):
                remove_container(engine, entry["Id"])
            self._remember_guests(key, read_endpoints(engine, name, network_id))
            remove_network(engine, name, network_id, self._host.site.directory)

    def _remember_guests(self, key: str, endpoints: Endpoints) -> None:
        """Write down who is in a network that goes: whenever we are killed, the next run brings them back."""
        progress = self._store.progress()
        endpoints = {**progress.guests.get(key, {}), **endpoints}
        if endpoints:
            self._store.save_progress(replace(progress, guests={**progress.guests, key: endpoints}))

    def _bring_back_guests(self) -> None:
        """Make networks anew with those in them who are not the project's, before anything that may want them."""
        progress, engine = self._store.progress(), self._host.engine
        for key, endpoints in progress.guests.items():
            network = (self._prepared.target.model.get("networks") or {}).get(key)
            if network is None:
                self.notes.append(f"network {key} is declared no more: {', '.join(endpoints)} went on without it")
                continue
            self._host.compose.make_network(self._model(), key, inherit=(self._settings.lock,))
            self.notes += bring_back(engine, network["name"], endpoints)
        if progress.guests:
            self._store.save_progress(replace(progress, guests={}))

    def _remove_left_networks(self) -> None:
        """Remove the project's networks that are not declared any more."""
        engine, target, directory = self._host.engine, self._prepared.target, self._host.site.directory
        for name, network_id in find_left_networks(engine, target, directory).items():
            guests = find_guests(engine, name, network_id, project=target.name, directory=directory)
            obstacle = guests.obstacle()
            if not obstacle:
                try:
                    remove_network(engine, name, network_id, directory)
                except EngineError as error:  # what serves by now is not taken back for it
                    obstacle = str(error)
            if obstacle:
                self.notes.append(f"network {name} is declared no more and stays: {obstacle}")

    def _swapping(self) -> list[str]:
        return [
            name for name, step in self._steps.items() if step.action == "recreate" and step.method == "start_first"
        ]

    def _up(self, gate: Gate) -> None:
        """Make and start everything that does not change hands start-first, in the order of dependencies."""
        there = {container.service for container in self._remove_half_made()}
        created, started = self._planned("create"), self._planned("start")
        made = [name for name in (*created, *started) if name not in there] + self._remade(self._planned("recreate"))
        added = [name for name in created if name in there]
        starts = self._unpause(name for name in started if name in there)
        late = {name for name in starts if set(made) & set(self._needs(name))}
        self._up_some(gate, [name for name in starts if name not in late], "--no-recreate")
        self._up_some(gate, made, "--force-recreate")
        self._up_some(gate, [*added, *(name for name in starts if name in late)], "--no-recreate")

    def _planned(self, action: Action, *, sleepers: bool = False) -> list[str]:
        return [
            name
            for name in self._prepared.plan.services(action)
            if (name in self._services and self._services[name].is_sleeper) == sleepers
        ]

    def _up_sleepers(self, gate: Gate) -> None:
        """Make the containers that only the gateway starts, then have it prove them, one after the other."""
        there = {container.service for container in self._observe().containers}
        missing = [*self._planned("create", sleepers=True), *self._planned("start", sleepers=True)]
        for name in missing:
            if name not in there:
                self._up_some(gate, [name], "--no-recreate", "--no-start")
        for name in self._remade(self._planned("recreate", sleepers=True)):
            self._let_rest([self._services[name]])
            self._up_some(gate, [name], "--force-recreate", "--no-start")
        self._unpause(self._planned("start", sleepers=True))
        self._remove_sleepers()
        for name in self._to_prove():
            self._prove(gate, name)

    def _let_rest(self, services: Iterable[DesiredService], becomes: str = "replaced") -> None:
        """Have the gateway stop what it woke, so that no request is cut, and wake none before it is made anew.

        What is declared no more it only waits for.
        """
        for service in services:
            if not service.is_sleeper:
                continue
            is_awake = any(container.state == "running" for container in self._observe().of(service.name))
            if (cause := rest(self._host.engine, service)) and is_awake:
                self.notes.append(f"{service.name}: it was {becomes} although it did not rest: {cause}")

    def _to_prove(self) -> list[str]:
        """Return the sleepers that neither the last release nor the gateway has seen awake, and those that ended."""
        sleepers = [name for name, service in self._services.items() if service.is_sleeper and service.scale]
        if not sleepers:
            return []
        recorded, observed = self._prepared.recorded, self._observe()
        record = read_sleep_record(self._host.site.asleep_path)
        known = {key for key in recorded.config_hashes if key not in record.failed}
        ended = self._planned("start", sleepers=True)

        def is_proven(name: str) -> bool:
            ids = [container.id for container in observed.of(name)]
            is_known = name not in recorded.unproven and all(key in known for key in ids)
            return is_known or all(record.is_proven(key) for key in ids)

        return [name for name in sleepers if name in ended or not is_proven(name)]

    def _prove(self, gate: Gate, name: str) -> None:
        service = self._services[name]
        before = gate.judge({name: service})[name]
        proof = prove(self._host.engine, service)
        if proof.kind == "failed":
            container = next(iter(gate.inspect([name])), None)
            self._refuse_failed(
                gate, {name: Verdict("failed", f"the gateway cannot wake it: {proof.cause}", container)}
            )
        if before.kind == "failed":
            self.notes.append(f"{name}: {before.cause}; it was woken anew")
        if proof.kind == "unproven":
            self.notes.append(f"{name}: it is asleep and not proven yet: {proof.cause}")
            self.unproven[name] = proof.cause

    def _remove_half_made(self) -> list[ObservedContainer]:
        """Remove what an interrupted update made and never started; return the others."""
        containers = self._observe().containers
        half_made = [container for container in containers if container.is_half_made]
        self._remove_containers(half_made)
        return [container for container in containers if container not in half_made]

    def _up_some(self, gate: Gate, services: Sequence[str], *options: str) -> None:
        if services:
            stale = {
                container.id: container.started_at
                for container in gate.inspect(services)
                if "--force-recreate" in options or container.status not in ("running", "restarting")
            }
            self._watch(gate, self._start_up(services, options), services, stale)

    def _remade(self, services: Iterable[str]) -> list[str]:
        """Return what is made anew. Where an interrupted update has started it already, only its old copies go."""
        remade = []
        for name in services:
            if name in self._swapping():
                continue
            service, containers = self._services[name], self._observe().of(name)
            fitting = [container for container in containers if container.identity == service.identity]
            if len(containers) > service.scale:
                self._remove_containers([container for container in containers if container not in fitting])
            if not self._is_interrupted(name) or len(fitting) < service.scale:
                remade.append(name)
        return remade

    def _is_interrupted(self, name: str) -> bool:
        return any(reason.code == "interrupted" for reason in self._steps[name].reasons)

    def _needs(self, name: str) -> set[str]:
        """Return the services that ``name`` waits for, directly or through others."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            more = set(self._services[waiting.pop()].depends_on) & set(self._services) - found
            found |= more
            waiting += more
        return found

    def _unpause(self, services: Iterable[str]) -> list[str]:
        """Let paused containers go on; return the services that need more than that."""
        more = []
        for name in services:
            containers = self._observe().of(name)
            for container in containers:
                if container.state == "paused":
                    self._host.engine.request("POST", f"/containers/{container.id}/unpause")
            if any(container.state not in ("paused", "running", "restarting") for container in containers):
                more.append(name)
        return more

    def _start_up(self, services: Sequence[str], options: Sequence[str]) -> RunningUp:
        target = self._prepared.target
        return self._host.compose.start_up(
            self._model(),
            services,
            options=options,
            inherit=(self._settings.lock,),
            env=source_values(target.model, target.env, self._prepared.secrets.lookup),
            env_files=target.env_files,
        )

    def _watch(self, gate: Gate, up: RunningUp, services: Iterable[str], stale: Mapping[str, float]) -> None:
        """Wait for an ``up`` with its services; what fails first ends both."""

        def still_working() -> bool:
            if up.is_running():
                return True
            if failure := up.failure():
                raise _UpError(failure)
            return False

        watched = {name: self._services[name] for name in services if self._services[name].scale}
        seconds = self._settings.wait_seconds
        try:
            self._refuse_failed(
                gate, gate.wait(watched, wait_seconds=seconds, still_working=still_working, stale=stale)
            )
        except _UpError as error:
            self._refuse_failed(gate, gate.judge(watched, stale))
            raise PlatformError(f"Compose says: {error}") from error
        finally:
            up.end()

    def _gate(self, gate: Gate, services: Mapping[str, DesiredService]) -> None:
        self._refuse_failed(gate, gate.wait(services, wait_seconds=self._settings.wait_seconds))

    def _refuse_failed(self, gate: Gate, verdicts: Mapping[str, Verdict]) -> None:
        if any(verdict.kind == "failed" for verdict in verdicts.values()):
            others = gate.judge({name: service for name, service in self._services.items() if name not in verdicts})
            refuse_failed(self._host.engine, {**others, **verdicts}, self._prepared.secrets.mask)

    def _reload(self, gate: Gate) -> None:
        for name in self._prepared.plan.services("reload"):
            running = [container for container in self._observe().of(name) if container.state == "running"]
            for reload in self._due_reloads(name):
                for container in running:
                    self._reload_container(container, reload.signal, reload.command)
                    gate.reloaded[container.id] = time.time()

    def _due_reloads(self, name: str) -> list[Reload]:
        """Return how a service takes up those of its files that changed, or were not as they should be."""
        service, old = self._services[name], self._prepared.recorded.services.get(name)
        known = old.reload_contents if old is not None else {}
        written = {file.path for file in self._prepared.files.write}
        return [
            reload
            for reload in service.reloads
            if reload.path in written or known.get(reload.path) != service.reload_contents[reload.path]
        ]

    def _reload_container(self, container: ObservedContainer, signal: str | None, command: Sequence[str]) -> None:
        if signal is not None:
            self._host.engine.request("POST", f"/containers/{container.id}/kill", {"signal": signal})
            return
        from .exec_stream import run_in_container

        done = run_in_container(self._host.engine, container.id, command)
        if done.returncode:
            raise PlatformError(
                f"service {container.service!r}: its reload command ended with exit code {done.returncode}: "
                f"{done.stderr.strip()}"
            )

    def _swap(self, gate: Gate) -> None:
        for name in self._swapping():
            service = self._services[name]
            old = [c for c in self._observe().of(name) if c.identity != service.identity]
            self.notes.append(f"{name}: {swap_start_first(self._swap_tools(gate), service, old)}")

    def _swap_tools(self, gate: Gate) -> Swap:
        def bring_up(service: DesiredService, count: int) -> None:
            options = ["--no-recreate", "--scale", f"{service.name}={count}"]
            self._watch(gate, self._start_up([service.name], options), [service.name], {})

        def remember_blocked(ids: Sequence[str]) -> None:
            self._store.save_progress(replace(self._store.progress(), blocked=tuple(ids)))

        return Swap(
            engine=self._host.engine,
            run=self._settings.run,
            project=self._prepared.target.name,
            edge=self._prepared.target.edge,
            write_edge=self._route,
            bring_up=bring_up,
            gate=lambda service: self._gate(gate, {service.name: service}),
            remember_blocked=remember_blocked,
        )

    def _route(self, names: Mapping[str, Sequence[str]] | None) -> None:
        """Point the edge at the containers of now, those in ``names`` instead where given."""
        target = self._prepared.target
        if target.edge is not None:
            file = edge_file(target, {**current_names(target, self._observe()), **(names or {})})
            for changed in compare_files([file], (), roots=self._prepared.files.roots).write:
                write_atomically(changed.path, changed.state)

    def _remove(self, *, in_the_way: bool) -> None:
        """Remove what is not declared any more: last, when all else is well, so that a failure leaves it untouched;
        first where it holds a host port that another service is to bind."""
        services = self._services.values()
        wanted = {number for port in published_ports(services) for number in port.ports}
        for name in self._prepared.plan.services("remove"):
            containers = sorted(self._observe().of(name), key=lambda container: container.name)
            spared = self._services[name].scale if name in self._services else 0
            held = {port for container in containers for port in container.ports}
            if bool(held & wanted and not spared) == in_the_way:
                self._remove_containers(containers[spared:])

    def _remove_sleepers(self) -> None:
        """Remove those that are not wanted any more, before others are proven: their memory is theirs until then."""
        kept = {name for name, service in self._services.items() if service.scale}
        known = self._known_services()
        removed = [name for name in self._prepared.plan.services("remove") if name in known and name not in kept]
        if leaving := [known[name] for name in removed if known[name].is_sleeper]:
            observed = self._observe()
            for service in leaving:
                self._let_rest([service], "removed")
                self._remove_containers(observed.of(service.name))

    def _remove_containers(self, containers: Iterable[ObservedContainer]) -> None:
        for container in containers:
            remove_container(self._host.engine, container.id)

    def _unblock(self) -> None:
        """Let connections to containers again that an interrupted swap was about to stop."""
        reopen(self._host.engine, self._settings.run, self._prepared.progress.blocked)


class _UpError(Exception):
    """``up`` failed; what Compose said. Never leaves this module."""
