# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A newcomer on a bare Debian: the commands of the README as they stand there, from a clone of the last commit."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from support.hosts import CLONE, RELEASES, Host, running_host

ADDRESSES = re.compile(r"^  (\w+) +(https://\S+)$", re.MULTILINE)


@pytest.fixture(scope="module", params=RELEASES)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Yield a bare host with a clone of root's, and one of a user's."""
    with running_host(request.param) as found:
        found.put_clone()
        found.must(f"cp -r {CLONE} /home/admin/platform && chown -R admin: /home/admin/platform")
        yield found


@pytest.fixture(scope="module")
def addresses(host: Host) -> dict[str, str]:
    """Return what the first ``make up`` says is where."""
    done = host.run("make up")
    assert done.returncode == 0, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    assert "DEPRECATION" not in done.stderr, done.stderr
    assert "Log a first run" in done.stdout
    assert "Call fields and chat with a key" in done.stdout
    return dict(ADDRESSES.findall(done.stdout))


def test_who_is_not_root_is_told_what_to_install(host: Host) -> None:
    done = host.run("make up", user="admin", folder="/home/admin/platform")
    assert done.returncode != 0
    assert "install one (Debian: apt-get install python3 python3-venv)" in done.stderr


@pytest.mark.long
def test_what_is_printed_answers(host: Host, addresses: dict[str, str]) -> None:
    assert set(addresses) == {"traefik", "s3", "mlflow", "fields", "chat", "open_webui"}
    assert host.status_of(f"{addresses['mlflow']}/health") == 200
    assert host.status_of(addresses["mlflow"]) == 401
    assert host.status_of(addresses["traefik"]) == 401
    assert host.status_of(addresses["s3"]) == 403
    assert host.must("systemctl is-enabled docker").strip() == "enabled"


@pytest.mark.long
def test_who_is_not_root_is_told_so(host: Host, addresses: dict[str, str]) -> None:
    done = host.run("make up", user="admin", folder="/home/admin/platform")
    assert done.returncode != 0
    assert "the task runs as user 'admin', and root is needed; on this machine run the command with sudo" in done.stdout
    assert "port 443" not in done.stdout


@pytest.mark.long
def test_a_second_run_changes_nothing(host: Host, addresses: dict[str, str]) -> None:
    before = host.container_ids()
    done = host.run("make up")
    assert done.returncode == 0, done.stderr
    assert "changed=0 " in done.stdout
    assert host.container_ids() == before


@pytest.mark.long
def test_after_a_restart_of_the_host_everything_is_back_by_itself(host: Host, addresses: dict[str, str]) -> None:
    before = host.container_ids()
    host.restart()
    host.wait_well()
    assert host.container_ids() == before
    assert host.status_of(f"{addresses['mlflow']}/health") == 200


@pytest.mark.long
def test_a_missing_inventory_is_no_success(host: Host, addresses: dict[str, str]) -> None:
    done = host.run("make up INVENTORY=inventories/nowhere")
    assert done.returncode != 0
    assert "inventories/nowhere" in done.stderr


@pytest.mark.long
def test_an_engine_that_was_stopped_is_started(host: Host, addresses: dict[str, str]) -> None:
    host.must("systemctl stop docker docker.socket")
    told = host.run("modelyard status", folder="/")
    assert told.returncode != 0
    assert "start it (systemctl start docker)" in told.stderr
    assert host.run("make up").returncode == 0
    host.wait_well()


@pytest.mark.long
def test_down_stops_up_starts_and_destroy_leaves_nothing(host: Host, addresses: dict[str, str]) -> None:
    assert host.run("make down").returncode == 0
    assert host.must("docker ps --quiet") == ""
    assert host.run("make up").returncode == 0
    host.wait_well()
    assert host.run('make destroy ARGS="-e site_destroy_confirmed=modelyard"').returncode == 0
    assert host.container_ids() == {}
    assert host.must("docker volume ls --quiet; docker image ls --quiet; ls /opt /usr/local/sbin").split() == [
        "/opt:", "/usr/local/sbin:"
    ]  # fmt: skip
    assert "modelyard" not in host.must("cat /etc/hosts; ls /etc /usr/local/share/ca-certificates")
