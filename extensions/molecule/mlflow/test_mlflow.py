# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""MLflow with its database, its store and its route: runs and artifacts of who may log in."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Answer, Server

ORIGIN = "https://mlflow.molecule.test"


def api(server: Server, path: str, body: dict[str, object], *, login: str = "") -> Answer:
    login = login or f"admin:{server.secret('mlflow_admin_password')}"
    return server.ask(f"{ORIGIN}/api/2.0/mlflow/{path}", login=login, body=body)


def experiment(server: Server, name: str) -> str:
    """Make an experiment and return its id."""
    answer = api(server, "experiments/create", {"name": name})
    assert answer.status == 200, answer.text
    return str(json.loads(answer.text)["experiment_id"])


def client(server: Server, script: str) -> str:
    """Run a script of MLflow's own client, as the administrator, through the edge and its certificate."""
    image = server.must("docker inspect --format '{{.Image}}' modelyard-mlflow-server-1")
    login = f"-e MLFLOW_TRACKING_USERNAME=admin -e MLFLOW_TRACKING_PASSWORD={server.secret('mlflow_admin_password')}"
    trust = "-v /etc/ssl/certs/ca-certificates.crt:/ca.crt:ro -e REQUESTS_CA_BUNDLE=/ca.crt -v /etc/hosts:/etc/hosts:ro"
    run = f"docker run --rm --network host --entrypoint python3 -e MLFLOW_TRACKING_URI={ORIGIN} {login} {trust} {image}"
    return server.must(f"timeout 120 {run} -c {shlex.quote(script)}")


def test_it_is_well_and_asks_for_a_login(server: Server) -> None:
    assert server.ask(f"{ORIGIN}/health").status == 200
    assert server.ask(f"{ORIGIN}/").status == 401
    assert server.ask(f"{ORIGIN}/", login="admin:wrong").status == 401


def test_a_run_has_its_metric_and_its_artifact(server: Server) -> None:
    script = (
        "import mlflow; mlflow.set_experiment('artifacts'); r = mlflow.start_run(); mlflow.log_metric('loss', 0.5); "
        "mlflow.log_text('of the run', 'a.txt'); i = r.info.run_id; mlflow.end_run(); "
        "print(mlflow.get_run(i).data.metrics['loss'], mlflow.artifacts.load_text(r.info.artifact_uri + '/a.txt'))"
    )
    assert client(server, script).splitlines()[-1] == "0.5 of the run"


def test_the_changed_option_keeps_an_experiment_from_another_user(server: Server) -> None:
    own = experiment(server, "of-the-administrator")
    made = api(server, "users/create", {"username": "ada", "password": "of-the-scenario-1"})
    assert made.status == 200, made.text
    login = "ada:of-the-scenario-1"
    read = server.ask(f"{ORIGIN}/api/2.0/mlflow/experiments/get?experiment_id={own}", login=login)
    assert read.status == 403
    administrator = f"admin:{server.secret('mlflow_admin_password')}"
    assert server.ask(f"{ORIGIN}/api/2.0/mlflow/experiments/get?experiment_id={own}", login=administrator).status == 200


def test_its_data_is_in_the_database_and_the_bucket(server: Server) -> None:
    query = "SELECT count(*) FROM experiments WHERE name = 'artifacts'"
    assert server.inside("postgres/db", f'psql -XAtq -d mlflow -c "{query}"') == "1"
    assert "a.txt" in server.inside("object-store/s3", "find /data/mlflow -name a.txt")


def test_nobody_reaches_it_beside_the_edge(server: Server) -> None:
    address = server.must("hostname -I").split()[0]
    assert server.run(f"timeout 3 bash -c '</dev/tcp/{address}/5000'").rc != 0
    assert server.run("timeout 3 bash -c '</dev/tcp/127.0.0.1/5000'").rc != 0


def test_after_a_restart_of_the_host_experiments_are_there(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    experiment(server, "kept")
    before = restarted()
    assert server.containers() == before
    server.soon(f"python3 -c \"import urllib.request as u; u.urlopen('{ORIGIN}/health')\"")
    found = server.ask(
        f"{ORIGIN}/api/2.0/mlflow/experiments/get-by-name?experiment_name=kept",
        login=f"admin:{server.secret('mlflow_admin_password')}",
    )
    assert found.status == 200, found.text
