# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what is declared to what would happen: everything before the first change, shared by check mode and the run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .._errors import PlatformError
from .._files import FileState
from .._secrets.references import find_references
from .cli import ComposeCli, plugin_stamp
from .contents import RenderedFile, env_paths, generated_paths, render_files, source_files
from .desired import DesiredService, Target
from .engine import Engine, EngineError
from .gate import read_asleep
from .host import read_default_mtu
from .inputs import digest_inputs, digest_mounted, has_hidden_inputs
from .model import (
    add_good_manners,
    canonical_definition,
    label_identities,
    make_services,
    refuse_exposed_secrets,
)
from .observe import Observed, find_image_ids, is_immutable, observe
from .plan import Plan, Recorded, is_migrated, make_plan, with_methods
from .project import Project, ProjectFile
from .project_files import (
    FileChanges,
    compare_files,
    drifted_files,
    file_paths,
    refuse_foreign_files,
    render_target_files,
)
from .project_images import has_image
from .release import Dump, Progress, Release, ReleaseStore, users_of
from .secret_source import SecretSource
from .site import Site
from .surroundings import NOTHING_AROUND, Surroundings, refuse_foreign_containers, survey
from .swap_rules import candidates, choose_methods


@dataclass(frozen=True)
class Host:
    """What a run works with. All of it is passed in, so that tests pass their own."""

    site: Site
    engine: Engine
    compose: ComposeCli
    secrets: SecretSource


@dataclass(frozen=True)
class Prepared:
    """A plan and all that it was made from."""

    target: Target
    plan: Plan
    observed: Observed
    recorded: Recorded
    previous: Target | None
    files: FileChanges
    surroundings: Surroundings
    progress: Progress
    secrets: SecretSource
    inputs: str = ""
    compose_version: str = ""
    compose_stamp: str = ""
    warnings: tuple[str, ...] = ()
    #: Image references that the containers are made from where it is not the model's own: kept tags of a release.
    images: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rolled_back_to: int | None = None
    #: Dumps that databases get back, because migrations lie between now and the release that comes back.
    dumps: tuple[Dump, ...] = ()

    @property
    def changes(self) -> bool:
        return self.plan.changes


@dataclass(frozen=True)
class History:
    """What the site knows of the project from before."""

    progress: Progress
    release: Release | None
    recorded: Recorded
    previous: Target | None
    #: Paths that the last release or an interrupted apply wrote.
    paths: frozenset[str]


def read_history(store: ReleaseStore) -> History:
    """Return what the last release and an interrupted apply left."""
    progress = store.progress()
    recorded, previous = store.recorded(progress.current)
    interrupted = None
    if progress.in_progress is not None and progress.in_progress in store.numbers():
        interrupted = store.load_target(progress.in_progress)
    return History(
        progress=progress,
        release=None if progress.current is None else store.load(progress.current),
        recorded=recorded,
        previous=previous,
        paths=frozenset(file_paths(previous) | file_paths(interrupted)),
    )


def prepare_project(host: Host, project: Project, *, key: bytes) -> Prepared:
    """Plan a declared project.

    :param key: the site's key; a new one on a host where nothing was applied yet.
    :raises PlatformError: whatever is wrong with the declaration or foreign on the host, before anything is touched.
    """
    history = read_history(ReleaseStore(host.site, project.name))
    stamp = plugin_stamp(host.compose.plugin)
    inputs = digest_inputs(project.options, key=key, versions=host.secrets.versions)
    stop_first = project.update == "stop_first"
    prepared, target = None, _unchanged_target(project, history, inputs, key)
    # A target that is kept was made by the Compose of its release.
    fresh = _Fresh((), history.release.compose_version, history.release.compose_stamp) if history.release else None
    if target is not None:
        prepared = plan_target(host, target, history, secrets=host.secrets, stop_first=stop_first)
    if prepared is None or prepared.changes:
        if target is None:
            target, fresh = _make_target(host, project, history, key, stamp)
        # Before its networks: a project of that name says more than a network of it.
        refuse_foreign_containers(observe(host.engine, target.name, ()), target.name, project.directory)
        # Networks and volumes only matter to containers that are made.
        around = survey(host.engine, target, project.directory)
        prepared = plan_target(host, target, history, secrets=host.secrets, surroundings=around, stop_first=stop_first)
    fresh = fresh or _Fresh((), "", stamp)
    return replace(
        prepared,
        inputs=inputs,
        compose_version=fresh.compose_version,
        compose_stamp=fresh.compose_stamp,
        warnings=fresh.warnings,
    )


@dataclass(frozen=True)
class _Fresh:
    """What a look at Compose gave beside the target."""

    warnings: tuple[str, ...]
    compose_version: str
    compose_stamp: str


def _unchanged_target(project: Project, history: History, inputs: str, key: bytes) -> Target | None:
    """Return the last release's target where it still says it all, so that Compose need not be asked."""
    release, previous = history.release, history.previous
    if release is None or previous is None or history.progress.in_progress is not None:
        return None
    if release.result != "ok" or release.inputs != inputs or has_hidden_inputs(project.options):
        return None
    written = {file.path for file in previous.files}
    same = all(
        digest_mounted(key, path) == digest
        for service in previous.services.values()
        for path, digest in service.contents.items()
        if path.startswith("/") and path not in written
    )
    return previous if same else None


def _make_target(host: Host, project: Project, history: History, key: bytes, stamp: str) -> tuple[Target, _Fresh]:
    version = host.compose.version()
    resolved = host.compose.resolve(project)
    _refuse_unknown_profiles(host, project)
    model = add_good_manners(
        resolved.model, directory=project.directory, mtu=read_default_mtu(), ours=project.src is None
    )
    refuse_exposed_secrets(model, project.secrets_in_env)
    _refuse_exposed_env(project)
    source = host.secrets
    files = render_files(project.files, model.get("services") or {}, model, source.lookup)
    services = make_services(
        model,
        extras=project.extras,
        files=files,
        key=key,
        lookup=source.lookup,
        env=project.env,
        env_paths=env_paths(project),
        generated=generated_paths(project),
    )
    if history.release and history.previous and history.release.compose_stamp != stamp:
        services = _carry_identities(host, services, history.previous)
    texts = [json.dumps(model, ensure_ascii=False), *(file.content for file in project.files), *project.env.values()]
    target = Target(
        name=project.name,
        folder=project.folder,
        model=label_identities(model, services),
        services=services,
        files=project.files,
        networks=project.networks,
        edge=project.edge,
        env=project.env,
        env_files=source_files(model, project),
        writes_env=project.src is None,
        secrets=source.versions(texts),
        secrets_in_env=tuple(sorted(project.secrets_in_env)),
    )
    return target, _Fresh(resolved.warnings, version, stamp)


def _carry_identities(
    host: Host, services: Mapping[str, DesiredService], previous: Target
) -> dict[str, DesiredService]:
    """Keep the identity of services that only another version of Compose spells differently.

    The last release's model is read by the Compose of today; what comes out equal is equal.
    """
    old = host.compose.normalize(previous.model).get("services") or {}

    def is_same(name: str, service: DesiredService) -> bool:
        if name not in old or name not in previous.services:
            return False
        # The definitions hold references: equal ones may mean another value.
        secrets = host.secrets.versions([json.dumps(service.definition, ensure_ascii=False)])
        return (
            canonical_definition(old[name]) == service.definition
            and previous.services[name].contents == service.contents
            and secrets.items() <= previous.secrets.items()
        )

    return {
        name: replace(service, identity=previous.services[name].identity) if is_same(name, service) else service
        for name, service in services.items()
    }


def _refuse_unknown_profiles(host: Host, project: Project) -> None:
    if not project.profiles or project.profiles == ("*",):
        return
    known = host.compose.profiles(project)
    if unknown := sorted(set(project.profiles) - known - {"*"}):
        raise PlatformError(
            f"Cannot apply project {project.name!r}: there is no profile {unknown[0]!r}; known are "
            f"{', '.join(sorted(known)) or 'none'}; correct 'profiles'."
        )


def _refuse_exposed_env(project: Project) -> None:
    for name, value in project.env.items():
        if find_references(value) and name not in project.secrets_in_env:
            raise PlatformError(
                f"Cannot put a secret into variable {name!r}: whoever may ask the engine could read it; give it as a "
                f"file, or add {name!r} to 'secrets_in_env'."
            )


def plan_target(
    host: Host,
    target: Target,
    history: History,
    *,
    secrets: SecretSource,
    surroundings: Surroundings = NOTHING_AROUND,
    stop_first: bool = False,
    image_ids: Mapping[str, str] | None = None,
    dumps: Sequence[Dump] = (),
) -> Prepared:
    """Compare a target with the host.

    :param image_ids: what each image reference meant in the release that comes back; None: what it means now.
    :param dumps: records of the dumps that databases get back.
    """
    services = target.services
    observed = observe(host.engine, target.name, [service.image for service in services.values()])
    refuse_foreign_containers(observed, target.name, host.site.directory)
    if image_ids is not None:
        observed = replace(observed, image_ids=image_ids)
    files = _compare_files(host, target, history, observed, secrets)
    make = functools.partial(
        make_plan,
        services,
        observed,
        recorded=history.recorded,
        asleep=frozenset(read_asleep(host.site, services.values())),
        changed_networks=frozenset(surroundings.changed or ()),
        drifted=drifted_files(files, services),
    )
    plan, pending = _plan_databases(make, services, dumps, history.progress.restore)
    plan = _choose_methods(host.engine, plan, target, observed, stop_first=stop_first)
    other = (*surroundings.describe(), *files.describe(), *_interrupted(history.progress, pending))
    return Prepared(
        target=target,
        plan=replace(plan, other=other),
        observed=observed,
        recorded=history.recorded,
        previous=history.previous,
        files=files,
        surroundings=surroundings,
        progress=history.progress,
        secrets=secrets,
    )


def _choose_methods(engine: Engine, plan: Plan, target: Target, observed: Observed, *, stop_first: bool) -> Plan:
    services = target.services
    volumes = {name: _image_volumes(engine, services[name].image) for name in candidates(plan, services)}
    methods = choose_methods(
        plan,
        services,
        observed,
        edge=target.edge,
        image_volumes={name: found for name, found in volumes.items() if found is not None},
        stop_first=stop_first,
    )
    return with_methods(plan, methods)


def _compare_files(
    host: Host, target: Target, history: History, observed: Observed, secrets: SecretSource
) -> FileChanges:
    rendered = [*render_target_files(target, secrets.lookup), *_edge_files(target, observed)]
    folders = {history.previous.folder} if history.previous else set()
    files = compare_files(rendered, history.paths, roots={host.site.directory, target.folder, *folders})
    refuse_foreign_files(files, target, history.paths)
    return files


def _plan_databases(
    make: Callable[..., Plan], services: Mapping[str, DesiredService], dumps: Sequence[Dump], pending: Sequence[Dump]
) -> tuple[Plan, Sequence[Dump]]:
    """Plan with databases that get ``dumps`` back, and first those that an interrupted migration left ``pending``.

    Return the plan and what of the pending ones is due: none where all migrations came to their end.
    """
    plan = make(restored=_users(dumps))
    if not pending or is_migrated(plan, services):
        return plan, ()
    return make(restored=_users((*dumps, *pending))), pending


def _users(dumps: Iterable[Dump]) -> frozenset[str]:
    return frozenset(user for dump in dumps for user in users_of(dump))


def _interrupted(progress: Progress, pending: Iterable[Dump]) -> list[str]:
    if progress.in_progress is None:
        return []
    return ["bring the interrupted apply to its end", *(f"restore database {dump['database']}" for dump in pending)]


def _edge_files(target: Target, observed: Observed) -> list[RenderedFile]:
    if target.edge is None:
        return []
    return [edge_file(target, current_names(target, observed))]


def current_names(target: Target, observed: Observed) -> dict[str, list[str]]:
    """Return service to the names of the containers that get its traffic: those up to date, else those there.

    A service without any gets the name that Compose will give its first one.
    """
    names: dict[str, list[str]] = {}
    for name, service in target.services.items():
        containers = observed.of(name)
        fitting = [container.name for container in containers if container.identity == service.identity]
        names[name] = sorted(fitting or [container.name for container in containers]) or [f"{target.name}-{name}-1"]
    return names


def edge_file(target: Target, names: Mapping[str, Sequence[str]]) -> RenderedFile:
    """Return the file that tells the edge where the services are."""
    if target.edge is None:
        raise AssertionError("a target without an edge has no file for it")
    from .edge import render_edge

    content = render_edge(target.edge.config, names).encode()
    source = ProjectFile(path=target.edge.file, content="", on_change="watch")
    return RenderedFile(target.edge.file, FileState(content, 0o644, 0, 0), source)


def _image_volumes(engine: Engine, image: str) -> tuple[str, ...] | None:
    try:
        config = engine.get(f"/images/{image}/json")["Config"] or {}
    except EngineError as error:
        if error.status == 404:
            return None
        raise
    return tuple(sorted(config.get("Volumes") or {}))


def prepare_release(host: Host, store: ReleaseStore, number: int, *, restore: bool = False) -> Prepared:
    """Plan the way back to a kept release: its model, its files, its secret versions, its very images.

    :param restore: whether databases that were migrated since get back what they held before.
    :raises PlatformError: the release, one of its images or one of its secret versions is gone.
    """
    release, target = store.load(number), store.load_target(number)
    dumps = tuple(store.dumps_since(number)) if restore else ()
    prepared = plan_target(
        host,
        target,
        read_history(store),
        secrets=host.secrets.pin(release.secrets),
        surroundings=survey(host.engine, target, host.site.directory),
        image_ids={target.services[name].image: kept["image_id"] for name, kept in release.services.items()},
        dumps=dumps,
    )
    restored = tuple(f"restore database {dump['database']}, what it holds now is kept as a dump" for dump in dumps)
    return replace(
        prepared,
        plan=replace(prepared.plan, other=prepared.plan.other + restored),
        dumps=dumps,
        inputs=release.inputs,
        compose_version=release.compose_version,
        compose_stamp=release.compose_stamp,
        images=_moved_images(host.engine, release, target),
        rolled_back_to=number,
    )


def _moved_images(engine: Engine, release: Release, target: Target) -> dict[str, str]:
    """Return service to kept tag, for services whose image reference means something else by now, or nothing."""
    references = {name: service.image for name, service in target.services.items()}
    now = find_image_ids(engine, references.values())
    return {
        name: kept["kept_as"]
        for name, kept in release.services.items()
        if kept["kept_as"] and not _still_means(engine, references[name], kept["image_id"], now)
    }


def _still_means(engine: Engine, reference: str, image_id: str, now: Mapping[str, str]) -> bool:
    # A digest names one image for ever, but docker rmi takes the name away while our tag keeps the image.
    return has_image(engine, reference) if is_immutable(reference) else now.get(reference) == image_id
