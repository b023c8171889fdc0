# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An apply that ends by an error nobody foresaw is written down and told, without the error's text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.apply import ApplyError, apply
from ansible_collections.modelyard.platform.plugins.module_utils._compose.cli import ComposeCli
from ansible_collections.modelyard.platform.plugins.module_utils._compose.desired import Target
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._compose.job import Settings
from ansible_collections.modelyard.platform.plugins.module_utils._compose.observe import Observed
from ansible_collections.modelyard.platform.plugins.module_utils._compose.opening import project_lock
from ansible_collections.modelyard.platform.plugins.module_utils._compose.plan import NOTHING_RECORDED, Plan
from ansible_collections.modelyard.platform.plugins.module_utils._compose.prepare import Host, Prepared
from ansible_collections.modelyard.platform.plugins.module_utils._compose.project_files import FileChanges
from ansible_collections.modelyard.platform.plugins.module_utils._compose.release import Progress, ReleaseStore
from ansible_collections.modelyard.platform.plugins.module_utils._compose.secret_source import SecretSource
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._compose.surroundings import NOTHING_AROUND
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._run import run_program
from support.compose_cases import make_desired


def broken(site: Site) -> tuple[Host, Prepared]:
    """Return a plan without the step of a service whose name is a secret: looking for it raises KeyError."""
    services = make_desired(
        {
            "services": {
                "db": {"image": "db:1"},
                "hunter2": {"image": "app:1", "x-modelyard": {"migrates": {"database": "app", "service": "db"}}},
            }
        }
    )
    target = Target(name="shop", folder=site.project_folder("shop"), model={}, services=services)
    source = SecretSource(f"{site.directory}/secrets.json")
    compose = ComposeCli("/none", "shop", target.folder)
    prepared = Prepared(
        target=target,
        plan=Plan({}),
        observed=Observed((), {}),
        recorded=NOTHING_RECORDED,
        previous=None,
        files=FileChanges(),
        surroundings=NOTHING_AROUND,
        progress=Progress(),
        secrets=source,
    )
    return Host(site, Engine(f"{site.directory}/engine.sock"), compose, source), prepared


SETTINGS = Settings(wait_seconds=1, pull="never", on_failure="keep", keep_releases=5, lock=-1, run=run_program)
BUG = (
    r"unforeseen KeyError at [^ ]+:\d+( > [^ ]+:\d+)*; this is a bug of modelyard\.platform, report it with these "
    r"places \(the text of the error is left out, it may hold a secret\)\."
)


def test_what_nobody_foresaw_is_recorded_and_told_without_its_text(tmp_path: Path) -> None:
    site = Site(str(tmp_path))
    site.prepare("shop", b"key")
    host, prepared = broken(site)
    with pytest.raises(ApplyError) as caught:
        apply(host, prepared, SETTINGS)
    state = r"\nThere is no earlier release to go back to; its containers are left as they are for a look\."
    assert re.fullmatch(f"Cannot apply project 'shop': {BUG}{state}", str(caught.value))
    release = ReleaseStore(site, "shop").load(1)
    assert release.result == "failed"
    assert re.fullmatch(BUG, release.cause or "")


def test_what_nobody_foresaw_on_the_way_back_does_not_hide_the_first_failure(tmp_path: Path) -> None:
    site = Site(str(tmp_path))
    site.prepare("shop", b"key")
    host, prepared = broken(site)
    ReleaseStore(site, "shop").save_progress(Progress(current=7))

    class BrokenEngine(Engine):
        def wait_alive(self, *, timeout_seconds: float) -> bool:
            raise KeyError("hunter2", timeout_seconds)

    host = replace(host, engine=BrokenEngine("/none"))
    with pytest.raises(ApplyError) as caught:
        apply(host, prepared, replace(SETTINGS, on_failure="rollback"))
    text = f"Cannot apply project 'shop': {BUG}\nGoing back to release 7 failed too: {BUG}"
    assert re.fullmatch(text, str(caught.value))


def test_a_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(PlatformError) as caught,
        project_lock(
            Site(f"/proc/{tmp_path.name}"), "shop", purpose="apply project 'shop'", wait_seconds=1, makes_nothing=False
        ),
    ):
        pass
    assert str(caught.value) == (
        f"Cannot apply project 'shop': No such file or directory at /proc/{tmp_path.name}; make room there, or "
        "correct its rights."
    )
