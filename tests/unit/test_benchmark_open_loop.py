# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load of the benchmarks: it keeps its pace whatever the server does, and tells every request that failed."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator

import pytest
from benchmark.open_loop import OpenLoop, Taken, Target, percentile


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    hangs_seconds = 0.0
    status = 200
    asked = 0


class _Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.asked += 1
        time.sleep(self.server.hangs_seconds)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    found = _Server(("127.0.0.1", 0), _Answers)
    threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    found.shutdown()
    found.server_close()


def load(server: _Server) -> OpenLoop:
    return OpenLoop(Target.get("127.0.0.1", server.server_address[1], "/", x_api_key="k"), per_second=50, seconds=0.4)


def test_every_request_is_timed(server: _Server) -> None:
    taken = load(server).run()
    assert (len(taken.seconds), taken.failures, server.asked) == (20, [], 20)
    assert 0 < taken.percentile(50) <= taken.percentile(99)


def test_a_server_that_hangs_does_not_slow_the_pace_down(server: _Server) -> None:
    server.hangs_seconds = 0.5
    begin = time.monotonic()
    taken = load(server).run()
    assert time.monotonic() - begin < 5, "20 requests one after the other would take 10 s"
    assert len(taken.seconds) == 20
    assert taken.percentile(1) >= 0.5


def test_what_fails_is_told_and_leaves_no_figure(server: _Server) -> None:
    server.status = 503
    taken = load(server).run()
    assert taken.failures == ["status 503"] * 20
    with pytest.raises(RuntimeError, match=r"^20 requests failed, the first with: status 503$"):
        taken.percentile(50)


def test_nobody_listens() -> None:
    taken = OpenLoop(Target.get("127.0.0.1", 1, "/"), per_second=50, seconds=0.04).run()
    assert len(taken.failures) == 2
    assert taken.failures[0].startswith("ConnectionRefusedError")


@pytest.mark.parametrize(("percent", "value"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_percentiles(percent: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_one_value_is_every_percentile() -> None:
    assert Taken(seconds=[2.0]).percentile(99) == 2.0
