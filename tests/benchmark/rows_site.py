# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The figures of the whole site on one machine, as its operator and its users see them."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import docker
from botocore.config import Config
from support.modules import ROOT
from support.whole_site import BUNDLE, WholeSite

from benchmark.harness import Row, paired_ratio, timed, worst

ARTIFACT_BYTES = 50 * 10**6
MEBIBYTE = 2**20
#: Not those of the end-to-end test, so that both can run.
PORTS = {"http": 37080, "https": 37443, "postgres": 37432, "edge_api": 37099}
#: Logs one artifact; prints the seconds that the upload took. A small one goes before it: a client's first call imports
#: half of MLflow and connects, which the client of the store beside it did before its first pair as well.
LOG_ARTIFACT = """
import sys, time
import mlflow
mlflow.set_experiment("benchmark")
with mlflow.start_run():
    mlflow.log_text("warm", "warm.txt")
    begin = time.monotonic()
    mlflow.log_artifact(sys.argv[1])
    print(time.monotonic() - begin)
"""


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    measures: dict[str, Callable[[str], Row]] = {
        "second make up, everything in it": measure_second_up,
        "memory of the idle platform, all containers": measure_memory,
        "50 MB artifact through edge, MLflow and store / straight to the store": compare_artifact,
    }
    return {name: partial(measure, name) for name, measure in measures.items()}


@functools.cache
def running_site() -> WholeSite:
    """Return a site of its own, brought up once for all rows; it is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="modelyard-bench-"))
    site = WholeSite(docker.from_env(version="auto", timeout=120), folder, ports=PORTS)
    site.write_inventory()
    atexit.register(shutil.rmtree, folder)  # after the site is gone: what is registered last runs first
    atexit.register(site.play, "-e", f"site_destroy_confirmed={site.prefix}", playbook="playbooks/destroy.yml")
    site.up()
    return site


def measure_second_up(name: str) -> Row:
    """Take what a user waits for who types ``make up`` though nothing has changed."""
    site = running_site()
    command = ["make", "up", f"INVENTORY={site.folder}/inventory.yml"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}

    def up() -> float:
        begin = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=environment)
        seconds = time.monotonic() - begin
        if "changed=0 " not in done.stdout:
            raise RuntimeError("The second run changed something, so its time means nothing.")
        return seconds

    up()
    return worst(name, up, "s", limit=10.0, times=9)


def measure_memory(name: str) -> Row:
    """Add up what the engine counts for each container, without pages of files that it could drop."""
    site = running_site()

    def used() -> float:
        total = 0
        for container in site.containers().values():
            if container.status == "running":
                taken: Any = container.stats(stream=False)
                memory = taken["memory_stats"]
                total += memory["usage"] - memory["stats"].get(
                    "total_inactive_file", memory["stats"].get("inactive_file", 0)
                )
        return total / MEBIBYTE

    return worst(name, used, "MiB", limit=1536, times=3)


def compare_artifact(name: str) -> Row:
    """Compare a client of MLflow with one of the store, both through the edge with TLS."""
    site = running_site()
    payload = site.folder / "payload"
    payload.write_bytes(os.urandom(ARTIFACT_BYTES))
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(site.folder), "MLFLOW_TRACKING_URI": site.url("mlflow"),
        "REQUESTS_CA_BUNDLE": BUNDLE, "MLFLOW_TRACKING_USERNAME": "admin",
        "MLFLOW_TRACKING_PASSWORD": site.secret("mlflow_admin_password"),
    }  # fmt: skip
    store = boto3.client(
        "s3", endpoint_url=site.url("s3"), aws_access_key_id=site.secret("mlflow_s3_key_id"), verify=BUNDLE,
        aws_secret_access_key=site.secret("mlflow_s3_secret"), region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )  # fmt: skip

    def through_mlflow() -> float:
        done = subprocess.run(
            [f"{ROOT}/build/venv/bin/python", "-c", LOG_ARTIFACT, str(payload)],
            check=True, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        # What MLflow prints of the run comes after it.
        return float(done.stdout.splitlines()[0])

    def straight() -> float:
        return timed(lambda: store.upload_file(str(payload), "mlflow", "benchmark/payload"))

    return paired_ratio(name, through_mlflow, straight, limit=2.0)
