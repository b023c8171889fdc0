# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the end-to-end test: one site for all of it, and a container of somebody else.

The modules are numbered: they go from looking to changing to breaking, and each test leaves the site as it found it.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from support import images
from support.whole_site import BUNDLE, WholeSite

#: What an MLflow client does with a model; its answer is JSON on the last line.
CLIENT = """
import hashlib, json, os, sys
import mlflow
from mlflow.tracking import MlflowClient

folder = sys.argv[1]
payload = os.path.join(folder, "weights.bin")
with open(payload, "wb") as stream:
    stream.write(os.urandom(50 * 2**20))
digest = hashlib.sha256(open(payload, "rb").read()).hexdigest()
mlflow.set_experiment("end-to-end")
client = MlflowClient()
with mlflow.start_run(run_name="seen-in-a-browser") as run:
    mlflow.log_params({"rate": 0.1, "layers": 3})
    run_id = run.info.run_id
    for first in range(0, 1000, 500):
        client.log_batch(run_id, metrics=[
            mlflow.entities.Metric("loss", 1 / (step + 1), 1700000000000 + step, step)
            for step in range(first, first + 500)])
    mlflow.log_artifact(payload, "model")
os.unlink(payload)
try:
    client.create_registered_model("segmenter")
except mlflow.exceptions.MlflowException as error:
    if error.error_code != "RESOURCE_ALREADY_EXISTS":
        raise
version = client.create_model_version("segmenter", run.info.artifact_uri + "/model", run_id)
client.set_registered_model_alias("segmenter", "champion", version.version)
found = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="model/weights.bin", dst_path=folder)
print(json.dumps({
    "run": run_id, "experiment": run.info.experiment_id,
    "sent": digest, "got": hashlib.sha256(open(found, "rb").read()).hexdigest(),
    "params": client.get_run(run_id).data.params, "steps": len(client.get_metric_history(run_id, "loss")),
    "champion": client.get_model_version_by_alias("segmenter", "champion").version == version.version,
}))
"""


@pytest.fixture(scope="session")
def foreign(engine: docker.DockerClient) -> Iterator[Container]:
    """Yield a container of somebody else on the same machine; the site comes and goes, and it stays as it is."""
    container = engine.containers.run(
        images.ensure(images.BASE), ["sleep", "infinity"], name=f"mytest-{secrets.token_hex(4)}-foreign", detach=True,
        init=True,
    )  # fmt: skip
    container.reload()
    started = container.attrs["State"]["StartedAt"]
    yield container
    container.reload()
    state = (container.status, container.attrs["State"]["StartedAt"])
    container.remove(force=True)
    assert state == ("running", started), "up, down or destroy touched a container of somebody else"


@pytest.fixture(scope="session")
def site(
    engine: docker.DockerClient, foreign: Container, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WholeSite]:
    """Yield the running site; remove it as its operator would."""
    whole = WholeSite(engine, tmp_path_factory.mktemp("whole"))
    whole.write_inventory()
    try:
        whole.up()
        yield whole
    finally:
        whole.destroy()


@pytest.fixture(scope="session")
def client_environment(site: WholeSite) -> dict[str, str]:
    """Return what a client of MLflow exports, as the site's closing message says it."""
    return {
        "PATH": os.environ["PATH"], "HOME": str(site.folder),
        "MLFLOW_TRACKING_URI": site.url("mlflow"), "REQUESTS_CA_BUNDLE": BUNDLE,
        "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": site.secret("mlflow_admin_password"),
    }  # fmt: skip


@pytest.fixture(scope="session")
def logged(client_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what a client logged and read back."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path_factory.mktemp("client"))],
        check=False, capture_output=True, text=True, env=client_environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def own_key(site: WholeSite) -> tuple[str, str]:
    """Return id and secret of MLflow's own access key."""
    return site.secret("mlflow_s3_key_id"), site.secret("mlflow_s3_secret")
