# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command ``modelyard`` as an operator uses it: one file, from anywhere, beside what the modules made."""

from __future__ import annotations

import json
import pty
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from support.events import EventRecorder
from support.modules import host_environment, run_module
from support.site import Site
from support.three_releases import Seen, Shop
from support.tree import ROOT

Done = subprocess.CompletedProcess[str]


class Operator:
    """Somebody on the host with the command; types it in another folder."""

    def __init__(self, folder: Path) -> None:
        self._command = folder / "modelyard"
        self._cwd = folder / "elsewhere"
        self._cwd.mkdir()
        subprocess.run([sys.executable, ROOT / "tools/build_host_command.py", self._command], check=True)

    def types(self, shop: Shop, *arguments: str, answer: str | None = None) -> Done:
        """Run it on the shop's site; with an ``answer`` its standard input is a terminal."""
        places = ["--directory", shop.options["directory"], "--secret-store", shop.options["secret_store"]]
        environment = {key: value for key, value in host_environment().items() if not key.startswith("PYTHON")}
        ours, theirs = pty.openpty()
        with open(ours, "wb", buffering=0) as terminal, open(theirs, "rb") as line:
            terminal.write(f"{answer}\n".encode() if answer else b"")
            return subprocess.run(
                [self._command, *arguments, *places], check=False, capture_output=True, text=True, timeout=120,
                cwd=self._cwd, env=environment, stdin=line if answer else subprocess.DEVNULL,
            )  # fmt: skip


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


@pytest.fixture
def shop(engine: docker.DockerClient, site: Site, app_images: dict[str, str], base_image: str) -> Shop:
    """Two good releases."""
    made = Shop(engine, site, app_images, base_image)
    made.keep_secret()
    assert made.release(1, "v1")["release"] == 1
    made.keep_secret(rotate=True)
    assert made.release(2, "v2")["release"] == 2
    return made


def test_status_tells_the_same_as_the_module_and_names_a_service_that_fails(shop: Shop, operator: Operator) -> None:
    well = operator.types(shop, "status")
    assert (well.returncode, well.stderr) == (0, "")
    assert [line.split() for line in well.stdout.splitlines()[:3]] == [
        ["PROJECT", "RELEASE", "SERVICE", "VERDICT"], [shop.name, "2", "app", "healthy"], ["side", "running"],
    ]  # fmt: skip
    shop.container("side").kill()
    bad = operator.types(shop, "status", shop.name)
    assert bad.returncode == 1
    assert "side     FAILED" in bad.stdout
    assert f"{shop.name}: service 'side': it ended with exit code 137\n" in bad.stdout
    assert f"  -> modelyard logs {shop.name} side\n" in bad.stdout
    told = json.loads(operator.types(shop, "status", "--json").stdout)
    module = run_module("compose_project_info", {"directory": shop.options["directory"]})
    assert told == module["projects"]
    assert told[0]["services"]["side"]["verdict"] == "failed"
    assert told[0]["services"]["app"]["ports"][0].startswith("127.0.0.1:")


def test_looking_asks_the_engine_only_to_read(shop: Shop, operator: Operator, engine: docker.DockerClient) -> None:
    with EventRecorder(engine) as recorder:
        for arguments in (["status"], ["status", shop.name], ["logs", shop.name], ["releases", shop.name]):
            assert operator.types(shop, *arguments).returncode == 0
        check = operator.types(shop, "rollback", shop.name, "--check")
        assert run_module("compose_project_info", {"directory": shop.options["directory"]})["projects"][0]["good"]
    assert [e for e in recorder.of_project(shop.name) if not e.action.startswith(("exec_", "health_status"))] == []
    assert check.returncode == 0
    assert "app  recreate  " in check.stdout


def test_stopped_and_absent_projects_are_not_called_failed(shop: Shop, operator: Operator) -> None:
    for state, word in (("stopped", "stopped"), ("absent", "removed")):
        assert run_module("compose_project", {**shop.options, "state": state}).changed
        status = operator.types(shop, "status", shop.name)
        assert status.returncode == 0
        assert f"It was {word} on purpose." in status.stdout
    assert run_module("compose_project", shop.declared(2), timeout=120).changed
    assert "on purpose" not in operator.types(shop, "status", shop.name).stdout


def test_logs_are_the_last_lines_with_secrets_masked_and_nothing_else(shop: Shop, operator: Operator) -> None:
    secret = shop.secret()
    lines = ["seq -f 'plain words %g' 5", "cat /conf/secret.txt", "echo", "sleep 600"]
    command = ["sh", "-c", "; ".join(lines)]
    healthy = {"test": ["CMD", "true"], "interval": "1s"}
    assert shop.release(3, "v1", command=command, healthcheck=healthy)["release"] == 3
    logs = operator.types(shop, "logs", shop.name, "app", "-n", "3")
    assert logs.stdout == f"==> {shop.name}-app-1 (running)\nplain words 4\nplain words 5\n***\n"
    assert secret not in logs.stdout
    nobody = operator.types(shop, "logs", shop.name, "nobody")
    assert (nobody.returncode, nobody.stderr) == (2, (
        f"Cannot show the log of service 'nobody': project '{shop.name}' has no container of it; there are app, side, "
        "choose one of these.\n"
    ))  # fmt: skip


def test_rollback_shows_the_plan_and_asks(shop: Shop, operator: Operator) -> None:
    unasked = operator.types(shop, "rollback", shop.name)
    assert unasked.returncode == 2
    assert unasked.stderr == (
        "Cannot go back to release 1 unasked: this is no terminal to answer on; add --yes to do it, or --check to only "
        "look.\n"
    )
    assert operator.types(shop, "rollback", shop.name, answer="n").returncode == 2
    assert shop.seen().version == "v2"
    agreed = operator.types(shop, "rollback", shop.name, answer="y")
    assert (agreed.returncode, agreed.stderr) == (0, "")
    assert agreed.stdout.endswith("Release 1 serves again, as release 3.\n")
    assert shop.seen().level == "1"
    forward = operator.types(shop, "rollback", shop.name, "2", "--yes")
    assert forward.stdout.endswith("Release 2 serves again, as release 4.\n")
    assert shop.seen() == Seen("v2", "2", "level 2", shop.secret())
    assert operator.types(shop, "rollback", shop.name, "2", "--yes").stdout == "Release 2 is what runs already.\n"
    releases = operator.types(shop, "releases", shop.name).stdout.splitlines()
    assert [line.split()[:2] for line in releases[1:]] == [[str(number), "ok"] for number in (1, 2, 3, 4)]
    assert releases[-1].endswith("serves now; back to 2")


def test_secrets_are_listed_by_name_and_shown_one_at_a_time(shop: Shop, operator: Operator) -> None:
    listed = operator.types(shop, "secrets", "list")
    assert listed.stdout.splitlines()[1].split()[:3] == ["shop_password", "password", "2"]
    assert shop.secret() not in listed.stdout
    assert operator.types(shop, "secrets", "show", "shop_password").stdout == shop.secret()
    nobody = operator.types(shop, "secrets", "show", "nobody")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert nobody.stderr.startswith("Cannot use secret 'nobody': it is not in the store ")
    part = operator.types(shop, "secrets", "show", "shop_password", "--part", "public")
    assert part.stderr.startswith("Cannot use part 'public' of secret 'shop_password': ")


@pytest.mark.parametrize("version", ["99.0.0", "0.0.9"])
def test_another_version_than_the_site_s_is_refused(shop: Shop, operator: Operator, version: str) -> None:
    stamp = shop.site.directory / "site.json"
    stamp.write_text(json.dumps({**json.loads(stamp.read_text()), "version": version}))
    for arguments in (["status"], ["rollback", shop.name, "--yes"], ["secrets", "list"]):
        done = operator.types(shop, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"Cannot use modelyard 0.1.0 on {shop.options['directory']}: the site was last written by "
            f"modelyard.platform {version}; install version {version} of modelyard.\n"
        )


def test_a_project_that_is_not_there_is_named(shop: Shop, operator: Operator) -> None:
    for arguments in (["status", "nobody"], ["logs", "nobody"], ["releases", "nobody"], ["rollback", "nobody"]):
        done = operator.types(shop, *arguments)
        assert done.returncode == 2
        assert done.stderr == (
            f"Cannot find project 'nobody': nothing of that name was ever applied in {shop.options['directory']}; "
            f"known are {shop.name}; choose one of these, or give another directory.\n"
        )
