# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Engines: kinds of inference servers, described as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .reading import Reader

_KEYS = (
    "cpu", "gpu", "proof", "user", "command", "environment", "tmpfs", "shm_size", "port", "model", "ready", "warm_up",
    "loads_when_called",
)  # fmt: skip
_VARIANT_KEYS = ("image", "recipe", "command", "environment")
_PROOF_KEYS = ("environment", "guard")
#: ``registered``: of MLflow's registry, by its name there; it brings files and image.
Model = Literal["needed", "optional", "none", "registered"]


@dataclass(frozen=True)
class Variant:
    """What an engine is on a CPU or on GPUs: an image of a registry, or the name of a recipe, and what differs."""

    image: str
    recipe: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Engine:
    """A kind of inference server. ``cpu`` and ``gpu`` are None where it does not run on such.

    ``guard`` and ``proof_environment`` make a container end that was to use a GPU and does not. ``parts``: the names
    that the files of a model must have, where its program tells them apart. ``loads_when_called``: it is ready without
    its model, which the warm-up loads.
    """

    name: str
    cpu: Variant | None
    gpu: Variant | None
    guard: str
    proof_environment: Mapping[str, str]
    user: str
    tmpfs: tuple[str, ...]
    shm_size: str
    port: int
    model: Model
    parts: bool
    kinds: tuple[str, ...]
    ready: Mapping[str, Any]
    warm_up: Mapping[str, Any]
    loads_when_called: bool


def parse_engine(name: str, found: Mapping[str, Any]) -> Engine:
    """Return the engine that data describes.

    :raises PlatformError: it is not of that form.
    """
    reader = Reader(found, f"Cannot use engine {name!r}")
    reader.only(_KEYS)
    proof = Reader(reader.mapping("proof"), reader.doing)
    proof.only(_PROOF_KEYS)
    model = Reader(reader.mapping("model"), reader.doing)
    model.only(("files", "parts", "kinds"))
    files = model.text("files", "needed")
    if files not in ("needed", "optional", "none", "registered"):
        raise reader.wrong(f"model.files is {files!r}", "give 'needed', 'optional', 'none' or 'registered'")
    return Engine(
        name=name,
        cpu=_parse_variant(reader, "cpu"),
        gpu=_parse_variant(reader, "gpu"),
        guard=proof.text("guard"),
        proof_environment=texts_of(proof.mapping("environment")),
        user=reader.text("user", "10020:10020"),
        tmpfs=reader.texts("tmpfs"),
        shm_size=reader.text("shm_size"),
        port=int(reader.number("port", 8080, least=1, most=65535)),
        model=files,  # type: ignore[arg-type]
        parts=model.truth("parts", False),
        kinds=model.texts("kinds"),
        ready=reader.mapping("ready"),
        warm_up=reader.mapping("warm_up"),
        loads_when_called=reader.truth("loads_when_called", False),
    )


def _parse_variant(engine: Reader, key: str) -> Variant | None:
    if key not in engine.found or engine.found[key] is None:
        return None
    reader = Reader(engine.mapping(key), f"{engine.doing}, variant {key!r}")
    reader.only(_VARIANT_KEYS)
    command: Sequence[str] = reader.texts("command") or engine.texts("command")
    environment = {**texts_of(engine.mapping("environment")), **texts_of(reader.mapping("environment"))}
    return Variant(reader.text("image"), reader.text("recipe"), tuple(command), environment)


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return an environment as programs get it."""
    return {str(key): str(value) for key, value in values.items()}
