# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate: one correct verdict for each service, also when nothing was to be done."""

from __future__ import annotations

import json
import re
from typing import Any

import docker
import pytest
from support.applied import AppliedProject, sleeper
from support.site import Site

SHELL = ["sh", "-c"]
TELL = "from urllib.request import *; urlopen(Request('http://127.0.0.1:8080/{}', b''))"


def mixed_project(app: str, base: str) -> dict[str, Any]:
    return {
        "init": {"image": base, "command": [*SHELL, "sleep 0.5; echo prepared"]},
        "slow": {
            "image": app,
            "environment": {"START_SECONDS": "3"},
            "healthcheck": {"start_period": "30s"},
            "depends_on": {"init": {"condition": "service_completed_successfully"}},
        },
        "pair": sleeper(base, scale=2),
        "off": sleeper(base, command=["false"], profiles=["never"]),
    }


def test_good_services_of_every_kind_get_their_verdicts(
    engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str
) -> None:
    mended = {
        "path": "conf/app.conf",
        "on_change": "reload",
        "reload_command": ["python3", "-c", TELL.format("healthy")],
    }
    services = mixed_project(app_images["v1"], base_image)
    services["slow"]["volumes"] = ["./conf:/config:ro"]
    project = AppliedProject(engine, site, layers=[{"services": services}], files=[{**mended, "content": "a"}])
    good = {"init": "completed", "slow": "healthy", "pair": "running"}
    assert project.apply()["services"] == good
    assert project.apply()["services"] == good
    assert {name: len(ids) for name, ids in project.ids().items()} == {"init": 1, "slow": 1, "pair": 2}

    project.read("slow", "python3", "-c", TELL.format("unhealthy"))
    _wait_unhealthy(project, "slow")
    ids = project.ids()
    result = project.run()
    name = project.container("slow").name
    assert result.failed, result.values
    assert result.msg.startswith(
        f"Cannot apply project '{project.name}': service 'slow': it is unhealthy\n"
        "last health check: GET /healthz answered 503\n"
        f"last log lines of {name}:\n"
    ), result.msg
    assert project.ids() == ids, "a run without changes touches nothing, not even what is ill"

    # To the engine it is unhealthy until its next health check.
    assert project.apply(files=[{**mended, "content": "b"}])["services"] == good
    assert project.ids() == ids


def test_one_project_with_good_and_bad_services_gets_one_correct_verdict_each(
    engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str
) -> None:
    bad = {
        "loop": sleeper(base_image, command=[*SHELL, "sleep 0.2; exit 7"], restart="always"),
        "hungry": sleeper(
            base_image,
            # Not before the others have started: a failure waits for the verdicts of those alone.
            command=["python3", "-c", "import time; time.sleep(1); b = [bytearray(1 << 20) for _ in range(200)]"],
            mem_limit="32m",
            memswap_limit="32m",
        ),
    }
    services = {**mixed_project(app_images["v1"], base_image), **bad}
    project = AppliedProject(engine, site, layers=[{"services": services}])
    result = project.run()
    assert result.failed
    assert result["services"] == {
        "init": "completed",
        "slow": "healthy",
        "pair": "running",
        "loop": "failed",
        "hungry": "failed",
    }
    assert "service 'loop': it crashes again and again" in result.msg
    assert "service 'hungry': it ended with exit code 137 because it ran out of memory" in result.msg


def _wait_unhealthy(project: AppliedProject, service: str) -> None:
    for event in project.engine.events(decode=True, filters={"container": project.container(service).id}):
        if event["status"] == "health_status: unhealthy":
            return


@pytest.mark.parametrize(
    ("service", "cause"),
    [
        (
            {"command": [*SHELL, "sleep 0.2; echo bad luck; exit 7"], "restart": "always"},
            (
                r"service 'ill': it crashes again and again: \d restarts, exit code 7\n"
                r"last log lines of NAME:\n(bad luck\n)*bad luck"
            ),
        ),
        (
            {
                "command": ["python3", "-c", "b = [bytearray(1 << 20) for _ in range(200)]"],
                "mem_limit": "32m",
                "memswap_limit": "32m",
            },
            r"service 'ill': it ended with exit code 137 because it ran out of memory\nNAME logged nothing",
        ),
        (
            {"command": [*SHELL, "echo no schema; exit 3"], "extras": {"one_shot": True}},
            r"service 'ill': it ended with exit code 3\nlast log lines of NAME:\nno schema",
        ),
        (
            {"command": ["true"]},
            (
                r"service 'ill': it ended with exit code 0, but it is meant to run on \(for one that is meant to end: "
                r"x-modelyard: \{one_shot: true\}\)\nNAME logged nothing"
            ),
        ),
        (
            {"command": ["/no/such/program"], "init": False},
            r"service 'ill': .*(no such file or directory|not found).*",
        ),
    ],
    ids=["a crash loop", "out of memory", "a failed one-shot", "a service that ends", "no such program"],
)
def test_each_kind_of_failure_is_told(
    engine: docker.DockerClient, site: Site, base_image: str, service: dict[str, Any], cause: str
) -> None:
    services = {"ill": sleeper(base_image, **service), "well": sleeper(base_image)}
    project = AppliedProject(engine, site, layers=[{"services": services}])
    result = project.run()
    expected = (
        f"Cannot apply project '{project.name}': {cause.replace('NAME', project.name + '-ill-1')}\n"
        "There is no earlier release to go back to; its containers are left as they are for a look\\."
    )
    assert result.failed
    assert re.fullmatch(expected, result.msg, re.DOTALL), result.msg
    assert result["plan"]


def test_a_container_that_the_gateway_put_to_sleep_is_well(
    engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    services = {"model": sleeper(base_image, extras={"sleeps": True}), "web": sleeper(base_image)}
    project = AppliedProject(engine, site, layers=[{"services": services}])
    project.apply()
    container = project.container("model")
    container.stop(timeout=1)
    code = container.wait()["StatusCode"]
    asleep = site.directory / "state" / "gateway" / "asleep.json"
    asleep.parent.mkdir()
    asleep.write_text(json.dumps({"format": 1, "containers": {container.id: code}}), encoding="utf-8")

    result = project.apply()
    assert not result.changed, result.values
    assert result["services"] == {"model": "asleep", "web": "running"}
    assert project.container("model").status == "exited"

    # The same container, but it did not end the way the gateway says.
    asleep.write_text(json.dumps({"format": 1, "containers": {container.id: code + 1}}), encoding="utf-8")
    found = project.run()
    assert found.failed or found["services"]["model"] == "running", found.values

    asleep.unlink()
    woken = project.compare()
    assert ("model", "start", "stopped") in woken.planned or project.container("model").status == "running"


def test_on_failure_keep_leaves_the_failed_release_for_a_look(
    engine: docker.DockerClient, site: Site, app_images: dict[str, str]
) -> None:
    project = AppliedProject(engine, site, on_failure="keep")
    project.apply(layers=[{"services": {"web": {"image": app_images["v1"]}}}])
    result = project.run(layers=[{"services": {"web": {"image": app_images["broken"], "restart": "no"}}}])
    assert result.failed
    assert result.msg.endswith("It is left as it is (on_failure: keep); release 1 was the last good one.")
    assert project.container("web").attrs["Config"]["Image"] == app_images["broken"]
    found = project.compare(layers=[{"services": {"web": {"image": app_images["v1"]}}}])
    assert {(service, action) for service, action, _rest in found.derived} == {("web", "recreate")}
    assert found.result["services"] == {"web": "healthy"}
