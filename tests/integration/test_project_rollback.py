# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A new version that does not come up: the task fails with the cause, and the old release serves as before."""

from __future__ import annotations

import re
from typing import Any

import docker
import pytest
from support.applied import AppliedProject, sleeper
from support.site import Site

LOG = "starting version v3\ncannot read the schema: column 'colour' is missing\ngiving up"


def definition(app: str, base: str, colour: str = "red") -> dict[str, Any]:
    services = {
        "web": {
            "image": app,
            "user": "1000:1000",
            "volumes": ["./conf:/conf:ro", "./keys:/keys:ro"],
            "environment": {"COLOUR": colour, "TOKEN": "@@secret:token@@"},
        },
        "beside": sleeper(base),
    }
    return {
        "layers": [{"services": services}],
        "secrets_in_env": ["TOKEN"],
        "files": [
            {"path": "conf/web.ini", "content": f"colour = {colour}\n"},
            {"path": "keys/token", "content": "@@secret:token@@"},
        ],
    }


def files_of(project: AppliedProject) -> dict[str, tuple[int, int, str]]:
    return {
        str(path): (path.stat().st_mode, path.stat().st_uid, path.read_text(encoding="utf-8"))
        for path in project.folder.rglob("*")
        if path.is_file()
    }


def serving(project: AppliedProject) -> tuple[str, str, str, str]:
    """Return what the running service is, has in its environment, and reads from its files."""
    environment = dict(line.split("=", 1) for line in project.container("web").attrs["Config"]["Env"])
    return (
        environment["VERSION"],
        environment["TOKEN"],
        project.read("web", "cat", "/conf/web.ini"),
        project.read("web", "cat", "/keys/token"),
    )


@pytest.mark.parametrize("tag", ["another tag", "the same tag"])
@pytest.mark.parametrize("rotated", [False, True], ids=["", "with a rotated secret"])
def test_a_broken_version_goes_back_to_the_old_release(
    engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str, tag: str, rotated: bool
) -> None:
    project = AppliedProject(engine, site)
    project.keep_secrets({"name": "token", "kind": "token"})
    image = f"{site.name('app')}:1"
    engine.images.get(app_images["v1"]).tag(site.name("app"), "1")
    project.apply(**definition(image, base_image))
    ids, files, before = project.ids(), files_of(project), serving(project)

    if rotated:
        project.keep_secrets(rotate=["token"])
    broken = f"{site.name('app')}:{'1' if tag == 'the same tag' else '2'}"
    engine.images.get(app_images["broken"]).tag(site.name("app"), broken.rpartition(":")[2])
    result = project.run(**definition(broken, base_image, colour="blue"))

    name = re.escape(project.name)
    assert result.failed
    assert re.fullmatch(
        f"Cannot apply project '{name}': service 'web': it ended with exit code 3\n"
        f"last log lines of {name}-web-1:\n{re.escape(LOG)}\nRelease 1 serves again\\.",
        result.msg,
    ), result.msg
    assert project.ids()["beside"] == ids["beside"]
    assert {path: found for path, found in files_of(project).items() if not path.endswith("compose.yaml")} == {
        path: found for path, found in files.items() if not path.endswith("compose.yaml")
    }
    assert serving(project) == before

    engine.images.get(app_images["v2"]).tag(site.name("app"), "3")
    mended = project.apply(**definition(f"{site.name('app')}:3", base_image, colour="blue"))
    version, token, conf, key = serving(project)
    assert (version, conf) == ("v2", "colour = blue\n")
    assert token == key
    assert (token != before[1]) is rotated
    assert mended["services"]["web"] == "healthy"


def test_going_back_needs_no_registry_and_leaves_nothing_to_do(
    engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str
) -> None:
    """The old image lost its name: it is there under the name that the release gave it."""
    project = AppliedProject(engine, site, pull="missing")
    project.keep_secrets({"name": "token", "kind": "token"})
    image = f"{site.name('app')}:1"
    engine.images.get(app_images["v1"]).tag(site.name("app"), "1")
    project.apply(**definition(image, base_image))
    engine.images.get(app_images["broken"]).tag(site.name("app"), "1")
    assert project.run(**definition(image, base_image)).msg.endswith("Release 1 serves again.")

    engine.images.get(app_images["v1"]).tag(site.name("app"), "1")
    again = project.apply(**definition(image, base_image))
    assert not again.changed, again.values


def test_a_first_apply_that_fails_is_left_for_a_look_and_mended_by_the_next(
    engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str
) -> None:
    project = AppliedProject(engine, site)
    project.keep_secrets({"name": "token", "kind": "token"})
    failed = project.run(**definition(app_images["broken"], base_image))
    assert failed.msg.endswith(
        "There is no earlier release to go back to; its containers are left as they are for a look."
    )
    assert project.container("web").status == "exited"
    assert project.apply(**definition(app_images["v1"], base_image))["services"]["web"] == "healthy"
    assert serving(project)[0] == "v1"
