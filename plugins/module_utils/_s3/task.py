# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of the module: parse, observe, plan, apply."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .._compose.engine import Engine, socket_path_of
from .._compose.secret_source import SecretSource
from .._compose.site import Site
from .._errors import PlatformError
from .._secrets.references import find_references, resolve
from .declaration import Declared, parse_declared
from .engine_options import refuse_what_the_engine_lacks
from .key_file import Places
from .plan import Custody, Observed, Plan, describe_after, describe_before, make_plan
from .rclone_store import RcloneStore

DEFAULT_REGION = "us-east-1"


class Store(Protocol):
    """What there is one of per engine."""

    def observe(self, declared: Declared, *, wait_seconds: float, may_be_absent: bool) -> Observed: ...

    def apply(self, plan: Plan, declared: Declared) -> None: ...

    def gate(self, declared: Declared, *, wait_seconds: float) -> None: ...


@dataclass(frozen=True)
class Task:
    """One run on one store; ``name`` is what its lock is called by."""

    name: str
    store: Store
    declared: Declared
    custody: Custody | None
    site: Site
    wait_seconds: float

    def carry_out(self, *, check_mode: bool) -> dict[str, Any]:
        """Return the module's result; in check mode the same one, and nothing is touched."""
        observed, plan = self._look(may_be_absent=check_mode)
        if plan.steps and not check_mode:
            purpose = f"change the store of {self.name}"
            with self.site.hold(f"s3-{self.name}", purpose=purpose, wait_seconds=self.wait_seconds):
                # Another run may have come first.
                observed, plan = self._look(may_be_absent=False)
                self.store.apply(plan, self.declared)
        if not check_mode:
            self.store.gate(self.declared, wait_seconds=self.wait_seconds)
        return {
            "changed": bool(plan.steps),
            "plan": [step.as_result() for step in plan.steps],
            "unmanaged": list(plan.unmanaged),
            "diff": {
                "before": describe_before(self.declared, observed, self.custody),
                "after": describe_after(self.declared, observed, self.custody),
            },
        }

    def _look(self, *, may_be_absent: bool) -> tuple[Observed, Plan]:
        observed = self.store.observe(self.declared, wait_seconds=self.wait_seconds, may_be_absent=may_be_absent)
        return observed, make_plan(self.declared, observed, self.custody)


def run_task(params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Return the module's result.

    :raises PlatformError: nothing, or not all, was done; the text says why and holds no secret.
    """
    refuse_what_the_engine_lacks(params)
    # In check mode a secret may be one that an earlier task would make.
    source = SecretSource(params["secret_store"], may_lack=check_mode)
    with source.masked_errors():
        declared = parse_declared(
            params["buckets"],
            params["users"],
            resolve=lambda text: resolve(text, source.lookup),
            is_pending=lambda text: any(reference.name in source.lacking() for reference in find_references(text)),
        )
        task = (_external_task if params["engine"] == "external" else _rclone_task)(params, declared, source)
        return task.carry_out(check_mode=check_mode)


def _rclone_task(params: Mapping[str, Any], declared: Declared, source: SecretSource) -> Task:
    del source  # the store's keys are all among what is declared
    site = Site(os.path.normpath(params["directory"]))
    site.check_version(program="the module s3_objects", exactly=False)
    places = Places(params["data_path"], params["read_only_path"], params["keys_path"])
    custody = Custody(places, params["owner_uid"]) if declared.users else None
    store = RcloneStore(
        Engine(socket_path_of(os.environ)),
        project=params["project"],
        service=params["service"],
        places=places,
        keys_directory=os.path.normpath(params["keys_directory"]) if params["keys_directory"] else None,
        custody=custody,
        port=params["port"],
    )
    return Task(f"{params['project']}-{params['service']}", store, declared, custody, site, params["wait_seconds"])


def _external_task(params: Mapping[str, Any], declared: Declared, source: SecretSource) -> Task:
    from .external import Endpoint, connect

    key_id, secret = (resolve(params[name], source.lookup) for name in ("access_key_id", "secret_access_key"))
    if source.lacking():
        raise PlatformError(
            f"Cannot ask the store at {params['endpoint']}: secret '{source.lacking()[0]}' is not made yet; "
            "make it first."
        )
    endpoint = Endpoint(
        params["endpoint"].rstrip("/"), params["region"] or DEFAULT_REGION, key_id, secret, params["ca_bundle"]
    )
    site = Site(os.path.normpath(params["directory"]))
    name = "external-" + re.sub("[^A-Za-z0-9.]", "-", endpoint.url)
    return Task(name, connect(endpoint), declared, None, site, params["wait_seconds"])
