# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stores and declarations that several tests of secrets start from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.modelyard.platform.plugins.module_utils._secrets.carry_out import carry_out
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.declaration import (
    Declaration,
    parse_declarations,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.plan import Step, plan_secrets
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import Secret, SecretStore, Version

NOW = 1_790_000_000
DAY = 24 * 3600


def make_version(value: str = "abcdefghijklmnopqrst", **changes: Any) -> Version:
    fields: dict[str, Any] = {
        "main": "value",
        "secret": {"value": value},
        "public": {},
        "origin": "generated",
        "options": {"length": 20},
        "created": NOW,
        **changes,
    }
    return Version(**fields)


def make_secret(*versions: Version, kind: str = "password", current: int | None = None) -> Secret:
    kept = dict(enumerate(versions or (make_version(),), start=1))
    return Secret(kind, current or max(kept), kept)


def make_store(path: str = "/etc/modelyard/secrets.json", **secrets: Secret) -> SecretStore:
    return SecretStore(path, secrets)


def private_folder(tmp_path: Path) -> Path:
    """Return a folder that the store accepts."""
    folder = tmp_path / "etc"
    folder.mkdir(mode=0o700)
    os.chmod(folder, 0o700)
    return folder


def declare(*entries: dict[str, Any]) -> dict[str, Declaration]:
    return parse_declarations(entries)


def keep(
    store: SecretStore, *entries: dict[str, Any], rotate: tuple[str, ...] = (), now: int = NOW
) -> tuple[SecretStore, tuple[Step, ...]]:
    """Return the store as a run with these declarations leaves it, and the plan."""
    steps = plan_secrets(declare(*entries), store, rotate=rotate, now=now)
    return carry_out(steps, store, now=now), steps
