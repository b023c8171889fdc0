# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The figures of gate and gateway, on a site of their own: a service that costs next to nothing, behind both of them.

What is compared with it is the same program without them: dialled straight, or by the edge alone.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from support.gateway import key
from support.gateway_process import ask_over, running_gateway
from support.load import Background

from benchmark.gate_site import running_site
from benchmark.harness import PAIRS, WARM_UPS, Row, at_least, repeated, worst
from benchmark.open_loop import OpenLoop, Target, percentile

PER_SECOND = 200
ROUND_SECONDS = 5.0
ROUNDS = 7
KEYS = 1000
SERVICES = 50
_ANSWER_SECONDS = 60.0


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    measures: dict[str, Callable[[str], Row]] = {
        "added by gate and gateway at 200 requests/s, p50": partial(measure_added, percent=50, limit=0.002),
        "added by gate and gateway at 200 requests/s, p99": partial(measure_added, percent=99, limit=0.008),
        "requests/s through edge, gate and gateway / edge alone": compare_throughput,
        "requests/s through edge, gate and gateway": measure_throughput,
        "wake through the gate - start and readiness alone": measure_wake,
        "memory of the gateway, 1,000 keys and 50 services": measure_memory,
        "reload of 1,000 keys while requests come": measure_reload,
    }
    return {name: partial(measure, name) for name, measure in measures.items()}


@functools.cache
def added_seconds() -> dict[int, list[float]]:
    """Map percentile to what gate and gateway add to it, in every round; both sides one after the other."""
    site = running_site()
    sides = (site.through_gate("warm"), site.straight(site.container("bench/warm")))
    added: dict[int, list[float]] = {50: [], 99: []}
    for number in range(WARM_UPS + ROUNDS):
        order = sides if number % 2 else sides[::-1]
        taken = {side: OpenLoop(side, PER_SECOND, ROUND_SECONDS).run() for side in order}
        if number >= WARM_UPS:
            ours, theirs = (taken[side] for side in sides)
            for percent, values in added.items():
                values.append(ours.percentile(percent) - theirs.percentile(percent))
    return added


def measure_added(name: str, *, percent: int, limit: float) -> Row:
    """Take the median of the rounds: one pause of the machine is a whole round's 99th percentile."""
    values = added_seconds()[percent]
    detail = (
        f"median of {len(values)} rounds of {ROUND_SECONDS:g} s, {min(values) * 1e3:.2g} to {max(values) * 1e3:.2g} ms"
    )
    return Row(name, statistics.median(values), "s", limit, detail, values)


@functools.cache
def throughputs() -> list[tuple[float, float]]:
    """Return requests/s through all three and through the edge alone, in pairs; both with TLS and an access log."""
    site = running_site()
    taken = []
    for number in range(WARM_UPS + PAIRS):
        order = ("warm", "plain") if number % 2 else ("plain", "warm")
        found = {name: run_wrk(site.whole.url(name), site.key) for name in order}
        taken.append((found["warm"], found["plain"]))
    return taken[WARM_UPS:]


def run_wrk(url: str, api_key: str) -> float:
    """Return how many requests a second were answered over 32 connections, of which none may fail."""
    command = ["wrk", "-t1", "-c32", "-d8s", "-H", f"X-API-Key: {api_key}", f"{url}/"]
    return read_rate(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def read_rate(said: str) -> float:
    """Return the requests a second that wrk counted.

    :raises RuntimeError: some of them failed, so that the figure means nothing.
    """
    found = re.search(r"^Requests/sec:\s+([0-9.]+)$", said, re.MULTILINE)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"Requests failed:\n{said}")
    return float(found[1])


def compare_throughput(name: str) -> Row:
    """Compare edge, gate and gateway with the edge alone."""
    taken = throughputs()
    ours, theirs = (statistics.median(side) for side in zip(*taken, strict=True))
    return at_least(
        name, [our / their for our, their in taken], "ratio", 0.4, f"all {ours:.0f}/s, edge alone {theirs:.0f}/s"
    )


def measure_throughput(name: str) -> Row:
    """Take our side for itself."""
    return at_least(name, [ours for ours, _theirs in throughputs()], "1/s", 1000, "32 connections, one client thread")


def measure_wake(name: str) -> Row:
    """Take what a request waits for longer than whoever starts the container and asks until it is ready."""
    site = running_site()
    container = site.container("bench/sleepy")

    def added() -> float:
        _until_asleep(container)
        begin = time.perf_counter()
        container.start()
        _until_ready(site.straight(container))
        alone = time.perf_counter() - begin
        _until_asleep(container)
        begin = time.perf_counter()
        taken = OpenLoop(site.through_gate("sleepy"), 1, 1).run()
        taken.percentile(100)
        return time.perf_counter() - begin - alone

    return worst(name, added, "s", limit=0.5, times=20)


def _until_asleep(container: Container) -> None:
    until = time.monotonic() + _ANSWER_SECONDS
    while True:
        container.reload()
        if container.status == "exited":
            time.sleep(1.0)  # the gateway has written down that it stopped it
            return
        if time.monotonic() > until:
            raise RuntimeError(f"{container.name} is {container.status}, and was to sleep.")
        time.sleep(0.1)


def _until_ready(target: Target) -> None:
    until = time.monotonic() + _ANSWER_SECONDS
    while OpenLoop(target, 1000, 0.001).run().failures:
        if time.monotonic() > until:
            raise RuntimeError(f"Nothing answers at {target.host}.")
        time.sleep(0.005)


def issued_keys(number: int) -> dict[str, Any]:
    """Return a file of issued keys."""
    return {
        "format": 1,
        "clients": {f"client{one}": {"keys": [key("k", f"key-number-{one:09}", "*")]} for one in range(number)},
    }


def measure_memory(name: str) -> Row:
    """Take what the program holds in memory once each key was used."""

    def held() -> float:
        with tempfile.TemporaryDirectory() as folder:
            clients = {
                **issued_keys(KEYS - 1)["clients"],
                "app": {"keys": [key("first", "good-key-of-the-bench", "*")]},
            }
            with running_gateway(Path(folder), clients, more=SERVICES - 1, idle_seconds=None) as gateway:
                if gateway.ask("good-key-of-the-bench") != 200:
                    raise RuntimeError("The service does not wake.")
                connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
                for number in range(2 * KEYS):
                    ask_over(connection, f"key-number-{number % (KEYS - 1):09}")
                connection.close()
                return gateway.resident_mib()

    return worst(name, held, "MiB", limit=80, times=3)


def measure_reload(name: str) -> Row:
    """Take the seconds from the signal until a key of the new file opens, while others come; none of them may fail."""
    site = running_site()
    path = site.whole.directory / "state/keys/issued.json"
    gateway = site.container("gateway/gateway")
    target = site.through_gate("warm")
    _replace(path, issued_keys(KEYS))
    load = OpenLoop(target, PER_SECOND, 3600.0)
    running = Background(load.run)
    rounds = iter(range(100))

    def reload() -> float:
        content = issued_keys(KEYS - 1)
        value = f"the-new-key-of-round-{next(rounds)}"
        content["clients"]["new"] = {"keys": [key("k", value, "*")]}
        new = Target.get(target.host, target.port, "/warm/", x_api_key=value)
        time.sleep(0.5)
        _replace(path, content)
        begin = time.perf_counter()
        gateway.kill("SIGHUP")
        _until_ready(new)
        return time.perf_counter() - begin

    try:
        row = repeated(name, reload, "s", limit=1.0)
    finally:
        load.stop()
        running.join(timeout=60)
        path.unlink()
    slowest = percentile(load.taken.seconds, 100)
    load.taken.percentile(50)  # refuses where one has failed
    detail = f"{row.detail}; none of {len(load.taken.seconds)} requests failed, the slowest took {slowest * 1e3:.0f} ms"
    return Row(row.name, max(row.samples), row.unit, row.limit, f"worst of {len(row.samples)}, {detail}", row.samples)


def _replace(path: Path, content: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content), encoding="utf-8")
    os.replace(new, path)
