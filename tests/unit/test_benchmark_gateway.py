# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the figures of the gateway are read from what other programs say."""

from __future__ import annotations

import pytest
from benchmark.rows_gateway import issued_keys, read_rate
from modelyard_gateway.keys import parse_keys
from support.gateway import keys_file

# Recorded with wrk 4.1.0.
SAID = """\
Running 3s test @ https://warm.bench.test:38443/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.81ms   13.11ms 163.31ms   87.44%
    Req/Sec     2.59k     1.04k    4.45k    66.67%
  7749 requests in 3.01s, 1.92MB read
{more}Requests/sec:   2576.75
Transfer/sec:    654.40KB
"""


def test_the_rate_is_read() -> None:
    assert read_rate(SAID.format(more="")) == 2576.75


@pytest.mark.parametrize(
    "said",
    [
        SAID.format(more="  Non-2xx or 3xx responses: 12\n"),
        SAID.format(more="  Socket errors: connect 0, read 4, write 0, timeout 0\n"),
        "unable to connect",
    ],
    ids=["status", "socket", "nobody there"],
)
def test_a_rate_with_failures_is_none(said: str) -> None:
    with pytest.raises(RuntimeError, match=r"^Requests failed:"):
        read_rate(said)


def test_the_file_of_issued_keys_is_one_that_the_gateway_reads() -> None:
    ring = parse_keys(keys_file(issued_keys(3)["clients"]), "issued.json")
    assert (len(ring), ring.find(b"key-number-000000002") is not None) == (3, True)
