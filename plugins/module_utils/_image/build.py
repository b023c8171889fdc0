# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Making an image, or removing what nobody needs: the only part that changes something."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .._compose.engine import Engine
from .._compose.host import free_bytes
from .._compose.site import Site
from .._errors import PlatformError
from .._files import ensure_directory
from .._run import Run
from .base import BASE_NAME, INDEX_ARGV, Base, IndexTarget, bootstrap_argv, choose_sources, parse_index_targets
from .command import proxy_variables, run_bounded
from .failures import base_failure, build_failure
from .images import (
    BASE_LABEL,
    DIRECTORY_LABEL,
    INPUTS_LABEL,
    NAME_LABEL,
    Image,
    find_image,
    list_images,
    remove_image,
    remove_untagged,
)
from .plan import Observed, Step, is_changing, make_plan, refuse_foreign
from .recipe import Recipe
from .record import Record, read_record, slug_of, write_record
from .registry import Destination, has_manifest, push
from .smoke import check_image, remove_strays, smoke_label

#: What a base takes while it is made: the unpacked tree and the tar file.
BASE_FREE_BYTES = 1 << 30

_CONTEXT_FOLDER_MODE = 0o755


@dataclass(frozen=True)
class Order:
    """One image as the task wants it, and how long each part may take."""

    recipe: Recipe
    checks: tuple[tuple[str, ...], ...]
    destination: Destination | None
    ca_bundle: str
    timeout_seconds: int
    check_seconds: int
    wait_seconds: int

    @property
    def pushed_reference(self) -> str:
        """The image at the registry; empty where none was named."""
        return self.destination.reference(self.recipe.reference) if self.destination else ""


class Workshop:
    """Builds the images of one site on one engine.

    Uses of its collaborators: ``engine`` for all that has an API, ``run`` for mmdebstrap and the docker CLI.
    """

    def __init__(self, directory: str, *, engine: Engine, run: Run) -> None:
        self.directory = directory
        self.engine = engine
        self._run = run

    def observe(self, order: Order) -> Observed:
        """Look, with one GET where the image is there, and one HEAD where a registry is named."""
        recipe = order.recipe
        image = find_image(self.engine, recipe.reference)
        base = find_image(self.engine, recipe.base.reference) if image is None else None
        is_pushed = None
        if order.destination is not None:
            is_pushed = has_manifest(order.destination, recipe.reference, run=self._run)
        return Observed(image, base, read_record(self.directory, recipe.name), is_pushed)

    def find(self, order: Order) -> Image | None:
        """Return the image that ``order`` is for."""
        return find_image(self.engine, order.recipe.reference)

    def apply(self, order: Order) -> tuple[Step, ...]:
        """Carry out what is to be done, under the image's lock; return it.

        Looks again once the lock is held: whoever had it may have done the work.
        """
        recipe = order.recipe
        with self.lock(recipe.name, purpose=f"build image {recipe.name}", wait_seconds=order.wait_seconds) as lock:
            plan = make_plan(recipe, self.observe(order), pushed_reference=order.pushed_reference)
            if not is_changing(plan):
                return plan
            self._sweep(recipe.name)
            actions = {(step.action, step.image) for step in plan}
            if ("build", recipe.reference) in actions:
                self._ensure_base(order)
                self._build(order, lock)
            if order.destination and ("push", order.pushed_reference) in actions:
                push(
                    self.engine, order.destination, recipe.reference,
                    run=self._run, timeout_seconds=order.timeout_seconds, lock=lock,
                )  # fmt: skip
            # Last: a run that is killed before it shows the work as not done.
            self._record(recipe)
        return plan

    @contextlib.contextmanager
    def lock(self, name: str, *, purpose: str, wait_seconds: int) -> Iterator[int]:
        """Hold the lock of one image name; yield its descriptor, for the programs that work under it."""
        site = Site(self.directory)
        site.mark()
        with site.hold(f"image-{slug_of(name)}", purpose=purpose, wait_seconds=wait_seconds) as descriptor:
            yield descriptor

    def _record(self, recipe: Recipe) -> None:
        record = read_record(self.directory, recipe.name)
        if record is None or record.reference != recipe.reference:
            write_record(self.directory, recipe.name, Record(recipe.reference, recipe.inputs))

    def _sweep(self, name: str) -> None:
        """Remove what a killed run of this image left; the lock says that none is running."""
        remove_strays(self.engine, smoke_label(self.directory, name))
        labels = (f"{NAME_LABEL}={name}", f"{DIRECTORY_LABEL}={self.directory}")
        for image in list_images(self.engine, *labels, dangling=True):
            remove_untagged(self.engine, image.id)

    @contextlib.contextmanager
    def _build_folder(self, name: str) -> Iterator[str]:
        """Yield an empty folder for this build; it is gone afterwards. The caller holds the name's lock."""
        # Readable for all: apt fetches as its own user, and nothing in here is secret.
        ensure_directory(f"{self.directory}/build", mode=0o755)
        folder = f"{self.directory}/build/{slug_of(name)}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.mkdir(folder, 0o755)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            # Another image may be built just now; then the parent is not empty, and stays.
            with contextlib.suppress(OSError):
                os.rmdir(f"{self.directory}/build")

    def _ensure_base(self, order: Order) -> None:
        base = order.recipe.base
        purpose = f"build base image {base.reference}"
        with self.lock(BASE_NAME, purpose=purpose, wait_seconds=order.wait_seconds) as lock:
            found = find_image(self.engine, base.reference)
            if found is not None:
                refuse_foreign(found, reference=base.reference, digest=base.digest)
            else:
                with self._build_folder(BASE_NAME) as folder:
                    self._bootstrap(base, folder, timeout_seconds=order.timeout_seconds, lock=lock)

    def _bootstrap(self, base: Base, folder: str, *, timeout_seconds: int, lock: int) -> None:
        refuse_little_space(base, folder, free=free_bytes(folder))
        sources = choose_sources(base, self._index_targets(base))
        tar_path = f"{folder}/base.tar"
        completed = run_bounded(
            self._run, bootstrap_argv(base, sources, tar_path=tar_path),
            timeout_seconds=timeout_seconds, pass_fds=[lock], env={"TMPDIR": folder},
        )  # fmt: skip
        if completed.returncode != 0 or os.path.getsize(tar_path) == 0:
            raise base_failure(base, sources, completed, folder=folder)
        labels = {NAME_LABEL: BASE_NAME, INPUTS_LABEL: base.digest, DIRECTORY_LABEL: self.directory}
        changes = [part for key, value in labels.items() for part in ("--change", f"LABEL {key}={json.dumps(value)}")]
        argv = [*self._docker, "import", *changes, tar_path, base.reference]
        imported = run_bounded(self._run, argv, timeout_seconds=timeout_seconds, pass_fds=[lock])
        if imported.returncode != 0:
            raise build_failure(base.reference, imported, folder=self.directory)

    def _index_targets(self, base: Base) -> Sequence[IndexTarget]:
        if base.mirror:
            return ()
        return parse_index_targets(run_bounded(self._run, INDEX_ARGV, timeout_seconds=60, pass_fds=[]).stdout)

    @property
    def _docker(self) -> list[str]:
        return ["docker", "--host", f"unix://{self.engine.socket_path}"]

    def _build(self, order: Order, lock: int) -> None:
        recipe = order.recipe
        with self._build_folder(recipe.name) as folder:
            _write_context(recipe, f"{folder}/context")
            argv = [*self._docker, *build_arguments(order, self.directory, folder)]
            completed = run_bounded(self._run, argv, timeout_seconds=order.timeout_seconds, pass_fds=[lock])
            if completed.returncode != 0:
                raise build_failure(recipe.name, completed, folder=self.directory)
            with open(f"{folder}/image.id", encoding="ascii") as stream:
                image_id = stream.read().strip()
        try:
            check_image(
                self.engine, image_id, order.checks, name=recipe.name,
                label=smoke_label(self.directory, recipe.name), timeout_seconds=order.check_seconds,
            )  # fmt: skip
            repository, tag = recipe.reference.rsplit(":", 1)
            self.engine.request("POST", f"/images/{image_id}/tag", {"repo": repository, "tag": tag})
        except PlatformError:
            remove_untagged(self.engine, image_id)
            raise

    def remove(self, references: Sequence[str], *, name: str, wait_seconds: int) -> bool:
        """Remove an image by all its ``references`` (tags, or the id of an untagged one); False where one is in use."""
        with self.lock(name, purpose=f"remove image {references[0]}", wait_seconds=wait_seconds):
            return False not in [remove_image(self.engine, reference) for reference in references]


def refuse_little_space(base: Base, folder: str, *, free: int) -> None:
    """Refuse to start a bootstrap that would fill the disk.

    :raises PlatformError: fewer than :data:`BASE_FREE_BYTES` are free.
    """
    if free < BASE_FREE_BYTES:
        raise PlatformError(
            f"Cannot build base image {base.reference}: {folder} has {free >> 20} MiB free, and a base takes up to "
            f"{BASE_FREE_BYTES >> 20} MiB while it is made; free some space."
        )


def build_arguments(order: Order, directory: str, folder: str) -> list[str]:
    """Return what follows ``docker`` to build the context in ``folder``.

    The CA bundle is a build secret: mounted into the steps that ask for it, in no layer. The steps use the host's
    network and so its MTU. The image gets no tag yet; its id goes to ``image.id``.
    """
    recipe = order.recipe
    labels = {
        NAME_LABEL: recipe.name,
        INPUTS_LABEL: recipe.digest,
        BASE_LABEL: recipe.base.reference,
        DIRECTORY_LABEL: directory,
    }
    arguments = [f"BASE={recipe.base.reference}", *(f"{name}={value}" for name, value in recipe.arguments)]
    # By name alone: the value, which may hold a password, comes from the environment.
    arguments += proxy_variables()
    return [
        "buildx", "build", "--builder", "default", "--progress", "plain", "--network", "host",
        *(part for key, value in labels.items() for part in ("--label", f"{key}={value}")),
        *(part for argument in arguments for part in ("--build-arg", argument)),
        *(["--secret", f"id=ca,src={order.ca_bundle}"] if order.ca_bundle else []),
        "--iidfile", f"{folder}/image.id", f"{folder}/context",
    ]  # fmt: skip


def _write_context(recipe: Recipe, folder: str) -> None:
    """Write the very bytes that were digested; what changes in the recipe folder now is not built."""
    try:
        for file in recipe.files:
            path = os.path.join(folder, file.path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(file.read())
            os.chmod(path, file.mode)
        # Whatever the umask is: COPY takes the modes of folders into the image.
        for parent in [entry[0] for entry in os.walk(folder)]:
            os.chmod(parent, _CONTEXT_FOLDER_MODE)
    except OSError as error:
        raise PlatformError(
            f"Cannot build image {recipe.name}: {error.filename or folder} cannot be written ({error.strerror}); "
            "free some space, or correct the folder."
        ) from None
