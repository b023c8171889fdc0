# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Passwords of those who may do everything get new versions on a running site, and certificates come from elsewhere."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from support.modules import run_module
from support.whole_site import BUNDLE, WholeSite

OBJECTS = "postgres: Make databases and roles on the running server"
PROJECT = "mlflow: Apply the project"


def rotate_and_die(site: WholeSite, name: str) -> None:
    """Leave what a run leaves that was killed as soon as the secret had its new version."""
    done = run_module(
        "secrets",
        {"path": str(site.secret_store), "site_directory": str(site.directory), "secrets": [], "rotate": [name]},
    )
    assert not done.failed, done.msg


def refusal_of_postgres(site: WholeSite, password: str) -> str:
    """Return why PostgreSQL does not let its superuser in; empty where it does."""
    try:
        connection = psycopg2.connect(
            host=f"postgres.{site.domain}", port=site.ports["postgres"], dbname="postgres", user="postgres",
            password=password, sslmode="verify-full", sslrootcert=BUNDLE, connect_timeout=10,
        )  # fmt: skip
    except psycopg2.OperationalError as error:
        return str(error)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (True,)
    connection.close()
    return ""


def is_let_in_by_mlflow(site: WholeSite, password: str) -> bool:
    connection = http.client.HTTPSConnection(
        f"mlflow.{site.domain}", site.ports["https"], timeout=20, context=ssl.create_default_context(cafile=BUNDLE)
    )
    login = base64.b64encode(f"admin:{password}".encode()).decode()
    connection.request("GET", "/api/2.0/mlflow/users/get?username=admin", headers={"Authorization": f"Basic {login}"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (200, 401), body
    return answer.status == 200 and json.loads(body)["user"]["is_admin"] is True


def count_runs(environment: dict[str, str]) -> int:
    text = "import mlflow; print(len(mlflow.search_runs(search_all_experiments=True, output_format='list')))"
    done = subprocess.run(
        [sys.executable, "-c", text], check=False, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed-on-the-way", "in-one-run"])
def test_the_superuser_gets_a_new_password_and_the_server_stays(site: WholeSite, is_killed: bool) -> None:
    old, before = site.secret("postgres_superuser"), site.ids()
    if is_killed:
        rotate_and_die(site, "postgres_superuser")
        done = site.up()
    else:
        done = site.up("-e", '{"site_rotate": ["postgres_superuser"]}')
    assert [step["object"] for step in done.changed[OBJECTS]["plan"]] == ["role postgres"]
    assert site.ids() == before
    new = site.secret("postgres_superuser")
    assert refusal_of_postgres(site, new) == ""
    assert "password authentication failed" in refusal_of_postgres(site, old)
    assert site.up().changed == {}


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed-on-the-way", "in-one-run"])
def test_mlflows_administrator_gets_a_new_password(
    site: WholeSite, client_environment: dict[str, str], is_killed: bool
) -> None:
    old, before, runs = site.secret("mlflow_admin_password"), site.ids(), count_runs(client_environment)
    assert is_let_in_by_mlflow(site, old)
    if is_killed:
        rotate_and_die(site, "mlflow_admin_password")
        done = site.up()
    else:
        done = site.up("-e", '{"site_rotate": ["mlflow_admin_password"]}')
    client_environment["MLFLOW_TRACKING_PASSWORD"] = new = site.secret("mlflow_admin_password")
    assert is_let_in_by_mlflow(site, new)
    assert not is_let_in_by_mlflow(site, old)
    assert count_runs(client_environment) == runs
    assert PROJECT in done.changed
    kept = {name for name, found in site.ids().items() if found == before.get(name)}
    assert set(before) - kept == {"mlflow/admin", "mlflow/server"}, "more than MLflow itself was made anew"
    assert site.up().changed == {}


def make_authority(folder: Path, domain: str) -> dict[str, Any]:
    """Return the variables of an operator with a private authority and a certificate of it."""
    store = folder / "authority" / "secrets.json"
    made = run_module("secrets", {"path": str(store), "site_directory": str(folder), "secrets": [
        {"name": "ca", "kind": "x509_ca", "common_name": "Private"},
        {"name": "wildcard", "kind": "x509_leaf", "of": "ca", "names": [domain, f"*.{domain}"]},
    ]})  # fmt: skip
    assert not made.failed, made.msg
    public = made["secrets"]
    kept = json.loads(store.read_text(encoding="utf-8"))["secrets"]["wildcard"]["versions"]["1"]
    return {
        "site_tls": "files", "traefik_authority": public["ca"]["public"]["certificate"],
        "site_secrets": [{"name": "wildcard_key", "kind": "token", "value": kept["secret"][kept["main"]]}],
        "traefik_certificates": [
            {"certificate": public["wildcard"]["public"]["certificate"], "key": "@@secret:wildcard_key@@"},
        ],
    }  # fmt: skip


def test_a_private_authority_is_trusted_within_the_site_and_by_its_client(
    site: WholeSite, client_environment: dict[str, str], tmp_path: Path
) -> None:
    site.write_inventory(**make_authority(tmp_path, site.domain))
    try:
        site.up()
        text = (
            "import mlflow\n"
            "mlflow.set_experiment('private')\n"
            "with mlflow.start_run() as run: mlflow.log_text('kept', 'note.txt')\n"
            "print(mlflow.artifacts.load_text(run.info.artifact_uri + '/note.txt'))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", text], check=False, capture_output=True, text=True, env=client_environment,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.splitlines()[-1] == "kept"
        assert site.up().changed == {}
    finally:
        site.write_inventory()
        site.up()
