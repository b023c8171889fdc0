# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole site is looked at: real clients use it, and nobody else gets anywhere."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from support import browser
from support.clients import database, s3, status_of
from support.whole_site import BUNDLE, WholeSite, is_running


def test_a_second_run_changes_nothing(site: WholeSite) -> None:
    before, files = site.ids(), site.mtimes()
    again = site.up()
    assert again.changed == {}
    assert site.ids() == before
    assert site.mtimes() == files


def test_a_run_for_one_role_leaves_the_others_out(site: WholeSite) -> None:
    only = site.up("--tags", "traefik")
    assert only.changed == {}
    assert [name for name in only.results if name.endswith(": Apply the project")] == ["traefik: Apply the project"]
    refused = site.play("--tags", "mlflow", "-e", '{"site_rotate": ["mlflow_database_password"]}')
    assert "Cannot rotate secrets with --tags: whoever is left out goes on with the old one" in refused.output


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


def test_a_browser_shows_the_run(site: WholeSite, logged: Any, tmp_path: Path) -> None:
    authority = Path(f"/usr/local/share/ca-certificates/modelyard-site-{site.prefix}.crt")
    browser.trust(tmp_path, authority)
    page = f"{site.url('mlflow')}/#/experiments/{logged['experiment']}/runs"
    with browser.opened(tmp_path) as chromium:
        browser.log_in(chromium, site.url("mlflow"), "admin", site.secret("mlflow_admin_password"))
        chromium.get(page)
        browser.wait_for_texts(chromium, "end-to-end", "seen-in-a-browser")
        browser.keep_screenshot(chromium, "mlflow-runs")
        chromium.get(f"{page}/{logged['run']}")
        browser.wait_for_texts(chromium, "seen-in-a-browser", logged["run"], "loss", "0.001", "rate", "0.1", "layers")
        browser.keep_screenshot(chromium, "mlflow-run")


def test_a_browser_that_does_not_know_the_authority_is_kept_away(site: WholeSite, tmp_path: Path) -> None:
    with browser.opened(tmp_path) as chromium:
        chromium.get(site.url("mlflow"))
        browser.wait_for_texts(chromium, "NET::ERR_CERT_AUTHORITY_INVALID")


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
    with contextlib.closing(database(site, site.secret("mlflow_database_password"))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT count(*) FROM experiments")
        assert cursor.fetchone()[0] >= 1


def test_nothing_answers_without_credentials(site: WholeSite) -> None:
    assert {name: status_of(site.url(name)) for name in ("mlflow", "s3", "traefik")} == {
        "mlflow": 401, "s3": 403, "traefik": 401,
    }  # fmt: skip


def test_http_leads_to_https_and_old_tls_is_refused(site: WholeSite) -> None:
    host = f"mlflow.{site.domain}"
    connection = http.client.HTTPConnection(host, site.ports["http"], timeout=10)
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
    with socket.create_connection((host, site.ports["https"])) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname=host)


def test_only_the_edge_listens_on_this_machine(site: WholeSite) -> None:
    published = {
        (port["IP"], port["PublicPort"])
        for entry in site.engine.api.containers(filters={"label": f"modelyard.directory={site.directory}"})
        for port in entry["Ports"]
        if port.get("PublicPort")
    }
    assert published == {("127.0.0.1", port) for port in site.ports.values()}


def test_no_secret_is_shown_by_the_engine(site: WholeSite) -> None:
    values = [site.secret(name) for name in ("postgres_superuser", "mlflow_database_password", "mlflow_s3_secret")]
    values += [site.secret(name) for name in ("mlflow_admin_password", "mlflow_flask_key", "traefik_admin_password")]
    shown = json.dumps([container.attrs for container in site.containers().values()])
    assert not [value for value in values if value in shown]
    processes = json.dumps([container.top() for container in site.containers().values() if is_running(container)])
    assert not [value for value in values if value in processes]


def test_containers_run_without_rights(site: WholeSite) -> None:
    for name, container in site.containers().items():
        host = container.attrs["HostConfig"]
        assert container.attrs["Config"]["User"].split(":")[0] not in ("", "0", "root"), name
        assert host["ReadonlyRootfs"], name
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None), name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
