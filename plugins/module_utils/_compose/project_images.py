# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: all of them are here before anything is touched, and a release's stay as long as it does."""

from __future__ import annotations

import contextlib
import subprocess  # nosec: only its exception
from collections.abc import Container, Iterable, Mapping

from .._errors import PlatformError
from .._run import Run
from .cli import ComposeCli
from .desired import DesiredService
from .engine import Engine, EngineError
from .observe import find_image_ids

_PULL_SECONDS = 3600.0


def has_image(engine: Engine, image: str) -> bool:
    """Whether this host has the image, by tag, digest or id."""
    try:
        engine.get(f"/images/{image}/json")
    except EngineError as error:
        if error.status == 404:
            return False
        raise
    return True


def pull_image(run: Run, service: str, image: str, *, inherit: Iterable[int]) -> None:
    """Pull one image with the docker CLI, which knows the logins and credential helpers of this host.

    :raises PlatformError: it cannot be had; the registry's last words.
    """
    what = f"Cannot pull image {image!r} for service {service!r}"
    try:
        done = run(["docker", "pull", "--quiet", image], pass_fds=tuple(inherit), timeout_seconds=_PULL_SECONDS)
    except FileNotFoundError:
        raise PlatformError(f"{what}: there is no program 'docker'; install docker-ce-cli or docker.io.") from None
    except subprocess.TimeoutExpired as error:
        raise PlatformError(
            f"{what}: it was not here within {error.timeout:g} s; look at the way to its registry, and run again."
        ) from None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise PlatformError(
            f"{what}: {words[-1] if words else 'docker pull failed'}; "
            "correct its name, log in to its registry (docker_registries, or docker login), or build it on this host."
        )


def pull_tags(run: Run, services: Iterable[DesiredService], *, inherit: Iterable[int]) -> None:
    """Ask the registries for what each tag means now (``pull: always``)."""
    images = {service.image: service.name for service in services if not service.builds}
    for image, name in images.items():
        pull_image(run, name, image, inherit=inherit)


def ensure_images(
    engine: Engine,
    compose: ComposeCli,
    run: Run,
    model: Mapping[str, object],
    services: Mapping[str, DesiredService],
    *,
    build: Iterable[str] | None,
    pull: str,
    inherit: Iterable[int],
) -> None:
    """Have every image of ``services`` on this host: pulled, or built where the service has a build section.

    :param build: services to build although their image is here; None: nothing is built, not even what is missing.
    :raises PlatformError: one cannot be had.
    """
    inherit = tuple(inherit)
    missing = {name: service for name, service in services.items() if not has_image(engine, service.image)}
    builds = [] if build is None else [name for name, s in services.items() if s.builds and name in {*missing, *build}]
    if builds:
        compose.build(model, builds, inherit=inherit)
    pulls = {service.image: name for name, service in missing.items() if name not in builds}
    for image, name in pulls.items():
        if pull == "never":
            raise PlatformError(
                f"Cannot start service {name!r}: image {image!r} is not on this host and 'pull' is 'never'; "
                "load or build it, or set pull: missing."
            )
        pull_image(run, name, image, inherit=inherit)


def keep_images(
    engine: Engine, tags: Mapping[str, str], services: Mapping[str, DesiredService], used: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Tag the images that a release runs, so that no prune takes them; return the record per service.

    :param tags: service to the tag that keeps its image.
    :param used: service to the id of the image that its containers run.
    """
    now = find_image_ids(engine, [service.image for service in services.values()])
    record = {}
    for name, service in services.items():
        image_id = used.get(name) or now.get(service.image, "")
        kept_as = tags[name]
        if image_id:
            repository, _separator, tag = kept_as.rpartition(":")
            engine.request("POST", f"/images/{image_id}/tag", {"repo": repository, "tag": tag})
        record[name] = {"image": service.image, "image_id": image_id, "kept_as": kept_as if image_id else ""}
    return record


def release_images(engine: Engine, prefix: str, kept: Container[str]) -> None:
    """Give up the project's tags that no release refers to: of pruned ones, and of those that were never recorded.

    Images that nobody else names go with them.

    :param prefix: what all tags of the project begin with.
    """
    listed = engine.get("/images/json", {"filters": {"reference": [f"{prefix}*"]}})
    tags = [tag for entry in listed for tag in entry.get("RepoTags") or () if tag.startswith(prefix)]
    for tag in tags:
        if tag not in kept:
            with contextlib.suppress(EngineError):  # in use by a container, or gone by hand: both are fine
                engine.request("DELETE", f"/images/{tag}", {"noprune": "true"})
