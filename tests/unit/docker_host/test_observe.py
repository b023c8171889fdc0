# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.observe import (
    find_foreign,
    parse_os_release,
    read_compose_version,
    read_packages,
)
from ansible_collections.modelyard.platform.plugins.module_utils._docker_host.wanted import apt_files, is_at_least
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed


class Recorded:
    """Answers every program with one recorded text."""

    def __init__(self, stdout: str, returncode: int = 0) -> None:
        self.answer = Completed(returncode, stdout, "")
        self.argv: list[str] = []

    def __call__(self, argv: Sequence[str], **_: Any) -> Completed:
        self.argv = list(argv)
        return self.answer


def test_os_release_names_distribution_and_code_name() -> None:
    text = '# comment\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_CODENAME=bookworm\n'
    assert parse_os_release(text) == ("debian", "bookworm")
    assert parse_os_release("ID='arch'\n") == ("arch", "")


def test_packages_are_installed_or_held_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/dpkg-query")
    recorded = Recorded("docker.io installed hold\njq installed install\nage config-files deinstall\n", returncode=1)
    assert read_packages(recorded, ["jq", "docker.io", "age", "unknown"]) == {"docker.io": True, "jq": False}
    assert recorded.argv[-4:] == ["age", "docker.io", "jq", "unknown"]


@pytest.mark.parametrize(("returncode", "expected"), [(0, "2.26.1"), (1, "")])
def test_compose_has_a_version_or_is_missing(returncode: int, expected: str) -> None:
    assert read_compose_version(Recorded("2.26.1\n", returncode)) == expected


def test_without_a_cli_there_is_no_compose() -> None:
    def missing(_argv: Sequence[str], **_: Any) -> Completed:
        raise FileNotFoundError

    assert read_compose_version(missing) == ""


def test_containers_of_another_site_are_others() -> None:
    listed = [
        {"Names": ["/mine"], "Labels": {"modelyard.directory": "/opt/modelyard"}},
        {"Names": ["/site-two"], "Labels": {"modelyard.directory": "/opt/two"}},
        {"Names": ["/plain"], "Labels": None},
    ]
    assert find_foreign(listed, "/opt/modelyard") == ("plain", "site-two")


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.24.4", True), ("v2.40.3", True), ("2.26.1-4", True), ("5.0.0", True), ("2.24.3", False), ("1.29.2", False)],
)
def test_versions_are_compared_by_their_numbers(version: str, expected: bool) -> None:
    assert is_at_least(version, (2, 24, 4)) is expected


def test_debian_12_borrows_two_packages_and_no_other() -> None:
    files = apt_files("distribution", "debian", "bookworm", mirror="http://mirror.example.org/debian", repository="")
    assert files == {
        "/etc/apt/sources.list.d/modelyard-trixie.sources": (
            "Types: deb\nURIs: http://mirror.example.org/debian\nSuites: trixie\nComponents: main\n"
            "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        ),
        "/etc/apt/preferences.d/modelyard-trixie": (
            "Package: *\nPin: release n=trixie\nPin-Priority: -10\n\n"
            "Package: docker-compose docker-buildx\nPin: release n=trixie\nPin-Priority: 500\n"
        ),
    }


def test_other_releases_need_no_further_source() -> None:
    assert apt_files("distribution", "ubuntu", "noble", mirror="", repository="") == {}


def test_dockers_own_repository_is_signed_by_its_key() -> None:
    files = apt_files("docker", "ubuntu", "noble", mirror="", repository="https://download.docker.com/linux")
    assert files == {
        "/etc/apt/sources.list.d/modelyard-docker.sources": (
            "Types: deb\nURIs: https://download.docker.com/linux/ubuntu\nSuites: noble\nComponents: stable\n"
            "Signed-By: /etc/apt/keyrings/modelyard-docker.asc\n"
        )
    }
