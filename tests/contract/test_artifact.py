# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The artifact that Galaxy gets: small, with every page, role and plugin, and with nothing that only we need."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.tree import ROOT, tracked_files

MOST_BYTES = 2 * 1024 * 1024
#: What users need of the tree, all of it; a role's tests and a module's cases are elsewhere.
WHOLE = ("docs", "gateway", "meta", "playbooks", "plugins", "roles")
MADE_BY_THE_BUILD = {"FILES.json", "MANIFEST.json"}


@dataclass(frozen=True)
class Artifact:
    """The archive, and its files with their content."""

    path: Path
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("artifact")
    subprocess.run(
        ["ansible-galaxy", "collection", "build", "--output-path", str(folder), str(ROOT)],
        check=True, capture_output=True, env={**os.environ, "ANSIBLE_HOME": str(folder / "home")},
    )  # fmt: skip
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        read = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return Artifact(path, {name: file.read() for name, file in read.items() if file})


def test_artifact_is_below_two_mib(artifact: Artifact) -> None:
    found = artifact.path.stat().st_size
    largest = sorted(artifact.files, key=lambda name: -len(artifact.files[name]))[:3]
    assert found < MOST_BYTES, f"it has {found} bytes; the largest files: {largest}"


def test_artifact_holds_what_hosts_need_and_no_more_folders(artifact: Artifact) -> None:
    top = {name.split("/")[0] for name in artifact.files}
    expected = {*WHOLE, *MADE_BY_THE_BUILD, "CHANGELOG.md", "LICENSE", "README.md", "changelogs", "inventories"}
    assert top == expected, f"galaxy.yml's build_ignore: too many {top - expected}, missing {expected - top}"


def test_artifact_has_every_file_that_users_need(artifact: Artifact) -> None:
    wanted = {str(path.relative_to(ROOT)) for path in tracked_files(*WHOLE)}
    assert wanted, "no file is wanted: this test would prove nothing"
    assert not wanted - artifact.files.keys(), "galaxy.yml's build_ignore leaves out what users need"


def test_artifact_has_no_file_that_git_does_not_know(artifact: Artifact) -> None:
    """A stray file of whoever builds it would be on every machine."""
    tracked = {str(path.relative_to(ROOT)) for path in tracked_files()}
    assert not artifact.files.keys() - tracked - MADE_BY_THE_BUILD


def test_artifact_has_no_test_and_no_tool(artifact: Artifact) -> None:
    ours = re.compile(r"(^|/)(tests?|tools|molecule|extensions|build|\.[^/]+)/|(^|/)(conftest|test_[^/]*)\.py$")
    assert not [name for name in artifact.files if ours.search(name)]


def test_artifact_has_no_binary_and_no_picture_that_no_page_shows(artifact: Artifact) -> None:
    binary = [name for name, content in artifact.files.items() if b"\0" in content]
    assert not binary, f"images and archives belong elsewhere: {binary}"
    pages = [content.decode() for name, content in artifact.files.items() if name.endswith(".md")]
    pictures = [name for name in artifact.files if name.endswith((".svg", ".png", ".jpg"))]
    assert pictures, "there is no picture: this test would prove nothing"
    unseen = [name for name in pictures if not any(re.search(rf"\(.*{Path(name).name}\)", page) for page in pages)]
    assert not unseen, f"no page shows {unseen}"
