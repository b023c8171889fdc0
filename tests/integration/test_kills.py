# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Killed at any moment of any phase, the next run ends where an undisturbed one would have.

Two sites get the same generations of the same project. One of them is killed in every phase, once by `make test`,
four times by `make test-long`, half of the kills with the module's children. The seed is in the tests' header.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import docker
import pytest
from docker.models.containers import Container
from support.fingerprint import differences, litter, take_fingerprint
from support.hostile import HostileProject, expected_rows
from support.modules import ModuleResult, run_module, start_module
from support.site import Site
from support.traefik import Traefik
from support.traps import PHASES, ROLLBACK, Action, Trap, counting, pick_moment

KILLS = 4
CASES = [(phase, number) for phase in (*PHASES, *ROLLBACK) for number in range(KILLS)]


@dataclass
class Reference:
    """What the undisturbed site looks like in even and in odd generations, and the moments of each phase."""

    fingerprints: dict[int, dict[str, Any]] = field(default_factory=dict)
    moments: dict[str, int] = field(default_factory=dict)


@dataclass
class Disturbed:
    """The site that is killed, and the generation that it is in."""

    project: HostileProject
    generation: int = 1


@pytest.fixture(scope="module")
def images(app_images: dict[str, str], base_image: str, postgres_image: str) -> dict[str, str]:
    return {**app_images, "base": base_image, "postgres": postgres_image}


@pytest.fixture(scope="module")
def reference(
    engine: docker.DockerClient, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Reference:
    """Return what the first generations of an undisturbed site, and a failed one, look like."""
    found = Reference()
    folder = tmp_path_factory.mktemp("undisturbed")
    with project_on_a_site(engine, images, folder) as project:
        for generation in (2, 3):
            project.disturb()
            good(apply(project, generation, counting(folder / "moments")))
            found.fingerprints[generation % 2] = fingerprint(project)
            found.moments |= {name: n for name, n in moments(folder / "moments").items() if n}
        project.disturb()
        failed = apply(project, 4, counting(folder / "moments"), broken=True)
        assert "Release 3 serves again" in failed.msg, failed.msg
        assert project.rows() == expected_rows(range(1, 4))
        found.moments["rollback"] = moments(folder / "moments")["rollback"]
    return found


@pytest.fixture(scope="module")
def disturbed(
    engine: docker.DockerClient, images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Disturbed]:
    with project_on_a_site(engine, images, tmp_path_factory.mktemp("disturbed")) as project:
        yield Disturbed(project)


@contextmanager
def project_on_a_site(engine: docker.DockerClient, images: dict[str, str], folder: Path) -> Iterator[HostileProject]:
    """Yield the project in its first generation on a site of its own."""
    (folder / "site").mkdir()
    site = Site(engine, folder / "site")
    try:
        traefik = Traefik(engine, site, images["base"])
        project = HostileProject(engine, site, traefik, images)
        project.prepare()
        good(apply(project, 1))
        traefik.join(engine, site.name("shared"))
        yield project
    finally:
        site.remove()


def apply(
    project: HostileProject, generation: int, environment: dict[str, str] | None = None, *, broken: bool = False
) -> ModuleResult:
    return run_module("compose_project", project.params(generation, broken=broken), environment=environment)


def good(result: ModuleResult) -> None:
    assert not result.failed, result.msg
    assert result.rc == 0, result.stderr


def moments(report: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads(report.read_text(encoding="utf-8"))
    return found


def fingerprint(project: HostileProject) -> dict[str, Any]:
    return take_fingerprint(project.engine, project.site, project.name)


def test_every_phase_has_moments(reference: Reference) -> None:
    assert reference.moments.keys() == {*PHASES, *ROLLBACK}


@pytest.mark.parametrize(
    ("phase", "number"),
    [pytest.param(*case, marks=[] if case[1] == 0 else [pytest.mark.long]) for case in CASES],
)
def test_the_run_after_a_kill_converges(
    phase: str, number: int, reference: Reference, disturbed: Disturbed, seed: int, tmp_path: Path
) -> None:
    project, generation = disturbed.project, disturbed.generation + 1
    chance = random.Random(f"{seed} {phase} {number}")
    # Half of the kills of a phase; and of the first kills of the phases, which are the ones of `make test`.
    action: Action = get_args(Action)[(number + [*PHASES, *ROLLBACK].index(phase)) % 2]
    trap = Trap(phase, pick_moment(chance, reference.moments[phase]), action, tmp_path / "sprang")
    project.disturb()

    params = project.params(generation, broken=phase in ROLLBACK)
    killed = start_module("compose_project", params, environment=trap.environment()).wait()
    context = f"{action} at moment {trap.moment} of {phase} ({trap.place()}), seed {seed}"
    assert killed.rc == -9, f"{context}: it was not killed: {killed}"
    disturbed.generation = generation
    after = apply(project, generation)

    assert not after.failed, f"{context}: {after.msg}"
    assert after.rc == 0, f"{context}: {after.stderr}"
    assert project.rows() == expected_rows(range(1, generation + 1)), context
    assert differences(reference.fingerprints[generation % 2], fingerprint(project)) == [], context
    assert litter(project.engine, project.site, project.name) == [], context
    check = run_module("compose_project", project.params(generation), check=True)
    assert (check.changed, check.values.get("plan")) == (False, []), f"{context}: {check}"


def test_what_was_made_and_never_started_is_made_again(reference: Reference, disturbed: Disturbed) -> None:
    """Between making a container and starting it Compose stops the old one: up to ten seconds in which a kill hits."""
    project, generation = disturbed.project, disturbed.generation + 1
    disturbed.generation = generation
    old = project.container("built").attrs
    good(apply(project, generation))
    made = project.container("built")

    made.remove(force=True)
    name = old["Name"].lstrip("/")
    copy_container(project.engine, old, name).start()
    copy_container(project.engine, made.attrs, f"{old['Id'][:12]}_{name}")
    after = apply(project, generation)

    assert not after.failed, after.msg
    assert differences(reference.fingerprints[generation % 2], fingerprint(project)) == []
    assert litter(project.engine, project.site, project.name) == []


def copy_container(engine: docker.DockerClient, attributes: dict[str, Any], name: str) -> Container:
    """Make a container like another one, of the same image whatever its tag means by now."""
    config = {**attributes["Config"], "Image": attributes["Image"], "HostConfig": attributes["HostConfig"]}
    return engine.containers.get(engine.api.create_container_from_config(config, name)["Id"])
