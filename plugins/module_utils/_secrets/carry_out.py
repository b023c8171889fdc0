# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan: the store with the new versions in it. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterable

from .declaration import Declaration
from .kinds import KINDS
from .making import Ingredients, Material, adopt, make
from .plan import Step
from .store import Secret, SecretStore, Version


def carry_out(steps: Iterable[Step], store: SecretStore, *, now: int) -> SecretStore:
    """Return the store as the plan wants it; every version that was there still is.

    :raises PlatformError: the host lacks what a kind is made with; names the package.
    """
    removed = []
    for step in steps:
        if step.action == "remove":
            removed.append(step.declaration.name)
        elif step.changes:
            store = _with_step(step, store, now)
    return store.without_secrets(removed) if removed else store


def _with_step(step: Step, store: SecretStore, now: int) -> SecretStore:
    declaration = step.declaration
    source = store.version(declaration.source) if declaration.source else None
    material = _make(declaration, source, now)
    version = Version(
        main=material.main,
        secret=material.secret,
        public=material.public,
        origin=_origin(declaration),
        # A given value has no length of its own choosing, so none is recorded.
        options={} if declaration.value is not None else declaration.all_options,
        created=now,
        expires=material.expires,
        source_version=store.current_version(declaration.source) if declaration.source else None,
    )
    before = store.secrets.get(declaration.name, Secret(declaration.kind, 0, {}))
    return store.with_secret(declaration.name, before.with_version(step.version, version, kind=declaration.kind))


def _make(declaration: Declaration, source: Version | None, now: int) -> Material:
    if declaration.value is not None:
        return adopt(declaration.kind, declaration.value)
    return make(declaration.kind, Ingredients(options=declaration.all_options, now=now, source=source))


def _origin(declaration: Declaration) -> str:
    if declaration.value is not None:
        return "given"
    return "derived" if KINDS[declaration.kind].is_derived else "generated"
