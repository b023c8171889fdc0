# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module model_files on the system's own Python, with a real store as the mirror."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from support.model_server import ModelServer, serving, sha256_of
from support.modules import ModuleResult, run_by_ansible, run_module
from support.rclone_store import SERVICE, RcloneStore, ensure_image, user
from support.site import Site

CONTENT = bytes(range(256)) * 1024
KEY_ID, SECRET = "models000000", "not-a-secret-but-long-enough"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with serving() as found:
        found.offer("/weights.gguf", CONTENT)
        yield found


@pytest.fixture(scope="module")
def store(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneStore]:
    folder = tmp_path_factory.mktemp("models") / "site"
    folder.mkdir()
    site = Site(engine, folder)
    try:
        found = RcloneStore(site, ensure_image())
        found.start()
        found.apply(
            buckets=[{"name": "models"}], users=[user("models", SECRET, [{"name": "models", "access": "read_write"}])]
        )
        yield found
    finally:
        site.remove()


def params(directory: Path, file: dict[str, Any], store: RcloneStore | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "directory": str(directory), "models": [{"name": "chat", "files": [file]}], "timeout_seconds": 10,
        "secret_store": str(directory / "none.json"),
    }  # fmt: skip
    if store:
        found["mirror"] = {
            "project": store.project, "service": SERVICE, "bucket": "models", "access_key_id": KEY_ID,
            "secret_access_key": SECRET,
        }  # fmt: skip
    return found


def actions(result: ModuleResult) -> list[str]:
    assert result.rc == 0, result.msg or result.stderr
    return [step["action"] for step in result["plan"]]


def test_a_model_comes_is_mirrored_and_comes_from_the_mirror(
    tmp_path: Path, server: ModelServer, store: RcloneStore
) -> None:
    file = {"path": "weights.gguf", "sha256": sha256_of(CONTENT), "sources": [server.address("/weights.gguf")]}
    first = run_module("model_files", params(tmp_path / "one", file, store), diff=True)
    assert actions(first) == ["fetch", "link", "mirror"]
    assert "warnings" not in first.values
    [listed] = store.client(KEY_ID, SECRET).list_objects_v2(Bucket="models")["Contents"]
    assert (listed["Key"], listed["Size"]) == (sha256_of(CONTENT), len(CONTENT))
    again = run_module("model_files", params(tmp_path / "one", file, store))
    assert (again.changed, actions(again)) == (False, [])
    asked = len(server.asked)
    second = run_module("model_files", params(tmp_path / "two", {**file, "sources": []}, store))
    assert actions(second) == ["fetch", "link"]
    assert len(server.asked) == asked
    assert (Path(second["models"]["chat"]["path"]) / "weights.gguf").read_bytes() == CONTENT


def test_a_mirror_that_does_not_run_is_a_warning(tmp_path: Path, server: ModelServer, store: RcloneStore) -> None:
    file = {"path": "weights.gguf", "sha256": sha256_of(CONTENT), "sources": [server.address("/weights.gguf")]}
    given = params(tmp_path, file, store)
    given["mirror"]["service"] = "s4"
    result = run_module("model_files", given)
    assert actions(result) == ["fetch", "link"]
    assert (
        f"Cannot use the mirror of models: service 's4' of project '{store.project}' does not run; apply that project "
        "first."
    ) in str(result["warnings"])


def test_by_ansible_a_wrong_checksum_is_an_error_and_check_mode_touches_nothing(
    tmp_path: Path, server: ModelServer
) -> None:
    file = {"path": "weights.gguf", "sha256": "e" * 64, "sources": [server.address("/weights.gguf")]}
    checked = run_by_ansible("model_files", params(tmp_path, file), check=True, diff=True)
    assert (checked.rc, checked.changed) == (0, True)
    assert not (tmp_path / "models").exists()
    failed = run_by_ansible("model_files", params(tmp_path, file))
    assert failed.rc == 2
    assert f"gives a file with the SHA-256 {sha256_of(CONTENT)}, and {'e' * 64} is expected" in failed.msg
    assert "Traceback" not in failed.stdout
