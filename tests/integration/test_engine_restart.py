# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An engine that is restarted in the middle of an apply: the next run converges. The engine is the test's own."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.fingerprint import differences, litter, take_fingerprint
from support.modules import ModuleResult, run_module
from support.own_engine import OwnEngine
from support.site import Site
from support.traps import Trap, counting, moments_of, paused, pick_moment

PHASES = ("begin", "files", "up", "gate", "remove", "record")
RESTARTS = 4
CASES = [(phase, number) for phase in PHASES for number in range(RESTARTS)]


@pytest.fixture(scope="module")
def own_engine(app_images: dict[str, str]) -> Iterator[OwnEngine]:
    with OwnEngine() as engine:
        engine.load([app_images["v1"], app_images["v2"]])
        yield engine


def params(site: Site, images: dict[str, str], generation: int) -> dict[str, Any]:
    parity = ("even", "odd")[generation % 2]
    app = {"image": images[("v1", "v2")[generation % 2]], "volumes": ["./settings:/etc/settings:ro"]}
    first = {"image": images["v1"], "environment": {"ONE_SHOT": parity}, "x-modelyard": {"one_shot": True}}
    first["healthcheck"] = {"disable": True}
    after = {"first": {"condition": "service_completed_successfully"}}
    services = {"first": first, "app": {**app, "depends_on": after}, f"only-{parity}": {"image": images["v1"]}}
    return {
        "name": site.name("shop"),
        "directory": str(site.directory),
        "layers": [{"services": services}],
        "files": [{"path": "settings", "content": f"{parity}\n"}],
        "pull": "never",
        "wait_seconds": 60,
    }


@dataclass(frozen=True)
class Reference:
    """What an undisturbed site looks like in its second generation, and the moments of each phase of that apply."""

    fingerprint: dict[str, Any]
    moments: dict[str, int]


@pytest.fixture(scope="module")
def reference(own_engine: OwnEngine, app_images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("undisturbed")
    site = new_site(own_engine, folder / "site")
    for generation in (1, 2):
        done = apply(own_engine, params(site, app_images, generation), **counting(folder / "moments"))
        assert not done.failed, done.msg
    found = take_fingerprint(own_engine.client, site, site.name("shop"))
    site.remove()
    return Reference(found, moments_of(folder / "moments"))


def apply(own_engine: OwnEngine, wanted: dict[str, Any], **environment: str) -> ModuleResult:
    return run_module("compose_project", wanted, environment={"DOCKER_HOST": own_engine.docker_host, **environment})


def new_site(own_engine: OwnEngine, directory: Path) -> Site:
    directory.mkdir()
    return Site(own_engine.client, directory)


@pytest.mark.parametrize(
    ("phase", "number"), [pytest.param(*case, marks=[] if case[1] == 0 else [pytest.mark.long]) for case in CASES]
)
def test_the_run_after_a_restart_converges(
    phase: str,
    number: int,
    reference: Reference,
    own_engine: OwnEngine,
    app_images: dict[str, str],
    seed: int,
    tmp_path: Path,
) -> None:
    site = new_site(own_engine, tmp_path / "site")
    first = apply(own_engine, params(site, app_images, 1))
    assert not first.failed, first.msg

    chance = random.Random(f"{seed} {phase} {number}")
    trap = Trap(phase, pick_moment(chance, reference.moments[phase]), "pause", tmp_path / "sprang")
    how = chance.choice([signal.SIGTERM, signal.SIGKILL])
    is_back_first = chance.random() < 0.5
    wanted = params(site, app_images, 2)
    with paused(wanted, trap, {"DOCKER_HOST": own_engine.docker_host}) as held:
        context = f"{how.name} at moment {trap.moment} of {phase} ({trap.place()}), {is_back_first=}, seed {seed}"
        own_engine.end(how)
        if not is_back_first:
            trap.marker.unlink()
        own_engine.start()
    result = held.answer()
    assert result.values, f"{context}: {result.stderr}"
    after = apply(own_engine, wanted)

    assert not after.failed, f"{context}: {after.msg}"
    found = take_fingerprint(own_engine.client, site, site.name("shop"))
    assert differences(reference.fingerprint, found) == [], f"{context}; it had said {result.msg!r}"
    assert litter(own_engine.client, site, site.name("shop")) == [], context
    check = run_module("compose_project", wanted, check=True, environment={"DOCKER_HOST": own_engine.docker_host})
    assert (check.changed, check.msg) == (False, ""), context
    site.remove()
