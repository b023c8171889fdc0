# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module: observe, plan, apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._compose.site import Site
from .._errors import PlatformError
from .._files import telling
from .declaration import Model, ModelFile
from .fetch import Source, fetch, sources_of
from .folder import Checked, Folder, digest_of, forget, stamp_of
from .http import SourceError
from .mirror import Mirror
from .plan import Observed, Step, describe, is_changing, make_plan


@dataclass(frozen=True)
class MirrorPlace:
    """A mirror that is asked only when there is something to do: ``connect`` finds it."""

    bucket: str
    connect: Callable[[], Mirror]


@dataclass
class Task:
    """Models of a host, as they are to be."""

    site: Site
    models: Sequence[Model]
    mirror: MirrorPlace | None
    compare_all: bool
    timeout_seconds: float
    wait_seconds: float
    warnings: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Folder:
        return Folder(f"{self.site.directory}/models")

    def carry_out(self, *, check_mode: bool) -> dict[str, Any]:
        """Return the module's result; in check mode the same one, and nothing is touched.

        :raises PlatformError: a model cannot be had. Files that came before stay.
        """
        observed = self._observe()
        steps = self._plan(observed)
        if steps and not check_mode:
            steps = self._apply()
        declared = {file.sha256 for model in self.models for file in model.files}
        return {
            "changed": is_changing(steps),
            "models": {model.name: {"path": self.folder.tree(model)} for model in self.models},
            "plan": [step.as_result() for step in steps],
            "unused": [sha256 for sha256 in self.folder.blobs() if sha256 not in declared],
            "warnings": self.warnings,
            "diff": {
                "before": describe(self.models, observed.stamps),
                "after": describe(self.models, dict.fromkeys(declared, Checked(0, 0))),
            },
        }

    def _observe(self) -> Observed:
        with telling("look at the models"):
            declared = {file.sha256 for model in self.models for file in model.files}
            stamps = {sha256: stamp_of(self.folder.blob(sha256)) for sha256 in declared}
            linked = frozenset(model.name for model in self.models if self.folder.is_linked(model))
        found = {sha256: stamp for sha256, stamp in stamps.items() if stamp is not None}
        return Observed(found, self.folder.read_checked(), linked)

    def _plan(self, observed: Observed) -> list[Step]:
        mirror = self.mirror.bucket if self.mirror else ""
        return make_plan(self.models, observed, mirror=mirror, compare_all=self.compare_all)

    def _apply(self) -> list[Step]:
        """Do what is left when nobody else is at it; return what was done."""
        with self.site.hold(".models", purpose="fetch models", wait_seconds=self.wait_seconds):
            self.folder.prepare()
            steps = self._plan(self._observe())
            mirror = self._connect()
            done: list[Step] = []
            for step in steps:
                done += self._have(step, mirror)
            done += self._lay_out()
            for step in steps:
                done += self._fill(step, mirror)
        return done

    def _connect(self) -> Mirror | None:
        try:
            return self.mirror.connect() if self.mirror else None
        except PlatformError as error:
            self.warnings.append(f"Cannot use the mirror of models: {error}")
            return None

    def _have(self, step: Step, mirror: Mirror | None) -> list[Step]:
        """Fetch or compare a file; return what was done."""
        if step.file is None or step.action not in ("fetch", "compare"):
            return []
        if step.action == "fetch":
            self._fetch(step.model, step.file, mirror)
            return [step]
        path = self.folder.blob(step.file.sha256)
        with telling(f"compare {step.file.path!r} of model {step.model.name!r}"):
            if digest_of(path) == step.file.sha256:
                self._note(step.file.sha256)
                return [step]
            forget([path])
        self._fetch(step.model, step.file, mirror)
        return [step, Step("fetch", step.model, step.file, "its content was damaged")]

    def _fetch(self, model: Model, file: ModelFile, mirror: Mirror | None) -> None:
        sources: list[Source] = [mirror] if mirror else []
        sources += sources_of(file, timeout_seconds=self.timeout_seconds)
        came_from = fetch(self.folder, model.name, file, sources)
        self._note(file.sha256, mirror=mirror.bucket if mirror and came_from == mirror.name else None)

    def _lay_out(self) -> list[Step]:
        """Link what is not linked; one that came anew is linked anew in all models that have it."""
        missing = [model for model in self.models if not self.folder.is_linked(model)]
        for model in missing:
            self.folder.link(model)
        return [Step("link", model, None, "it is not laid out") for model in missing]

    def _fill(self, step: Step, mirror: Mirror | None) -> list[Step]:
        """Give the mirror a file; a model that is there serves without it."""
        if step.file is None or step.action != "mirror" or mirror is None:
            return []
        try:
            is_new = not mirror.has(step.file.sha256)
            if is_new:
                mirror.put(step.file.sha256, self.folder.blob(step.file.sha256))
        except SourceError as error:
            self.warnings.append(
                f"Cannot mirror {step.file.path!r} of model {step.model.name!r}: {mirror.name} {error}; the next run "
                "tries again."
            )
            return []
        self._note(step.file.sha256, mirror=mirror.bucket)
        return [step] if is_new else []

    def _note(self, sha256: str, mirror: str | None = None) -> None:
        """Keep that a file's content is what its name says."""
        stamp = stamp_of(self.folder.blob(sha256))
        if stamp is None:
            raise PlatformError(f"Cannot keep {self.folder.blob(sha256)}: somebody has removed it; run again.")
        checked = self.folder.read_checked()
        known = checked.get(sha256)
        before = known.mirror if known else ""
        checked[sha256] = Checked(stamp.size_bytes, stamp.mtime_ns, before if mirror is None else mirror)
        self.folder.write_checked(checked)
