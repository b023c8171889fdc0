# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a model of MLflow's registry is named, and what it is where its files were looked at. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError

_URI = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[A-Za-z][\w-]*)|/(?P<number>[1-9][0-9]*))")
#: It names a folder.
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True)
class ModelUri:
    """``models:/NAME@ALIAS`` or ``models:/NAME/NUMBER``; of alias and number one is empty."""

    name: str
    alias: str = ""
    number: str = ""

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}" if self.alias else f"models:/{self.name}/{self.number}"


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry, which never changes.

    ``source`` tells it from one of the same number in a registry that was made anew.
    """

    name: str
    number: str
    source: str

    @property
    def key(self) -> str:
        """Return what its folder is called: the same on every host, and known before a file is fetched."""
        digest = hashlib.sha256("\0".join((self.name, self.number, self.source)).encode()).hexdigest()
        return f"{self.number}-{digest[:16]}"


@dataclass(frozen=True)
class RegisteredModel:
    """A model that a service is to have; ``python``: what it runs on, where that is not what it says itself."""

    service: str
    uri: ModelUri
    python: str = ""


def parse_model_uri(text: str, service: str) -> ModelUri:
    """Return what a service's model is.

    :raises PlatformError: it has another form; the stages of old registries are refused too.
    """
    found = _URI.fullmatch(text)
    if found is None:
        raise PlatformError(
            f"Cannot serve {text!r} as {service!r}: it names no model of the registry; write models:/NAME@ALIAS, or "
            "models:/NAME/NUMBER for one version for ever."
        )
    return ModelUri(found["name"], found["alias"] or "", found["number"] or "")


def parse_version(answer: Mapping[str, Any], uri: ModelUri) -> ModelVersion:
    """Return the version in an answer of the registry.

    :raises PlatformError: it is not ready, or the answer has another form.
    """
    found = answer.get("model_version")
    if not isinstance(found, Mapping) or not all(isinstance(found.get(key), str) for key in ("name", "version")):
        raise PlatformError(f"Cannot look up {uri}: the registry answers without a version; is it MLflow 3?")
    if not _NUMBER.fullmatch(found["version"]):
        raise PlatformError(
            f"Cannot look up {uri}: the registry answers with version {found['version']!r:.60}, which is no number; is "
            "it MLflow 3?"
        )
    if found.get("status", "READY") != "READY":
        raise PlatformError(
            f"Cannot serve {uri}: version {found['version']} is {found['status']}"
            f"{_because(found.get('status_message'))}; register it anew, or move the alias back."
        )
    return ModelVersion(found["name"], found["version"], str(found.get("source", "")))


def _because(message: object) -> str:
    return f" ({message})" if message else ""
