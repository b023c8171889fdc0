# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole site, as its users have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Server


def test_all_is_well(server: Server) -> None:
    assert "All is well." in server.must("modelyard status")


def test_every_address_answers_with_a_certificate_and_asks_who_it_is(server: Server) -> None:
    paths = ("mlflow.molecule.test/", "s3.molecule.test/", "traefik.molecule.test/dashboard/")
    assert [server.ask(f"https://{path}").status for path in paths] == [401, 403, 401]
    assert server.ask("https://mlflow.molecule.test/health").status == 200


def test_the_changed_option_offers_postgresql_by_tls(server: Server) -> None:
    """Its own client, on the host's network, verifies the name that the edge shows."""
    password = server.secret("mlflow_database_password")
    target = "'host=postgres.molecule.test dbname=mlflow user=mlflow sslmode=verify-full sslrootcert=/ca.crt'"
    image = server.must("docker inspect --format '{{.Image}}' modelyard-postgres-db-1")
    mounts = "-v /etc/ssl/certs/ca-certificates.crt:/ca.crt:ro -v /etc/hosts:/etc/hosts:ro --network host"
    run = f"docker run --rm {mounts} -e PGPASSWORD={password} --entrypoint psql {image} {target}"
    assert server.must(f"{run} -XAtqc \"SELECT 'verified'\"") == "verified"


def test_nothing_else_is_open(server: Server) -> None:
    listed = server.must("ss -Hltn | awk '{print $4}'").split()
    ports = {address.rpartition(":")[2] for address in listed if not address.startswith(("127.", "[::1]"))}
    assert ports == {"22", "80", "443", "5432"}


def test_what_was_stopped_is_told_and_the_next_run_starts_it(server: Server) -> None:
    server.must("docker stop modelyard-mlflow-server-1")
    assert server.run("modelyard status").rc != 0
    done = server.play()
    assert done.returncode == 0, done.stdout
    assert "All is well." in server.must("modelyard status")


def test_after_a_restart_of_the_host_everything_is_back_by_itself(
    server: Server, restarted: Callable[[], dict[str, str]]
) -> None:
    before = restarted()
    assert server.containers() == before
    assert "All is well." in server.soon("modelyard status")
    assert server.ask("https://mlflow.molecule.test/health").status == 200
