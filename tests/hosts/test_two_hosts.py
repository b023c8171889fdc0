# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site on two servers: edge and MLflow on one, databases and store on the other, with a private network between them.

This machine is in that network too, as a neighbour that nobody has invited.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import psycopg2
import pytest
import yaml
from support.declared import build
from support.hosts import Host, private_network, running_host
from support.recipes import packaged
from support.waiting import wait_until
from support.whole_site import Play, WholeSite

DOMAIN = "two.test"
GROUPS = {"edge": "hub", "tracking": "hub", "clients": "hub", "data": "store"}
#: Role and prefix of the variables of each packaged image, by host.
IMAGES = {
    "hub": (("traefik", ""), ("traefik", "traefik_proxy"), ("mlflow", "")),
    "store": (("traefik", ""), ("traefik", "traefik_proxy"), ("postgres", ""), ("object_store", "")),
}  # fmt: skip
STORE = "/etc/modelyard/secrets.json"

#: Logs a run with an artifact and reads both back, as a user of the site does.
_RUN = """
import os, mlflow
os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = "admin", input()
mlflow.set_tracking_uri("https://mlflow.two.test")
with mlflow.start_run() as run:
    mlflow.log_metric("loss", 0.25)
    mlflow.log_text("kept on the other host", "note.txt")
read = mlflow.MlflowClient().get_run(run.info.run_id)
print(read.data.metrics["loss"], mlflow.artifacts.load_text(read.info.artifact_uri + "/note.txt"))
"""


@dataclass(frozen=True)
class Deployed:
    """The two servers, the site on them as its operator has it, and what the first run did."""

    hub: Host
    store: Host
    private: dict[str, str]
    site: WholeSite
    first: Play

    @property
    def hosts(self) -> dict[str, Host]:
        return {"hub": self.hub, "store": self.store}

    def secrets_of(self, host: Host) -> dict[str, dict[str, str]]:
        """Return the parts of each secret of a host that nobody else may know."""
        kept = json.loads(host.must(f"cat {STORE}"))["secrets"]
        return {
            name: part
            for name, secret in kept.items()
            for part in [secret["versions"][str(secret["current"])]["secret"]]
        }

    def log_a_run(self) -> str:
        """Log a run from the hub's network with full verification; return what was read back."""
        mounts = "-v /etc/ssl/certs/ca-certificates.crt:/ca.crt:ro -v /etc/hosts:/etc/hosts:ro --network host"
        image = self.hub.must("docker inspect --format '{{.Image}}' modelyard-mlflow-server-1").strip()
        variables = "-e REQUESTS_CA_BUNDLE=/ca.crt -e GIT_PYTHON_REFRESH=quiet"
        self.hub.put("/root/run.py", _RUN)
        password = self.secrets_of(self.hub)["mlflow_admin_password"]["value"]
        line = f"docker run --rm -i {mounts} -v /root/run.py:/run.py:ro {variables} --entrypoint python {image} /run.py"
        return self.hub.must(line, stdin=f"{password}\n".encode()).strip().splitlines()[-1]


def write_inventory(hosts: dict[str, Host], private: dict[str, str], folder: Path, **variables: object) -> None:
    """Write the inventory of a team that has two servers; the key is made for it."""
    servers = {name: {**host.admit(folder), "site_private_address": private[host.name]} for name, host in hosts.items()}
    values = {
        "ansible_ssh_extra_args": "-o ConnectTimeout=5 -o ServerAliveInterval=2 -o ServerAliveCountMax=2",
        "site_domain": DOMAIN, "site_images": "packages", "site_tls": "local_ca", **variables,
    }  # fmt: skip
    groups: dict[str, Any] = {group: {"hosts": {name: {}}} for group, name in GROUPS.items()}
    inventory = {"all": {"hosts": servers, "vars": values, "children": groups}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")


@pytest.fixture(scope="module")
def deployed(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Yield the site, on a Debian 12 and a Debian 13."""
    folder = tmp_path_factory.mktemp("two")
    built = {
        name: [build(packaged(role, prefix), folder).reference for role, prefix in images]
        for name, images in IMAGES.items()
    }
    site = WholeSite(engine, folder, prefix="modelyard")
    with running_host("bookworm") as hub, running_host("trixie") as store, private_network(hub, store) as private:
        hosts = {"hub": hub, "store": store}
        write_inventory(hosts, private, folder)
        for host in hosts.values():
            host.forgo_syncs()
        # Engines first, so that they can be given the images.
        site.up("-e", '{"site_roles": {"docker": "all"}}')
        for name, host in hosts.items():
            host.load_images(built[name])
        yield Deployed(hub, store, private, site, site.up())


def test_a_run_and_its_artifact_come_back(deployed: Deployed) -> None:
    assert deployed.log_a_run() == "0.25 kept on the other host"


def test_a_second_run_changes_nothing(deployed: Deployed) -> None:
    before = {name: host.container_ids() for name, host in deployed.hosts.items()}
    assert dict(deployed.site.up().changed) == {}
    assert {name: host.container_ids() for name, host in deployed.hosts.items()} == before
    for name in deployed.hosts:
        assert dict(deployed.site.up("--limit", name).changed) == {}
    refused = deployed.site.play("--limit", "hub", "-e", '{"site_rotate": ["mlflow_database_password"]}')
    assert "Cannot rotate secrets with --limit: whoever is left out goes on with the old one" in refused.output


def test_the_controller_and_the_wrong_host_have_no_secret(deployed: Deployed) -> None:
    """What goes over the controller is sealed, and a host has what it uses."""
    hub, store = (deployed.secrets_of(host) for host in (deployed.hub, deployed.store))
    assert hub["mlflow_database_password"] == store["mlflow_database_password"]
    # The authority signs on one host alone.
    assert hub["site_ca"]["private"]
    assert store["site_ca"] == {}
    assert not {"mlflow_admin_password", "mlflow_flask_key", "traefik_admin_password"} & store.keys()
    assert "postgres_superuser" not in hub
    seen = deployed.first.output + "".join(
        path.read_bytes().decode(errors="replace")
        for path in deployed.site.folder.rglob("*")
        if path.is_file() and path.name != "key"
    )
    kept = {(name, value) for secrets in (hub, store) for name, parts in secrets.items() for value in parts.values()}
    assert len(kept) > 10
    # The id of an access key is the name by which the store's task tells what it made.
    assert {name for name, value in kept if value in seen} == {"mlflow_s3_key_id"}


def test_between_the_hosts_nothing_is_open_but_at_the_private_address(deployed: Deployed) -> None:
    listed = deployed.store.must("ss -Hltn | awk '{print $4}'").split()
    address = deployed.private[deployed.store.name]
    assert {one for one in listed if not one.startswith(("127.", "[::1]")) and not one.endswith(":22")} == {
        f"{address}:443", f"{address}:5432",
    }  # fmt: skip


def test_a_neighbour_that_nobody_invited_is_turned_away(deployed: Deployed) -> None:
    address = deployed.private[deployed.store.name]
    # What the neighbour gets is a certificate of the name, and not the store.
    asked = subprocess.run(
        ["curl", "--silent", "--insecure", "--resolve", f"s3.{DOMAIN}:443:{address}", "--write-out", " %{http_code}",
         f"https://s3.{DOMAIN}/"], capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert asked.stdout.split() == ["Forbidden", "403"]
    # Hung up on before PostgreSQL hears of it; it would ask for a password.
    with pytest.raises(psycopg2.OperationalError, match=r"EOF detected|closed the connection|reset"):
        psycopg2.connect(
            host=f"postgres.{DOMAIN}", hostaddr=address, port=5432, user="mlflow", dbname="mlflow", sslmode="require",
            password="wrong", connect_timeout=10,
        )  # fmt: skip
    # The hub, which is invited, is answered by the store itself.
    answer = (
        "import http.client, ssl; "
        f"link = http.client.HTTPSConnection('s3.{DOMAIN}', context=ssl.create_default_context()); "
        f"import socket; link.sock = link._context.wrap_socket(socket.create_connection(('{address}', 443)), "
        f"server_hostname='s3.{DOMAIN}'); link.request('GET', '/'); print(link.getresponse().status)"
    )
    assert deployed.hub.must("python3 -", stdin=answer.encode()).strip() == "403"
    assert "AccessDenied" in deployed.hub.must("python3 -", stdin=answer.replace(".status", ".read()").encode())


@pytest.mark.long
def test_a_new_password_reaches_both_hosts(deployed: Deployed) -> None:
    old = deployed.secrets_of(deployed.hub)["mlflow_database_password"]
    deployed.site.up("-e", '{"site_rotate": ["mlflow_database_password"]}')
    new = deployed.secrets_of(deployed.hub)["mlflow_database_password"]
    assert new != old
    assert deployed.secrets_of(deployed.store)["mlflow_database_password"] == new
    assert deployed.log_a_run() == "0.25 kept on the other host"
    assert dict(deployed.site.up().changed) == {}


def test_databases_are_dumped_over_there_before_a_migration_and_come_back(deployed: Deployed) -> None:
    """A migration that is due again, and fails: what it changed is gone, and a run that follows is well."""
    deployed.log_a_run()
    count = "docker exec modelyard-postgres-db-1 psql -U postgres -d mlflow -Atc 'SELECT count(*) FROM runs'"
    before = deployed.store.must(count)
    spoilt = "psql service=mlflow -v ON_ERROR_STOP=1 -c 'TRUNCATE runs CASCADE' && exit 3"
    broken = {"services": {"schema": {"entrypoint": ["sh", "-c", spoilt]}}}
    failed = deployed.site.play("-e", json.dumps({"mlflow_overrides": broken}))
    assert failed.rc != 0
    assert "schema" in failed.output
    assert deployed.store.must(count) == before
    assert int(before) > 0
    deployed.site.up()
    assert deployed.log_a_run() == "0.25 kept on the other host"


@pytest.mark.long
def test_after_a_restart_of_both_hosts_everything_is_back_by_itself(deployed: Deployed) -> None:
    for host in deployed.hosts.values():
        host.restart()
    for host in deployed.hosts.values():
        host.wait_well()
    write_inventory(deployed.hosts, deployed.private, deployed.site.folder)
    assert deployed.log_a_run() == "0.25 kept on the other host"
    assert dict(deployed.site.up().changed) == {}


def test_a_host_that_goes_down_in_the_middle_is_named_and_the_other_one_finishes(deployed: Deployed) -> None:
    changed = {"postgres_settings": {"work_mem": "8MB"}, "traefik_rate": {"average": 400, "burst": 900}}
    write_inventory(deployed.hosts, deployed.private, deployed.site.folder, **changed)
    running = deployed.site.start()
    log = deployed.site.folder / "started.log"
    wait_until(lambda: "Make the secrets of all roles" in log.read_text(encoding="utf-8"), "the secrets are made")
    subprocess.run(["docker", "kill", deployed.store.name], check=True, capture_output=True)
    try:
        assert running.wait(timeout=300) != 0
    finally:
        subprocess.run(["docker", "start", deployed.store.name], check=True, capture_output=True)
    deployed.store.wait_ready()
    said = log.read_text(encoding="utf-8")
    assert "store" in said
    assert "unreachable" in said.lower()
    assert "is up" not in said
    assert '"average": 400' in deployed.hub.must("cat /opt/modelyard/edge/routes/modelyard-traefik.yml")
    write_inventory(deployed.hosts, deployed.private, deployed.site.folder, **changed)
    deployed.site.up()
    setting = "docker exec modelyard-postgres-db-1 psql -U postgres -Atc 'SHOW work_mem'"
    assert deployed.store.must(setting).strip() == "8MB"
    assert deployed.log_a_run() == "0.25 kept on the other host"
    assert dict(deployed.site.up().changed) == {}
