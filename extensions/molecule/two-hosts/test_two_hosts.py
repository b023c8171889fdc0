# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One site on two hosts: the edge and MLflow on Debian 12, databases and store on Debian 13, joined by a network.

This machine is in it too, as a neighbour that nobody has invited.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from support import molecule_hosts

if TYPE_CHECKING:
    from conftest import Server

S3, POSTGRES = "s3.molecule.test", "postgres.molecule.test"
_LOG = """
import mlflow
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.25)
    mlflow.log_text("kept on the other host", "note.txt")
print(run.info.run_id)
"""
_READ = """
import mlflow, sys
run = mlflow.get_run(sys.argv[1])
print(run.data.metrics["loss"], mlflow.artifacts.load_text(run.info.artifact_uri + "/note.txt"))
"""
#: What a server of PostgreSQL answers, by TLS, to somebody who wants to log in: its first byte.
_KNOCK = """
import socket, ssl, sys
link = socket.create_connection((sys.argv[2], 5432), 10)
link.sendall(bytes.fromhex("0000000804d2162f"))
assert link.recv(1) == b"S"
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
hello = b"\\0\\3\\0\\0user\\0mlflow\\0database\\0mlflow\\0\\0"
try:
    link = context.wrap_socket(link, server_hostname=sys.argv[1])
    link.sendall((len(hello) + 4).to_bytes(4, "big") + hello)
    print(link.recv(1))
except (ConnectionError, ssl.SSLError):
    print(b"")
"""
#: What a name answers at an address, with full verification.
_ASK_STORE = """
import http.client, socket, ssl, sys
name, address = sys.argv[1:]
link = http.client.HTTPSConnection(name)
link.sock = ssl.create_default_context().wrap_socket(socket.create_connection((address, 443), 10), server_hostname=name)
link.request("GET", "/")
print(link.getresponse().read().decode())
"""
READ = "0.25 kept on the other host"
EVERYWHERE = "all"


@pytest.fixture(scope="module")
def hub(server: Server) -> Server:
    return server


@pytest.fixture(scope="module")
def store(neighbour: Server) -> Server:
    return neighbour


def private_address(server: Server) -> str:
    return molecule_hosts.inventory_of(molecule_hosts.host_of(server.release))["site_private_address"]


def client(hub: Server, script: str, *arguments: str) -> str:
    """Run a script of MLflow's own client, as the administrator, through the edge and its certificate."""
    image = hub.must("docker inspect --format '{{.Image}}' modelyard-mlflow-server-1")
    login = f"-e MLFLOW_TRACKING_USERNAME=admin -e MLFLOW_TRACKING_PASSWORD={hub.secret('mlflow_admin_password')}"
    trust = "-v /etc/ssl/certs/ca-certificates.crt:/ca.crt:ro -e REQUESTS_CA_BUNDLE=/ca.crt -v /etc/hosts:/etc/hosts:ro"
    run = "docker run --rm --network host --entrypoint python3 -e MLFLOW_TRACKING_URI=https://mlflow.molecule.test"
    return hub.must(f"timeout 120 {run} {login} {trust} {image} -c {shlex.join([script, *arguments])}").splitlines()[-1]


def psql(target: str, *commands: str) -> str:
    """Return a line that asks as MLflow does, from its own container."""
    asked = " ".join(f"-c {shlex.quote(command)}" for command in commands)
    return f"docker exec -i modelyard-mlflow-server-1 psql -XAtq {asked} {shlex.quote(target)} 2>&1"


def parts(server: Server) -> dict[str, dict[str, str]]:
    """Return the parts of each secret of a host that nobody else may know."""
    kept = json.loads(server.must("cat /etc/modelyard/secrets.json"))["secrets"]
    return {name: secret["versions"][str(secret["current"])]["secret"] for name, secret in kept.items()}


def curl_as_neighbour(store: Server) -> list[str]:
    """Return words and status that this machine gets from the store's name at the private address."""
    asked = subprocess.run(
        ["curl", "--silent", "--insecure", "--noproxy", "*", "--resolve", f"{S3}:443:{private_address(store)}",
         "--write-out", " %{http_code}", f"https://{S3}/"],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    return asked.stdout.split()


def test_a_run_and_its_artifact_come_back_and_are_on_the_other_host(hub: Server, store: Server) -> None:
    run = client(hub, _LOG)
    assert client(hub, _READ, run) == READ
    count = f"SELECT count(*) FROM runs WHERE run_uuid = '{run}'"
    assert store.inside("postgres/db", f'psql -XAtq -d mlflow -c "{count}"') == "1"
    assert f"/{run}/" in store.inside("object-store/s3", "find /data/mlflow -name note.txt")
    assert not [name for name in hub.containers() if "postgres" in name or "object-store" in name]
    assert not [name for name in store.containers() if "mlflow" in name]


def test_postgresql_is_asked_over_there_with_full_verification(hub: Server, store: Server) -> None:
    said = hub.must(psql("service=mlflow", r"\conninfo"))
    assert private_address(store) in said
    assert "SSL" in said
    assert hub.inside("mlflow/server", "grep -c ^sslmode=verify-full /run/secrets/pg_service.conf") == "2"
    # Another authority will not do, be it one that the whole world trusts.
    refused = hub.run(psql("service=mlflow sslrootcert=system", "SELECT 1"))
    assert refused.rc != 0
    assert "certificate verify failed" in refused.stdout


def test_the_changed_option_is_that_of_the_server_on_the_other_host(hub: Server) -> None:
    assert hub.must(psql("service=mlflow", "SHOW work_mem")) == "6MB"


def test_the_other_host_listens_at_its_private_address_alone(store: Server) -> None:
    listed = store.must("ss -Hltn | awk '{print $4}'").split()
    open_here = {one for one in listed if not one.startswith(("127.", "[::1]")) and not one.endswith(":22")}
    assert open_here == {f"{private_address(store)}:443", f"{private_address(store)}:5432"}


def test_a_neighbour_that_nobody_invited_is_turned_away(hub: Server, store: Server) -> None:
    assert curl_as_neighbour(store) == ["Forbidden", "403"]
    address = private_address(store)
    # PostgreSQL asks the hub for a password; on the neighbour its edge hangs up before.
    knock = f"python3 -c {shlex.quote(_KNOCK)} {POSTGRES} {address}"
    assert hub.must(knock) == "b'R'"
    assert subprocess.run(knock, shell=True, check=True, capture_output=True, text=True).stdout.strip() == "b''"
    # The hub gets to the store itself, which asks who it is.
    assert "AccessDenied" in hub.must(f"python3 -c {shlex.quote(_ASK_STORE)} {S3} {address}")


def test_each_host_has_the_secrets_of_what_it_does(hub: Server, store: Server) -> None:
    of_hub, of_store = parts(hub), parts(store)
    assert of_hub["mlflow_database_password"] == of_store["mlflow_database_password"]
    assert of_hub["site_ca"]["private"]
    assert of_store["site_ca"] == {}
    assert not {"mlflow_admin_password", "mlflow_flask_key", "traefik_admin_password"} & of_store.keys()
    assert "postgres_superuser" not in of_hub


def test_without_a_private_address_nothing_is_touched(hub: Server, store: Server) -> None:
    before = hub.containers(), store.containers()
    done = hub.play("-e", '{"site_private_address": ""}', limit=EVERYWHERE)
    assert done.returncode != 0
    assert (
        "Cannot deploy role 'mlflow' on bookworm with role 'postgres' on trixie: bookworm and trixie have no "
        "site_private_address; give the address by which only the hosts of the site reach it, or put both roles on one "
        "host."
    ) in done.stdout
    assert (hub.containers(), store.containers()) == before


def test_a_rotated_password_reaches_both_hosts(hub: Server, store: Server) -> None:
    before = parts(hub)["mlflow_database_password"]
    done = hub.play("-e", '{"site_rotate": ["mlflow_database_password"]}', limit=EVERYWHERE)
    assert done.returncode == 0, done.stdout
    now = parts(hub)["mlflow_database_password"]
    assert now != before
    assert parts(store)["mlflow_database_password"] == now
    assert now["value"] not in done.stdout
    assert client(hub, _READ, client(hub, _LOG)) == READ
    assert hub.play(limit=EVERYWHERE).stdout.count("changed=0 ") == 2


def test_after_a_restart_of_the_hosts_everything_is_back(hub: Server, store: Server) -> None:
    run = client(hub, _LOG)
    before = store.restart(), hub.restart()
    assert (store.containers(), hub.containers()) == before
    for server in (store, hub):
        assert "All is well." in server.soon("modelyard status")
    assert client(hub, _READ, run) == READ
    assert hub.play(limit=EVERYWHERE).stdout.count("changed=0 ") == 2
