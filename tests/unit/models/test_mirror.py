# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to a mirror, and what its answers mean. A real store is asked by the integration tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._models.http import SourceError
from ansible_collections.modelyard.platform.plugins.module_utils._models.mirror import Mirror
from ansible_collections.modelyard.platform.plugins.module_utils._s3.signing import AccessKey
from support.model_server import sha256_of

CONTENT = b"weights" * 100
SHA = sha256_of(CONTENT)


@pytest.fixture
def asked() -> Iterator[tuple[Mirror, list[dict[str, Any]], list[tuple[int, bytes]]]]:
    """Yield a mirror, what it was asked, and the answers that it gives, in order."""
    questions: list[dict[str, Any]] = []
    answers: list[tuple[int, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            questions.append(
                {
                    "method": self.command,
                    "path": self.path,
                    "body": self.rfile.read(length),
                    **dict(self.headers.items()),
                }
            )
            status, body = answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_GET()

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield Mirror(address, "models", AccessKey("models0001", "not-a-secret"), 5.0), questions, answers
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_file_goes_there_with_its_checksum_signed(asked: Any, tmp_path: Path) -> None:
    mirror, questions, answers = asked
    answers += [(404, b""), (200, b""), (200, b"")]
    (tmp_path / "blob").write_bytes(CONTENT)
    assert mirror.has(SHA) is False
    mirror.put(SHA, str(tmp_path / "blob"))
    assert mirror.has(SHA) is True
    assert [(question["method"], question["path"]) for question in questions] == [
        ("HEAD", f"/models/{SHA}"), ("PUT", f"/models/{SHA}"), ("HEAD", f"/models/{SHA}"),
    ]  # fmt: skip
    put = questions[1]
    assert (put["body"], put["x-amz-content-sha256"]) == (CONTENT, SHA)
    assert put["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=models0001/")
    assert "not-a-secret" not in str(questions)


def test_a_rest_is_asked_for_by_its_range(asked: Any) -> None:
    mirror, questions, answers = asked
    answers.append((206, CONTENT[10:]))
    with mirror.open(SHA, 10) as stream:
        assert (stream.start, stream.length, stream.reader.read(1 << 20)) == (10, len(CONTENT) - 10, CONTENT[10:])
    assert questions[0]["Range"] == "bytes=10-"


@pytest.mark.parametrize(
    ("status", "text"), [(404, "has it not"), (403, "answers 403"), (416, "answers 416"), (500, "answers 500")]
)
def test_what_it_does_not_give_is_told(asked: Any, status: int, text: str) -> None:
    mirror, _questions, answers = asked
    answers.append((status, b""))
    with pytest.raises(SourceError, match=text), mirror.open(SHA, 0):
        pytest.fail("it was given")


def test_a_refusal_to_take_or_to_say_is_told(asked: Any, tmp_path: Path) -> None:
    mirror, _questions, answers = asked
    (tmp_path / "blob").write_bytes(CONTENT)
    answers += [(507, b""), (403, b"")]
    with pytest.raises(SourceError, match="does not take it, and answers 507"):
        mirror.put(SHA, str(tmp_path / "blob"))
    with pytest.raises(SourceError, match="answers 403"):
        mirror.has(SHA)


def test_a_store_that_is_away_is_told() -> None:
    mirror = Mirror("127.0.0.1:9", "models", AccessKey("models0001", "not-a-secret"), 5.0)
    with pytest.raises(SourceError, match="cannot be reached"):
        mirror.has(SHA)
