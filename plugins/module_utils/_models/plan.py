# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run would do about models, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .declaration import Model, ModelFile
from .folder import Checked

Action = Literal["fetch", "compare", "link", "mirror"]


@dataclass(frozen=True)
class Observed:
    """What is there: checksum to stamp of its file, what is known of it, and the models that are laid out."""

    stamps: Mapping[str, Checked]
    checked: Mapping[str, Checked]
    linked: frozenset[str]


@dataclass(frozen=True)
class Step:
    """One thing to do. ``file`` is None where it is about a model as a whole."""

    action: Action
    model: Model
    file: ModelFile | None
    reason: str

    def as_result(self) -> dict[str, str]:
        """Return the step as the module tells it."""
        return {
            "action": self.action,
            "model": self.model.name,
            "file": self.file.path if self.file else "",
            "reason": self.reason,
        }


def make_plan(models: Sequence[Model], observed: Observed, *, mirror: str, compare_all: bool) -> list[Step]:
    """Return what is to be done, in order; nothing where every model is as declared.

    :param mirror: name of the mirror; empty without one.
    """
    files = {file.sha256: (model, file) for model in reversed(models) for file in reversed(model.files)}
    steps = []
    for sha256, (model, file) in reversed(files.items()):
        stamp, known = observed.stamps.get(sha256), observed.checked.get(sha256)
        if stamp is None:
            steps.append(Step("fetch", model, file, "it is not there"))
        elif known is None or (known.size_bytes, known.mtime_ns) != (stamp.size_bytes, stamp.mtime_ns):
            steps.append(Step("compare", model, file, "it was written since it was compared"))
        elif compare_all:
            steps.append(Step("compare", model, file, "every content is to be compared"))
    steps += [Step("link", model, None, "it is not laid out") for model in models if model.name not in observed.linked]
    if mirror:
        steps += [
            Step("mirror", model, file, "the mirror has it not, as far as is known")
            for sha256, (model, file) in reversed(files.items())
            if (known := observed.checked.get(sha256)) is None or known.mirror != mirror
        ]
    return steps


def is_changing(steps: Sequence[Step]) -> bool:
    """Whether steps change anything but what is known."""
    return any(step.action != "compare" for step in steps)


def describe(models: Sequence[Model], there: Mapping[str, Checked]) -> str:
    """Return a line per file of the declared models that is there, as diff shows it."""
    return "".join(
        f"{model.name}/{file.path} sha256:{file.sha256}\n"
        for model in models
        for file in model.files
        if file.sha256 in there
    )
