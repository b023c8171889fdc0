# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which options belong to which engine; what an engine lacks is refused by name before anything is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import PlatformError


@dataclass(frozen=True)
class EngineOptions:
    """The options of one engine alone, by when it needs them."""

    always: tuple[str, ...]
    for_users: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    has_users: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.always, *self.for_users, *self.optional)


ENGINES: Mapping[str, EngineOptions] = {
    "rclone": EngineOptions(("project", "service"), ("keys_directory", "owner_uid"), has_users=True),
    "external": EngineOptions(("endpoint", "access_key_id", "secret_access_key"), optional=("region", "ca_bundle")),
}


def refuse_what_the_engine_lacks(params: Mapping[str, Any]) -> None:
    """Refuse users where the engine has none, options of other engines, and a missing option of this one.

    :raises PlatformError: names the option.
    """
    engine = params["engine"]
    own = ENGINES[engine]
    if params["users"] and not own.has_users:
        raise _refused(
            engine,
            "'users' are given, which the S3 API has no call for",
            "make them with the provider's own tools, and take 'users' out",
        )
    for other, options in ENGINES.items():
        foreign = next((name for name in options.all if other != engine and params.get(name) is not None), None)
        if foreign:
            raise _refused(engine, f"'{foreign}' is given, an option of engine '{other}'", "take it out")
    needed = (*own.always, *(own.for_users if params["users"] else ()))
    missing = next((name for name in needed if params.get(name) is None), None)
    if missing:
        raise _refused(engine, f"'{missing}' is not given", "give it")


def _refused(engine: str, finding: str, advice: str) -> PlatformError:
    return PlatformError(f"Cannot use engine '{engine}': {finding}; {advice}.")
