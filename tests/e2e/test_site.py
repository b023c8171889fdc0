# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole site with real clients, all of them with full verification of certificates.

The tests go from looking to changing to breaking; each leaves the site as it found it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore
import psycopg2
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from docker.models.containers import Container
from support.whole_site import BUNDLE, PORTS, WholeSite

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
with mlflow.start_run() as run:
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
    "run": run_id, "sent": digest, "got": hashlib.sha256(open(found, "rb").read()).hexdigest(),
    "params": client.get_run(run_id).data.params, "steps": len(client.get_metric_history(run_id, "loss")),
    "champion": client.get_model_version_by_alias("segmenter", "champion").version == version.version,
}))
"""


@pytest.fixture(scope="module")
def logged(site: WholeSite, client_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what a client logged and read back."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path_factory.mktemp("client"))],
        check=False, capture_output=True, text=True, env=client_environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def s3(site: WholeSite, key_id: str, secret: str) -> Any:
    return boto3.client(
        "s3", endpoint_url=site.url("s3"), aws_access_key_id=key_id, aws_secret_access_key=secret, verify=BUNDLE,
        region_name="us-east-1", config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def own_key(site: WholeSite) -> tuple[str, str]:
    return site.secret("mlflow_s3_key_id"), site.secret("mlflow_s3_secret")


def status_of(url: str) -> int:
    """Return the status of an address that nobody logs in to."""
    host, _colon, port = url.removeprefix("https://").partition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_second_run_changes_nothing(site: WholeSite) -> None:
    before, files = site.ids(), mtimes(site.directory)
    again = site.up()
    assert again.changed == {}
    assert site.ids() == before
    assert mtimes(site.directory) == files


def mtimes(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_the_printed_example_works_as_it_is(site: WholeSite) -> None:
    text = site.up().output
    begin = text.index("export MLFLOW_TRACKING_URI")
    example = text[begin : text.index("EXAMPLE\n", text.index("<<'EXAMPLE'") + 15) + len("EXAMPLE\n")]
    done = subprocess.run(
        ["bash", "-euo", "pipefail"], input=example, capture_output=True, text=True, check=False, timeout=120,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/bin:/bin", "HOME": str(site.folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "is there" in done.stdout


def test_a_client_reads_back_what_it_logged(logged: Any) -> None:
    assert logged["sent"] == logged["got"]
    assert logged["params"] == {"rate": "0.1", "layers": "3"}
    assert logged["steps"] == 1000
    assert logged["champion"]


def test_the_artifact_is_an_object_in_the_bucket(site: WholeSite, logged: Any, own_key: tuple[str, str]) -> None:
    client = s3(site, *own_key)
    listed = client.list_objects_v2(Bucket="mlflow", Prefix="artifacts/")["Contents"]
    [key] = [entry["Key"] for entry in listed if logged["run"] in entry["Key"]]
    body = client.get_object(Bucket="mlflow", Key=key)["Body"].read()
    assert hashlib.sha256(body).hexdigest() == logged["sent"]


def test_a_key_opens_its_own_bucket_alone(site: WholeSite, own_key: tuple[str, str]) -> None:
    key_id, secret = own_key
    refused: dict[str, Callable[[], Any]] = {
        "another id with MLflow's secret": lambda: s3(site, "0" * 40, secret).list_objects_v2(Bucket="mlflow"),
        "MLflow's id with another secret": lambda: s3(site, key_id, "0" * 80).list_objects_v2(Bucket="mlflow"),
        "a foreign bucket": lambda: s3(site, key_id, secret).list_objects_v2(Bucket="somebody-else"),
        "anonymous": lambda: boto3.client(
            "s3", endpoint_url=site.url("s3"), verify=BUNDLE, region_name="us-east-1",
            config=Config(signature_version=botocore.UNSIGNED),
        ).list_objects_v2(Bucket="mlflow"),
    }  # fmt: skip
    for name, attempt in refused.items():
        with pytest.raises(ClientError) as failure:
            attempt()
        assert failure.value.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 404), name


def test_postgis_answers_by_name_with_full_verification(site: WholeSite) -> None:
    connection = psycopg2.connect(
        host=f"postgres.{site.domain}", port=PORTS["postgres"], dbname="mlflow", user="mlflow", sslmode="verify-full",
        password=site.secret("mlflow_database_password"), sslrootcert=BUNDLE, connect_timeout=10,
    )  # fmt: skip
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM experiments")
        assert cursor.fetchone()[0] >= 1
    connection.close()


def test_nothing_answers_without_credentials(site: WholeSite) -> None:
    assert {name: status_of(site.url(name)) for name in ("mlflow", "s3", "traefik")} == {
        "mlflow": 401, "s3": 403, "traefik": 401,
    }  # fmt: skip


def test_http_leads_to_https_and_old_tls_is_refused(site: WholeSite) -> None:
    host = f"mlflow.{site.domain}"
    connection = http.client.HTTPConnection(host, PORTS["http"], timeout=10)
    connection.request("GET", "/path")
    answer = connection.getresponse()
    assert answer.status in (301, 308)
    assert answer.getheader("location") == f"{site.url('mlflow')}/path"
    connection.close()
    context = ssl.create_default_context()
    # Python would rather not, and OpenSSL's own level would refuse for us.
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with socket.create_connection((host, PORTS["https"])) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=host)


def test_only_the_edge_listens_on_this_machine(site: WholeSite) -> None:
    published = {
        (port["IP"], port["PublicPort"])
        for entry in site.engine.api.containers(filters={"label": f"modelyard.directory={site.directory}"})
        for port in entry["Ports"]
        if port.get("PublicPort")
    }
    assert published == {("127.0.0.1", port) for port in PORTS.values()}


def test_no_secret_is_shown_by_the_engine(site: WholeSite) -> None:
    values = [site.secret(name) for name in ("postgres_superuser", "mlflow_database_password", "mlflow_s3_secret")]
    values += [site.secret(name) for name in ("mlflow_admin_password", "mlflow_flask_key", "traefik_admin_password")]
    shown = json.dumps([container.attrs for container in site.containers().values()])
    assert not [value for value in values if value in shown]
    processes = json.dumps([container.top() for container in site.containers().values() if is_running(container)])
    assert not [value for value in values if value in processes]


def is_running(container: Container) -> bool:
    container.reload()
    return bool(container.status == "running")


def test_containers_run_without_rights(site: WholeSite) -> None:
    for name, container in site.containers().items():
        host = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name


ADDED = {
    "postgres_roles": [{"name": "maps", "password": "@@secret:maps_password@@"}],
    "postgres_databases": [{"name": "maps", "owner": "maps", "extensions": ["postgis"]}],
    "object_store_buckets": [{"name": "tiles"}],
    "object_store_users": [
        {
            "name": "maps",
            "access_key_id": "@@secret:maps_key_id@@",
            "secret_access_key": "@@secret:maps_key@@",
            "buckets": [{"name": "tiles", "access": "read_write"}],
        }
    ],
    "site_secrets": [
        {"name": "maps_password", "kind": "password", "length": 24},
        {"name": "maps_key_id", "kind": "hex", "length": 40},
        {"name": "maps_key", "kind": "hex", "length": 80},
    ],
}


def test_objects_come_to_a_running_site_and_stay_when_they_are_not_declared_any_more(site: WholeSite) -> None:
    before = site.ids()
    site.write_inventory(**ADDED)
    planned = site.play("--check", "--diff")
    assert planned.rc == 0, planned.output[-4000:]
    done = site.up()
    wanted = {"postgres: Make databases and roles on the running server", "object_store: Make buckets and access keys"}
    assert set(done.changed) == {*wanted, "site: Make the secrets of all roles"}
    assert set(planned.changed) == set(done.changed), "check mode said something else"
    assert site.ids() == before, "a container was made anew"
    tiles = s3(site, site.secret("maps_key_id"), site.secret("maps_key"))
    tiles.put_object(Bucket="tiles", Key="a", Body=b"tile")

    site.containers()["object-store/s3"].exec_run("rm -r /data/tiles")
    assert set(site.up().changed) == {"object_store: Make buckets and access keys"}

    site.write_inventory()
    after = site.up()
    assert after.changed == {}
    unmanaged = json.dumps([found.get("unmanaged") for found in after.results.values() if "unmanaged" in found])
    assert "maps" in unmanaged
    assert "tiles" in unmanaged
    assert site.ids() == before


def test_a_rotated_password_reaches_the_database_and_its_user(
    site: WholeSite, client_environment: dict[str, str]
) -> None:
    old = site.secret("mlflow_database_password")
    site.write_inventory(site_rotate=["mlflow_database_password"])
    done = site.up()
    site.write_inventory()
    assert "postgres: Make databases and roles on the running server" in done.changed
    assert "mlflow: Apply the project" in done.changed
    assert site.secret("mlflow_database_password") != old
    assert count_runs(client_environment) >= 1
    assert site.up().changed == {}


def count_runs(environment: dict[str, str]) -> int:
    text = "import mlflow; print(len(mlflow.search_runs(search_all_experiments=True, output_format='list')))"
    done = subprocess.run(
        [sys.executable, "-c", text], check=False, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["postgres/db", "object-store/s3", "traefik/traefik"])
def test_what_dies_comes_back_and_no_run_is_lost(
    name: str, site: WholeSite, logged: Any, client_environment: dict[str, str]
) -> None:
    before = count_runs(client_environment)
    container = site.containers()[name]
    os.kill(container.attrs["State"]["Pid"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not is_up(site, container):
        assert time.monotonic() < deadline, f"{name} did not come back: {container.logs(tail=10)!r}"
        time.sleep(0.3)
    assert count_runs(client_environment) == before


def is_up(site: WholeSite, container: Container) -> bool:
    container.reload()
    state = container.attrs["State"]
    if not (state["Running"] and state["Health"]["Status"] == "healthy" and container.attrs["RestartCount"] > 0):
        return False
    try:
        return status_of(site.url("mlflow")) == 401
    except OSError:
        return False


def test_what_cannot_work_is_said_at_once_before_anything_is_touched(site: WholeSite) -> None:
    before, files = site.ids(), mtimes(site.directory)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        site.write_inventory(
            site_ports={**PORTS, "http": taken.getsockname()[1]}, site_domain="two words",
            site_minimum={"memory_mib": 10**9}, mlflow_default_permission="ALL", site_rotate=["postgres_superusr"],
        )  # fmt: skip
        refused = site.play()
    site.write_inventory()
    assert refused.rc != 0
    message = next(str(found["msg"]) for found in refused.results.values() if "findings" in found)
    expected = ("already used by", "MiB of memory", "Cannot rotate", "mlflow_default_permission", "as site_domain")
    missing = [text for text in expected if text not in message]
    assert not missing, f"{missing} is not in: {message}"
    assert (site.ids(), mtimes(site.directory)) == (before, files)


def test_down_keeps_data_and_up_brings_it_back(
    site: WholeSite, foreign: Container, logged: Any, client_environment: dict[str, str]
) -> None:
    runs, started = count_runs(client_environment), foreign.attrs["State"]["StartedAt"]
    stopped = site.up("-e", "site_state=stopped")
    assert stopped.changed
    assert not [name for name, container in site.containers().items() if is_running(container)]
    site.up()
    assert count_runs(client_environment) == runs
    foreign.reload()
    assert (foreign.status, foreign.attrs["State"]["StartedAt"]) == ("running", started)
