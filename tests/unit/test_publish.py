# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A release is published only where tag, collection and changelog name one version; the token is on no command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECORDER = """#!/bin/sh
printf '%s ' "$@" >"$RECORD.arguments"
env | grep ^ANSIBLE_GALAXY_SERVER | sort >"$RECORD.environment"
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a tree that is ready for the release of 1.2.0, with an ansible-galaxy that only records."""
    for folder in ("tools", "changelogs", "build/artifact", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy2(ROOT / "tools/publish", tmp_path / "tools")
    (tmp_path / "galaxy.yml").write_text("---\nname: platform\nversion: 1.2.0\n")
    (tmp_path / "changelogs/changelog.yaml").write_text("---\nancestor: null\nreleases:\n  1.2.0:\n    changes: {}\n")
    (tmp_path / "build/artifact/modelyard-platform-1.2.0.tar.gz").touch()
    (tmp_path / "bin/ansible-galaxy").write_text(RECORDER)
    (tmp_path / "bin/ansible-galaxy").chmod(0o755)
    return tmp_path


def publish(tree: Path, *, tag: str = "v1.2.0", token: str = "s3cret-token") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{tree}/bin:/usr/bin:/bin", "TAG": tag, "GALAXY_TOKEN": token, "RECORD": f"{tree}/record"}
    return subprocess.run([str(tree / "tools/publish")], check=False, capture_output=True, text=True, env=environment)


def test_a_release_is_published_with_the_token_in_no_argument(tree: Path) -> None:
    done = publish(tree)
    assert (done.returncode, done.stderr) == (0, "")
    arguments = (tree / "record.arguments").read_text()
    assert arguments == "collection publish build/artifact/modelyard-platform-1.2.0.tar.gz "
    assert (tree / "record.environment").read_text().splitlines() == [
        "ANSIBLE_GALAXY_SERVER_LIST=release",
        "ANSIBLE_GALAXY_SERVER_RELEASE_TOKEN=s3cret-token",
        "ANSIBLE_GALAXY_SERVER_RELEASE_URL=https://galaxy.ansible.com/",
    ]


@pytest.mark.parametrize(
    ("change", "given", "because"),
    [
        (
            "", {"tag": "v1.3.0"},
            "the tag is 'v1.3.0', galaxy.yml has version 1.2.0; tag the commit v1.2.0, or correct galaxy.yml.",
        ),
        (
            "", {"tag": ""},
            "the tag is '', galaxy.yml has version 1.2.0; tag the commit v1.2.0, or correct galaxy.yml.",
        ),
        (
            "changelogs/changelog.yaml", {},
            "changelogs/changelog.yaml does not tell of 1.2.0; run 'antsibull-changelog release', and commit that.",
        ),
        (
            "build/artifact/modelyard-platform-1.2.0.tar.gz", {},
            "build/artifact/modelyard-platform-1.2.0.tar.gz is not there; run 'make build' first.",
        ),
        ("", {"token": ""}, "GALAXY_TOKEN is empty; give a token of an owner of the namespace."),
    ],
    ids=["another tag", "no tag", "no changelog", "no artifact", "no token"],
)  # fmt: skip
def test_nothing_is_sent_when_something_does_not_fit(
    tree: Path, change: str, given: dict[str, str], because: str
) -> None:
    if change:
        (tree / change).unlink()
    done = publish(tree, **given)
    assert done.returncode == 1
    assert done.stderr == f"Cannot publish the collection: {because}\n"
    assert not (tree / "record.arguments").exists()


class Galaxy(BaseHTTPRequestHandler):
    """As much of Galaxy's API as takes a collection; what was sent is kept."""

    sent: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        task = {"state": "completed", "finished_at": "2026-01-01T00:00:00Z", "messages": []}
        pages = {"/": (404, {}), "/api": (200, {"available_versions": {"v3": "v3/"}})}
        self.answer(*pages.get(self.path.rstrip("/") or "/", (200, task)))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.sent.update(path=self.path, authorization=self.headers["Authorization"], has=str(b"1.2.0.tar.gz" in body))
        self.answer(202, {"task": "/api/v3/imports/collections/00000000-0000-0000-0000-000000000001/"})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_said: Any) -> None:
        """Say nothing."""


@pytest.fixture
def galaxy() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Galaxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_galaxy_gets_the_artifact_and_the_token(tree: Path, galaxy: str) -> None:
    with tarfile.open(tree / "build/artifact/modelyard-platform-1.2.0.tar.gz", "w:gz") as archive:
        archive.add(tree / "galaxy.yml", "galaxy.yml")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "TAG": "v1.2.0", "GALAXY_TOKEN": "s3cret-token",
        "GALAXY_URL": galaxy, "HOME": str(tree), "ANSIBLE_HOME": str(tree / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [str(tree / "tools/publish")], check=False, capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Galaxy.sent == {
        "path": "/api/v3/artifacts/collections/", "authorization": "Token s3cret-token", "has": "True"
    }  # fmt: skip
    assert "s3cret-token" not in done.stdout + done.stderr
