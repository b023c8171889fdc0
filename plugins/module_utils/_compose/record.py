# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing down a release that has passed the gate, and giving up old ones."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .observe import (
    Observed,
    find_image_ids,
    is_immutable,
    list_containers,
    normalize_reference,
    observe,
    passed_verdicts,
    unchecked_services,
)
from .prepare import Host, Prepared
from .project_files import file_paths
from .project_images import keep_images, release_images
from .release import Release, ReleaseStore, kept_image, kept_images_of
from .site import write_json
from .unchanged import make_snapshot, snapshot_path


def record_release(host: Host, prepared: Prepared, store: ReleaseStore, release: Release) -> Release:
    """Make a release the current one: its images tagged, the look of the host kept."""
    target = prepared.target
    observed = observe(host.engine, target.name, ())
    used = {container.service: container.image_id for container in observed.containers}
    tags = {name: kept_image(host.site.directory, target.name, name, release.number) for name in target.services}
    services = keep_images(host.engine, tags, target.services, used)
    _write_snapshot(host, prepared, store, release, observed)
    return store.finish(release, "ok", services=services, config_hashes=_config_hashes(observed))


def record_containers(host: Host, store: ReleaseStore, number: int, unproven: Mapping[str, str]) -> None:
    """Write down which containers serve a release that was brought back; nobody made them by hand."""
    store.note_containers(number, _config_hashes(observe(host.engine, store.project, ())), unproven)


def _config_hashes(observed: Observed) -> dict[str, str]:
    return {container.id: container.config_hash for container in observed.containers}


def prune_releases(host: Host, store: ReleaseStore, keep: int) -> list[int]:
    """Give up the oldest releases beyond ``keep``, with the tags of their images; return their numbers."""
    pruned = store.prune(keep)
    kept = {service["kept_as"] for number in store.numbers() for service in store.load(number).services.values()}
    release_images(host.engine, kept_images_of(host.site.directory, store.project), kept)
    return pruned


def _write_snapshot(host: Host, prepared: Prepared, store: ReleaseStore, release: Release, observed: Observed) -> None:
    """Write down how the host looks now, for the quick look of the next run."""
    target, key = prepared.target, host.site.read_key()
    if key is None or prepared.images:
        # Tags that mean something else by now than what came back: only the planner sees that they differ.
        return
    services = target.services
    written = file_paths(target)
    mounted = {
        path: digest
        for service in services.values()
        for path, digest in service.contents.items()
        if path.startswith("/") and path not in written
    }
    tags = {service.image for service in services.values() if not is_immutable(service.image)}
    image_ids = find_image_ids(host.engine, tags)
    snapshot = make_snapshot(
        inputs=release.inputs,
        key=key,
        containers=list_containers(host.engine, target.name),
        files=[path for path in written if os.path.exists(path)],
        mounted=mounted,
        images={normalize_reference(tag): image_id for tag, image_id in image_ids.items()},
        verdicts=passed_verdicts(services, observed),
        settle_seconds=unchecked_services(services),
        secrets_in_env=target.secrets_in_env,
        sleepers=[name for name, service in services.items() if service.is_sleeper],
        unproven=release.unproven,
    )
    write_json(snapshot_path(store.path(release.number)), snapshot)
