# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cannot go well is told before anything is touched: whole texts, an untouched engine, an untouched folder."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from support.applied import AppliedProject, sleeper
from support.ports import free_port
from support.site import Site


@pytest.fixture
def project(engine: docker.DockerClient, site: Site, base_image: str) -> AppliedProject:
    return AppliedProject(engine, site, layers=[{"services": {"web": sleeper(base_image)}}])


def with_service(base: str, **options: Any) -> dict[str, Any]:
    return {"layers": [{"services": {"web": sleeper(base, **options)}}]}


def test_no_docker(project: AppliedProject, tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    assert project.refused(environment={"DOCKER_HOST": f"unix://{path}"}) == (
        f"Cannot reach the Docker engine: there is no socket {path}; install Docker, or start it "
        "(systemctl start docker)."
    )


def test_the_engine_is_down(project: AppliedProject, tmp_path: Path) -> None:
    path = f"/tmp/{project.name}.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)  # nobody listens: what a killed daemon leaves
    try:
        assert project.refused(environment={"DOCKER_HOST": f"unix://{path}"}) == (
            f"Cannot reach the Docker engine at {path}: Connection refused; start it (systemctl start docker) and look "
            "at its log (journalctl -u docker)."
        )
    finally:
        os.unlink(path)


def test_an_engine_on_another_machine(project: AppliedProject) -> None:
    assert project.refused(environment={"DOCKER_HOST": "tcp://192.0.2.1:2375"}) == (
        "Cannot use the engine at DOCKER_HOST='tcp://192.0.2.1:2375': only a unix:// socket of this host is supported; "
        "unset DOCKER_HOST, or run the module on the host that has the engine."
    )


def test_compose_below_the_floor(project: AppliedProject, tmp_path: Path) -> None:
    plugin = tmp_path / "config" / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("#!/bin/sh\necho 2.20.3\n", encoding="utf-8")
    plugin.chmod(0o755)
    assert project.refused(environment={"DOCKER_CONFIG": str(tmp_path / "config")}) == (
        f"Cannot use Compose 2.20.3 at {plugin}: the oldest that works is 2.24.4; upgrade it."
    )


def test_an_unknown_profile(project: AppliedProject, base_image: str) -> None:
    layers = [{"services": {"web": sleeper(base_image), "more": sleeper(base_image, profiles=["big", "small"])}}]
    assert project.refused(layers=layers, profiles=["large"]) == (
        f"Cannot apply project '{project.name}': there is no profile 'large'; known are big, small; correct 'profiles'."
    )


@pytest.mark.parametrize(
    ("service", "said"),
    [
        ({"imaeg": "x"}, r"layer 1: services\.web Additional property imaeg is not allowed"),
        ({"depends_on": ["nobody"]}, r'service "web" depends on undefined service "?nobody"?: invalid compose project'),
        ({"volumes": ["nowhere:/data"]}, r'service "web" refers to undefined volume nowhere: invalid compose project'),
    ],
    ids=["a misspelt key", "an unknown service", "an unknown volume"],
)
def test_what_compose_refuses(project: AppliedProject, base_image: str, service: dict[str, Any], said: str) -> None:
    msg = project.refused(**with_service(base_image, **service))
    expected = f"Cannot read project '{project.name}': Compose says: .*{said}; correct the definition\\."
    assert re.fullmatch(expected, msg), msg


@pytest.fixture
def listening() -> Iterator[tuple[int, int]]:
    """Yield the port that a process of ours listens on, and its number."""
    port = free_port()
    program = f"import socket as s; t = s.create_server(('127.0.0.1', {port})); print(flush=True); t.accept()"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield port, process.pid
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_port_in_use_by_a_program(project: AppliedProject, base_image: str, listening: tuple[int, int]) -> None:
    port, pid = listening
    name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    assert project.refused(**with_service(base_image, ports=[f"127.0.0.1:{port}:80"])) == (
        f"Cannot start service 'web': port {port} is already used by '{name}' (pid {pid}); stop it, or publish another "
        "port."
    )


def test_a_port_in_use_by_a_container(
    project: AppliedProject, engine: docker.DockerClient, site: Site, base_image: str
) -> None:
    port = free_port()
    published = with_service(base_image, ports=[f"127.0.0.1:{port}:80"])
    other = AppliedProject(engine, site, "other", **published)
    other.apply()
    assert project.refused(**published) == (
        f"Cannot start service 'web': port {port} is already used by container '{other.name}-web-1' of project "
        f"'{other.name}'; stop it, or publish another port."
    )


def test_an_image_that_cannot_be_had(project: AppliedProject) -> None:
    image = f"127.0.0.1:{free_port()}/nobody/nothing:1"
    service = {"web": {"image": image}}
    assert project.refused(layers=[{"services": service}], pull="never") == (
        f"Cannot start service 'web': image '{image}' is not on this host and 'pull' is 'never'; load or build it, or "
        "set pull: missing."
    )
    msg = project.refused(layers=[{"services": service}], pull="missing")
    expected = (
        f"Cannot pull image '{re.escape(image)}' for service 'web': .*connection refused; correct its name, log in to "
        "its registry \\(docker_registries, or docker login\\), or build it on this host\\."
    )
    assert re.fullmatch(expected, msg), msg


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"name": "Bad Name"},
            (
                "Cannot use project name 'Bad Name': a name starts with a lower-case letter or digit and goes on with "
                "these, '_' and '-'; choose such a name."
            ),
        ),
        ({"layers": None}, "Cannot apply project 'NAME': it has no definition; give 'layers' or 'src'."),
        (
            {"files": [{"path": "../evil", "content": ""}]},
            "Cannot write file '../evil': it must name a file, without '..'; correct it.",
        ),
        (
            {"files": [{"path": "/etc/passwd", "content": ""}]},
            (
                "Cannot write file '/etc/passwd': it is outside the site's folder SITE; give a path below it, or one "
                "relative to the project."
            ),
        ),
        (
            {"files": [{"path": "a", "content": "", "mode": "rw"}]},
            "Cannot write file 'a': mode 'rw' is no octal number of three digits; write it as '0640'.",
        ),
        (
            {"env": {"1X": "a"}},
            "Cannot write '1X' to .env: a name has letters, digits and '_' and starts with no digit; rename it.",
        ),
    ],
    ids=["a name", "no definition", "a path with ..", "a path outside", "a mode", "a variable"],
)
def test_options_that_cannot_be_meant(project: AppliedProject, options: dict[str, Any], expected: str) -> None:
    expected = expected.replace("NAME", project.name).replace("SITE", str(project.site.directory))
    assert project.refused(**options) == expected


SECRET_FILE = {"files": [{"path": "token", "content": "@@secret:token@@"}]}


def test_a_secret_that_is_not_there(project: AppliedProject) -> None:
    project.keep_secrets({"name": "other", "kind": "token"})
    assert project.refused(**SECRET_FILE) == (
        f"Cannot use secret 'token': it is not in the store {project.store}; declare it with "
        "modelyard.platform.secrets first."
    )


def cut_in_half(store: Path) -> None:
    content = store.read_bytes()
    store.write_bytes(content[: len(content) // 2])


def make_newer(store: Path) -> None:
    store.write_text(json.dumps({**json.loads(store.read_text(encoding="utf-8")), "format": 2}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            lambda store: store.chmod(0o640),
            (
                "Cannot trust the secret store's STORE: its mode is 0640, others may read or change it; run: chmod "
                "0600 STORE, and rotate what was in it."
            ),
        ),
        (
            lambda store: os.chown(store, 1000, 0),
            (
                "Cannot trust the secret store's STORE: it belongs to uid 1000; look at who changed it, then run: "
                "chown 0 STORE"
            ),
        ),
        (
            cut_in_half,
            (
                "Cannot read the secret store STORE: its SIZE bytes are not JSON (cut off?); it is damaged, restore it "
                "from a backup."
            ),
        ),
        (
            make_newer,
            (
                "Cannot read STORE: it has format 2, modelyard.platform 0.1.0 knows up to 1; a newer version wrote it, "
                "install that version."
            ),
        ),
    ],
    ids=["a loose mode", "a foreign owner", "cut in half", "of a newer version"],
)
def test_a_secret_store_that_cannot_be_used(project: AppliedProject, damage: Any, expected: str) -> None:
    project.keep_secrets({"name": "token", "kind": "token"})
    store = Path(project.store)
    damage(store)
    before = store.read_bytes()
    text = expected.replace("STORE", project.store).replace("SIZE", str(len(before)))
    assert project.refused(**SECRET_FILE) == text
    assert store.read_bytes() == before


def test_a_site_that_a_newer_version_wrote(project: AppliedProject, base_image: str) -> None:
    project.apply()
    stamp = project.site.directory / "site.json"
    stamp.write_text(json.dumps({"format": 1, "version": "9.1.0"}), encoding="utf-8")
    assert project.refused(**with_service(base_image, environment={"A": "1"})) == (
        f"Cannot use compose_project 0.1.0 on {project.site.directory}: the site was last written by "
        "modelyard.platform 9.1.0; install version 9.1.0 of compose_project."
    )
    stamp.write_text(json.dumps({"format": 2, "version": "9.1.0"}), encoding="utf-8")
    assert project.refused() == (
        f"Cannot read {stamp}: it has format 2, modelyard.platform 0.1.0 knows up to 1; a newer version wrote it, "
        "install that version."
    )


def test_too_little_disk(engine: docker.DockerClient, site: Site, base_image: str) -> None:
    project = AppliedProject(engine, site, **with_service(base_image))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(site.directory)], check=True)
    try:
        assert project.refused() == (
            f"Cannot apply project '{project.name}': {site.directory} has 16 MiB free, 33 MiB are needed; make room "
            "(docker system df shows what images take)."
        )
    finally:
        subprocess.run(["umount", str(site.directory)], check=True)


#: What one reader or another takes for syntax, in one value.
ODD = 'it\'s $HOME $$ ${HOME} "quoted" `x` \\n \\ #no\tcomment  {{ x }} %s é ß 日本 😀 = : end'
LINES = f"first {ODD}\nsecond\n\n  fourth\n"


def test_odd_values_arrive_as_they_are(engine: docker.DockerClient, site: Site, base_image: str) -> None:
    escaped = LINES.replace("$", "$$")
    service = sleeper(
        base_image,
        environment={"DIRECT": escaped, "BY_ENV": "${BY_ENV}", "SECRET": "@@secret:odd@@"},
        labels={"odd": escaped, "by env": "${BY_ENV}"},
        volumes=["./odd:/odd:ro"],
        command=["sh", "-c", 'printf %s "$$1" > /tmp/argument; sleep infinity', "sh", escaped],
    )
    project = AppliedProject(
        engine,
        site,
        layers=[{"services": {"web": service}}],
        env={"BY_ENV": LINES},
        secrets_in_env=["SECRET"],
        files=[
            {"path": "odd/plain", "content": LINES},
            {"path": "odd/secret", "content": "<@@secret:odd@@>"},
            {"path": "odd/it's a 'name' é", "content": "x"},
        ],
    )
    project.keep_secrets({"name": "odd", "kind": "password", "value": LINES})
    project.apply()
    container = project.container("web")
    environment = dict(entry.split("=", 1) for entry in container.attrs["Config"]["Env"])
    assert {name: environment[name] for name in ("DIRECT", "BY_ENV", "SECRET")} == {
        "DIRECT": LINES, "BY_ENV": LINES, "SECRET": LINES,
    }  # fmt: skip
    assert (container.labels["odd"], container.labels["by env"]) == (LINES, LINES)
    assert project.read("web", "cat", "/odd/plain") == LINES
    assert project.read("web", "cat", "/odd/secret") == f"<{LINES}>"
    assert project.read("web", "cat", "/odd/it's a 'name' é") == "x"
    assert project.read("web", "cat", "/tmp/argument") == LINES
    assert not project.apply().changed

    # What a person sees with Compose in the project's folder is the same project.
    command = ["docker", "compose", "config", "--format", "json"]
    shown = subprocess.run(command, cwd=project.folder, check=True, capture_output=True, text=True).stdout
    labels = json.loads(shown)["services"]["web"]["labels"]
    assert labels["odd"].replace("$$", "$") == LINES
