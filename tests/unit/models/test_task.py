# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fetching, keeping and laying out models, from a real server that breaks off, forgets and lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.site import Site
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._models import fetch, http
from ansible_collections.modelyard.platform.plugins.module_utils._models.declaration import parse_models
from ansible_collections.modelyard.platform.plugins.module_utils._models.task import MirrorPlace, Task
from support.model_server import ModelServer, serving, sha256_of

CONTENT = bytes(range(256)) * 64
OTHER = b"tokens"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving() as found:
        yield found


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_PAUSE_SECONDS", 0.0)


def task(folder: Path, *files: dict[str, Any], mirror: Any = None, compare_all: bool = False) -> Task:
    models = parse_models([{"name": "chat", "files": list(files)}])
    place = MirrorPlace("models", mirror) if mirror else None
    return Task(Site(str(folder)), models, place, compare_all, timeout_seconds=5, wait_seconds=1)


def run(folder: Path, *files: dict[str, Any], check_mode: bool = False, **more: Any) -> dict[str, Any]:
    return task(folder, *files, **more).carry_out(check_mode=check_mode)


def actions(result: dict[str, Any]) -> list[str]:
    return [step["action"] for step in result["plan"]]


def tree(result: dict[str, Any]) -> Path:
    return Path(result["models"]["chat"]["path"])


def test_files_come_are_laid_out_and_are_read_by_anybody(tmp_path: Path, server: ModelServer) -> None:
    weights, tokens = server.offer("/weights", CONTENT), server.offer("/tokens", OTHER)
    result = run(tmp_path, {**weights, "path": "a/model.gguf"}, tokens)
    assert (result["changed"], actions(result)) == (True, ["fetch", "fetch", "link"])
    found = tree(result) / "a/model.gguf"
    assert found.read_bytes() == CONTENT
    assert (tree(result) / "tokens").read_bytes() == OTHER
    assert found.stat().st_mode & 0o777 == 0o644
    assert found.stat().st_ino == (tmp_path / "models/blobs" / f"sha256-{sha256_of(CONTENT)}").stat().st_ino
    assert found.parent.stat().st_mode & 0o777 == 0o755
    assert sorted(os.listdir(tmp_path / "models/blobs")) == sorted(
        f"sha256-{sha256_of(content)}" for content in (CONTENT, OTHER)
    )


def test_a_second_run_reads_and_asks_nothing(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, server.offer("/weights", CONTENT))
    server.asked.clear()
    monkeypatch.setattr(
        "ansible_collections.modelyard.platform.plugins.module_utils._models.task.digest_of", lambda _path: 1 / 0
    )
    again = run(tmp_path, server.offer("/weights", CONTENT))
    assert (again["changed"], again["plan"], server.asked) == (False, [], [])
    assert again["diff"]["before"] == again["diff"]["after"] != ""


def test_check_mode_says_the_same_and_touches_nothing(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    result = run(tmp_path, file, check_mode=True)
    assert (result["changed"], actions(result), server.asked) == (True, ["fetch", "link"], [])
    assert (result["diff"]["before"], result["diff"]["after"]) == ("", f"chat/weights sha256:{file['sha256']}\n")
    assert os.listdir(tmp_path) == []
    assert run(tmp_path, file)["plan"] == result["plan"]


def test_another_content_is_refused_and_leaves_nothing(tmp_path: Path, server: ModelServer) -> None:
    file = {**server.offer("/weights", CONTENT), "sha256": "e" * 64}
    with pytest.raises(PlatformError) as caught:
        run(tmp_path, file)
    assert str(caught.value) == (
        f"Cannot fetch 'weights' of model 'chat': {server.address('/weights')} gives a file with the SHA-256 "
        f"{sha256_of(CONTENT)}, and {'e' * 64} is expected; correct its sources or its checksum, or put the file at "
        f"{tmp_path}/models/blobs/sha256-{'e' * 64}."
    )
    assert os.listdir(tmp_path / "models/blobs") == []


def test_a_line_that_breaks_off_is_gone_on_with(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    server.breaks["/weights"] = (2, 5000)
    assert run(tmp_path, file)["changed"]
    ranges = [headers.get("range", "") for _path, headers in server.asked]
    assert ranges == ["", "bytes=5000-", "bytes=10000-"]


def test_what_a_broken_run_left_is_gone_on_with_by_the_next(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    server.breaks["/weights"] = (9, 1000)
    with pytest.raises(PlatformError, match="broke off after 1000 of 13384 bytes"):
        run(tmp_path, file)
    server.breaks.clear()
    server.asked.clear()
    assert run(tmp_path, file)["changed"]
    assert [headers["range"] for _path, headers in server.asked] == ["bytes=4000-"]


def test_a_server_without_ranges_gives_the_file_anew(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    server.knows_ranges = False
    server.breaks["/weights"] = (1, 5000)
    result = run(tmp_path, file)
    assert (tree(result) / "weights").read_bytes() == CONTENT


@pytest.mark.parametrize("rest", [b"damaged" * 10, CONTENT + b"too long"], ids=["another", "longer"])
def test_a_rest_that_does_not_fit_is_thrown_away(tmp_path: Path, server: ModelServer, rest: bytes) -> None:
    file = server.offer("/weights", CONTENT)
    blobs = tmp_path / "models/blobs"
    blobs.mkdir(parents=True)
    (blobs / f".sha256-{file['sha256']}.modelyard-tmp").write_bytes(rest)
    result = run(tmp_path, file)
    assert (tree(result) / "weights").read_bytes() == CONTENT
    assert os.listdir(blobs) == [f"sha256-{file['sha256']}"]


def test_a_source_that_has_it_not_is_followed_by_the_next(tmp_path: Path, server: ModelServer) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(CONTENT)
    file = {"path": "weights", "sha256": sha256_of(CONTENT), "sources": [server.address("/none"), str(own)]}
    assert run(tmp_path / "site", file)["changed"]
    file = {"path": "weights", "sha256": "e" * 64, "sources": [server.address("/none"), "/nowhere"]}
    with pytest.raises(PlatformError) as caught:
        run(tmp_path / "site", file)
    assert str(caught.value).startswith(
        f"Cannot fetch 'weights' of model 'chat': {server.address('/none')} answers 404; /nowhere cannot be read on "
        "the host (No such file or directory); correct its sources"
    )


def test_a_model_without_a_source_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="'weights' of model 'chat': no source is given for it; correct"):
        run(tmp_path, {"path": "weights", "sha256": "e" * 64})


def test_a_changed_file_is_compared_and_a_damaged_one_fetched_anew(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    blob = tmp_path / "models/blobs" / f"sha256-{file['sha256']}"
    run(tmp_path, file)
    os.utime(blob)
    touched = run(tmp_path, file)
    assert (touched["changed"], actions(touched)) == (False, ["compare"])
    assert run(tmp_path, file)["plan"] == []
    blob.write_bytes(CONTENT[:-1] + b"x")
    damaged = run(tmp_path, file)
    assert (damaged["changed"], actions(damaged)) == (True, ["compare", "fetch", "link"])
    assert (tree(damaged) / "weights").read_bytes() == CONTENT


def test_every_content_is_compared_on_request(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    blob = tmp_path / "models/blobs" / f"sha256-{file['sha256']}"
    run(tmp_path, file)
    stamp = blob.stat()
    blob.write_bytes(CONTENT[:-1] + b"x")
    os.utime(blob, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert run(tmp_path, file)["plan"] == []
    assert actions(run(tmp_path, file, compare_all=True)) == ["compare", "fetch", "link"]
    assert actions(run(tmp_path, file, compare_all=True)) == ["compare"]


def test_another_model_is_another_folder_and_the_old_file_is_told(tmp_path: Path, server: ModelServer) -> None:
    first = run(tmp_path, {**server.offer("/weights", CONTENT), "path": "model.gguf"})
    second = run(tmp_path, {**server.offer("/tokens", OTHER), "path": "model.gguf"})
    assert tree(first) != tree(second)
    assert (tree(first) / "model.gguf").read_bytes() == CONTENT
    assert (first["unused"], second["unused"]) == ([], [sha256_of(CONTENT)])


def test_a_token_goes_to_no_other_host_and_never_without_tls(tmp_path: Path, server: ModelServer) -> None:
    server.redirects["/gated"] = server.address("/weights")
    file = {**server.offer("/weights", CONTENT), "sources": [server.address("/gated")], "token": "word"}
    run(tmp_path, file)
    assert [path for path, _headers in server.asked] == ["/gated", "/weights"]
    assert all("authorization" not in headers for _path, headers in server.asked)
    request = http.urllib.request.Request("https://hub.example/a", headers={"Authorization": "Bearer word"})
    redirects = http._Redirects()
    for newurl, kept in (("https://hub.example/b", True), ("https://cdn.example/b", False)):
        following = redirects.redirect_request(request, None, 302, "", http.Message(), newurl)  # type: ignore[arg-type]
        assert following is not None
        assert following.has_header("Authorization") is kept
    with pytest.raises(http.SourceError, match=r"leads to http://cdn\.example, which is not https"):
        redirects.redirect_request(request, None, 302, "", http.Message(), "http://cdn.example/b")  # type: ignore[arg-type]


def test_a_refusal_says_that_a_token_is_wanted(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    server.tokens["/weights"] = "word"
    with pytest.raises(PlatformError, match=r"/weights answers 401: it wants a 'token'; correct"):
        run(tmp_path, file)


def test_a_full_disk_is_told_before_anything_comes(
    tmp_path: Path, server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = server.offer("/weights", CONTENT)
    monkeypatch.setattr(fetch, "_RESERVE_BYTES", 1 << 60)
    with pytest.raises(
        PlatformError, match=r"Cannot fetch a model: it needs 0 MiB, and .*/models/blobs has \d+ MiB free"
    ):
        run(tmp_path, file)


class StoredMirror:
    """A mirror in memory."""

    bucket = "models"
    name = "the mirror (bucket 'models')"

    def __init__(self, *contents: bytes) -> None:
        self.objects = {sha256_of(content): content for content in contents}
        self.asked: list[str] = []

    @contextmanager
    def open(self, sha256: str, start: int) -> Iterator[fetch.Stream]:
        self.asked.append(sha256)
        if sha256 not in self.objects:
            raise http.SourceError("has it not")
        import io

        content = self.objects[sha256][start:]
        yield fetch.Stream(io.BytesIO(content), start, len(content))

    def has(self, sha256: str) -> bool:
        self.asked.append(sha256)
        return sha256 in self.objects

    def put(self, sha256: str, path: str) -> None:
        self.objects[sha256] = Path(path).read_bytes()


def test_the_mirror_is_asked_first_and_filled_afterwards(tmp_path: Path, server: ModelServer) -> None:
    mirror = StoredMirror()
    file = server.offer("/weights", CONTENT)
    first = run(tmp_path / "one", file, mirror=lambda: mirror)
    assert actions(first) == ["fetch", "link", "mirror"]
    assert mirror.objects == {sha256_of(CONTENT): CONTENT}
    mirror.asked.clear()
    server.asked.clear()
    assert run(tmp_path / "one", file, mirror=lambda: mirror)["plan"] == []
    second = run(tmp_path / "two", file, mirror=lambda: mirror)
    assert (tree(second) / "weights").read_bytes() == CONTENT
    assert (server.asked, mirror.asked) == ([], [sha256_of(CONTENT)] * 2)
    assert run(tmp_path / "two", file, mirror=lambda: mirror)["plan"] == []


def test_a_mirror_that_is_away_is_a_warning_and_tried_again(tmp_path: Path, server: ModelServer) -> None:
    def away() -> Any:
        raise PlatformError("service 's3' of project 'x' does not run; apply that project first.")

    file = server.offer("/weights", CONTENT)
    result = run(tmp_path, file, mirror=away)
    assert result["warnings"] == [
        "Cannot use the mirror of models: service 's3' of project 'x' does not run; apply that project first."
    ]
    assert actions(result) == ["fetch", "link"]
    mirror = StoredMirror()
    assert actions(run(tmp_path, file, mirror=lambda: mirror)) == ["mirror"]


def test_a_damaged_record_is_told(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    run(tmp_path, file)
    record = tmp_path / "models/checked.json"
    record.write_text('{"format": 1, "blobs": {"a": {"size": 1}}}', encoding="utf-8")
    with pytest.raises(PlatformError, match=r"checked.json: it is damaged; restore it from a backup, or remove it"):
        run(tmp_path, file)


def test_a_link_in_the_place_of_a_model_is_not_followed(tmp_path: Path, server: ModelServer) -> None:
    file = server.offer("/weights", CONTENT)
    blobs = tmp_path / "models/blobs"
    blobs.mkdir(parents=True)
    (blobs / f"sha256-{file['sha256']}").symlink_to("/etc/hostname")
    with pytest.raises(PlatformError, match="it is no plain file; move it away"):
        run(tmp_path, file)
