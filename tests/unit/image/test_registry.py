# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where images are pushed to, and how the registry is asked."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._image.registry import (
    Destination,
    has_manifest,
    parse_destination,
)
from ansible_collections.modelyard.platform.plugins.module_utils._run import Completed


def refuse_run(argv: Sequence[str], **_: object) -> Completed:
    raise AssertionError(f"no program was to be started, but {argv}")


@contextmanager
def registry(status: int) -> Iterator[tuple[Destination, list[str]]]:
    """Answer every request with ``status``; yield where, and the requests."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            requests.append(f"{self.command} {self.path}")
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Destination(f"127.0.0.1:{server.server_port}", "/team"), requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("text", "host", "path", "is_local"),
    [
        ("127.0.0.1:5000", "127.0.0.1:5000", "", True),
        ("localhost:5000/a", "localhost:5000", "/a", True),
        ("[::1]:5000", "[::1]:5000", "", True),
        ("registry.test/a/b-c/", "registry.test", "/a/b-c", False),
        ("10.0.0.1:5000/a", "10.0.0.1:5000", "/a", False),
    ],
)
def test_destination(text: str, host: str, path: str, is_local: bool) -> None:
    found = parse_destination(text)
    assert (found, found.is_local) == (Destination(host, path), is_local)
    assert found.reference("mytest/tool:1") == f"{host}{path}/mytest/tool:1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://registry.test", "https://registry.test"),
        ("registry", "registry"),
        ("me:hush@registry.test", "registry.test"),
        ("registry.test/Team", "registry.test/Team"),
        ("", ""),
    ],
    ids=["scheme", "no host", "password", "capitals", "empty"],
)
def test_what_is_no_registry_is_refused(text: str, shown: str) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_destination(text)
    assert str(caught.value) == (
        f"Cannot push images to {shown!r}: that is no registry; write host[:port][/path], without a scheme and without "
        "a user (docker login keeps those)."
    )


@pytest.mark.parametrize(("status", "expected"), [(200, True), (404, False)])
def test_one_head_tells_whether_an_image_is_there(status: int, expected: bool) -> None:
    with registry(status) as (destination, requests):
        assert has_manifest(destination, "mytest/tool:1", run=refuse_run) is expected
    assert requests == ["HEAD /v2/team/mytest/tool/manifests/1"]


@pytest.mark.parametrize(("returncode", "expected"), [(0, True), (1, False)])
def test_a_registry_with_a_login_is_asked_by_the_cli(returncode: int, expected: bool) -> None:
    seen: list[Sequence[str]] = []

    def run(argv: Sequence[str], **_: object) -> Completed:
        seen.append(argv)
        return Completed(returncode, "", "")

    with registry(401) as (destination, _requests):
        assert has_manifest(destination, "mytest/tool:1", run=run) is expected
    assert seen[0][-6:] == [
        "docker", "buildx", "imagetools", "inspect", "--raw", f"{destination.host}/team/mytest/tool:1",
    ]  # fmt: skip


def test_a_registry_in_trouble_is_named() -> None:
    with registry(500) as (destination, _requests), pytest.raises(PlatformError) as caught:
        has_manifest(destination, "mytest/tool:1", run=refuse_run)
    assert str(caught.value) == (
        f"Cannot ask registry {destination.host} for mytest/tool:1: it answered with status 500; look at the "
        "registry's log."
    )


def test_a_registry_that_is_down_is_named() -> None:
    with registry(200) as (destination, _requests):
        pass
    with pytest.raises(PlatformError) as caught:
        has_manifest(destination, "mytest/tool:1", run=refuse_run)
    assert str(caught.value) == (
        f"Cannot ask registry {destination.host} for an image: Connection refused; look whether it runs, and whether "
        "this host trusts its certificate."
    )
