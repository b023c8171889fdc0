# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients of a whole site, as its users have them. All of them verify certificates."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg2
import requests
from botocore.config import Config

from support.waiting import wait_until
from support.whole_site import BUNDLE, WholeSite

#: What logs runs one after the other, tries each call until it is accepted, and notes in a file what was.
_WRITER = """
import json, os, sys, time
from mlflow.tracking import MlflowClient

notes, end = sys.argv[1:]
client = MlflowClient()

def note(**entry):
    with open(notes, "a") as stream:
        stream.write(json.dumps(entry) + chr(10))

def accepted(call, *arguments, **named):
    while not os.path.exists(end):
        try:
            return call(*arguments, **named)
        except Exception as error:
            note(refused=type(error).__name__)
            time.sleep(0.1)
    sys.exit()

experiment = accepted(client.create_experiment, f"written-{os.getpid()}-{time.time()}")
while True:
    run = accepted(client.create_run, experiment).info.run_id
    note(run=run)
    for step in range(5):
        accepted(client.log_metric, run, "loss", 1 / (step + 1), step=step)
        note(run=run, step=step)
        time.sleep(0.05)
    accepted(client.log_text, run, run, "name.txt")
    note(run=run, text=True)
"""


def s3(site: WholeSite, key_id: str, secret: str) -> Any:
    """Return a client of the store with an access key."""
    return boto3.client(
        "s3", endpoint_url=site.url("s3"), aws_access_key_id=key_id, aws_secret_access_key=secret, verify=BUNDLE,
        region_name="us-east-1", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )  # fmt: skip


def database(site: WholeSite, password: str) -> Any:
    """Return a connection to MLflow's database by name, through the edge.

    :raises psycopg2.OperationalError: the password is not the one, or nobody answers.
    """
    return psycopg2.connect(
        host=f"postgres.{site.domain}", port=site.ports["postgres"], dbname="mlflow", user="mlflow",
        sslmode="verify-full", password=password, sslrootcert=BUNDLE, connect_timeout=10,
    )  # fmt: skip


def database_lets_in(site: WholeSite, password: str) -> bool:
    """Tell whether the password is the one. Any other trouble is raised."""
    try:
        with contextlib.closing(database(site, password)):
            return True
    except psycopg2.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False


def status_of(url: str) -> int:
    """Return the status of an address that nobody logs in to."""
    host, _colon, port = url.removeprefix("https://").partition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def count_runs(environment: Mapping[str, str]) -> int:
    """Return how many runs MLflow has."""
    origin = f"{environment['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"
    with _session(environment) as session:
        experiments = session.post(f"{origin}/experiments/search", json={"max_results": 1000}, timeout=30)
        experiments.raise_for_status()
        asked = {"experiment_ids": [one["experiment_id"] for one in experiments.json()["experiments"]]}
        runs = session.post(f"{origin}/runs/search", json={**asked, "max_results": 50000}, timeout=30)
        runs.raise_for_status()
        return len(runs.json().get("runs", []))


def _session(environment: Mapping[str, str]) -> requests.Session:
    session = requests.Session()
    session.verify = BUNDLE
    session.auth = (environment["MLFLOW_TRACKING_USERNAME"], environment["MLFLOW_TRACKING_PASSWORD"])
    return session


@dataclass(frozen=True)
class Writer:
    """A client that logs runs all the time; ``notes`` tells call by call what was accepted, and what was refused."""

    notes: Path
    environment: Mapping[str, str]

    def entries(self) -> list[dict[str, Any]]:
        text = self.notes.read_text(encoding="utf-8") if self.notes.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def wait_for(self, key: str, *, count: int = 1) -> None:
        """Wait for so many more notes that have ``key``."""
        wanted = count + self._count(key)
        wait_until(lambda: self._count(key) >= wanted, f"the client notes {key!r} {count} times more", seconds=120)

    def _count(self, key: str) -> int:
        return sum(key in entry for entry in self.entries())

    def lost(self) -> list[dict[str, Any]]:
        """Return what was accepted and is not there."""
        entries = [entry for entry in self.entries() if "run" in entry]
        with _session(self.environment) as session:
            found = {run: self._found(session, run) for run in {entry["run"] for entry in entries}}
        return [entry for entry in entries if not _is_there(entry, *found[entry["run"]])]

    def _found(self, session: requests.Session, run: str) -> tuple[set[int], str]:
        """Return the steps of a run and its text."""
        origin = self.environment["MLFLOW_TRACKING_URI"]
        asked = {"run_id": run, "metric_key": "loss"}
        history = session.get(f"{origin}/api/2.0/mlflow/metrics/get-history", params=asked, timeout=30)
        history.raise_for_status()
        text = session.get(f"{origin}/get-artifact", params={"run_uuid": run, "path": "name.txt"}, timeout=30)
        return {int(metric["step"]) for metric in history.json().get("metrics", [])}, text.text if text.ok else ""


def _is_there(entry: Mapping[str, Any], steps: set[int], text: str) -> bool:
    if "step" in entry:
        return entry["step"] in steps
    return text == entry["run"] if "text" in entry else True


@contextlib.contextmanager
def writing(folder: Path, environment: Mapping[str, str]) -> Iterator[Writer]:
    """Yield a client that logs runs until the end of the block."""
    # It tries again itself, and soon.
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    writer = Writer(folder / "notes", {**environment, **patience})
    command = [sys.executable, "-c", _WRITER, str(writer.notes), str(folder / "end")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=dict(writer.environment), stdout=log, stderr=log)
    try:
        writer.wait_for("text")
        yield writer
    finally:
        (folder / "end").touch()
        process.wait(timeout=60)
