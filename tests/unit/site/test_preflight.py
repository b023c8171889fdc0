# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What would stop a deployment: ports, disks, memory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.modelyard.platform.plugins.module_utils._compose.engine import Engine
from ansible_collections.modelyard.platform.plugins.module_utils._site.preflight import (
    WantedPort,
    find_foreign_addresses,
    find_missing_rights,
    find_small_disks,
    find_small_memory,
    find_taken_ports,
    list_containers,
)


def test_a_taken_port_is_told_with_who_has_it_and_where_it_is_set() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        wanted = WantedPort(number, "127.0.0.1", "tcp", "lab-traefik", "site_ports.https")
        [found] = find_taken_ports([wanted], [])
        assert found.startswith(f"Cannot start service 'lab-traefik': port {number} is already used by '")
        assert found.endswith(f"(pid {os.getpid()}); stop it, or set another one in site_ports.https.")
    assert find_taken_ports([wanted], []) == []


def test_an_address_that_the_host_has_not_is_told_once() -> None:
    [found] = find_foreign_addresses(["192.0.2.7", "", "127.0.0.1", "192.0.2.7"])
    assert found == (
        "Cannot use address 192.0.2.7 of this host: Cannot assign requested address; correct site_address or "
        "site_private_address, whichever names it, to an address of this host."
    )


@pytest.mark.parametrize(("user_id", "shown"), [(65534, "nobody"), (4000000000, "4000000000")])
def test_whoever_is_not_root_is_told(user_id: int, shown: str) -> None:
    [found] = find_missing_rights(user_id)
    assert found == (
        f"Cannot deploy the site: the task runs as user '{shown}', and root is needed; on this machine run the command "
        "with sudo, for other hosts let Ansible become root (ansible_become: true)."
    )


def test_root_has_all_rights() -> None:
    assert find_missing_rights(0) == []


def test_a_small_disk_is_told_for_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    path = f"{tmp_path}/not/there"
    [found] = find_small_disks({path: 10**9, str(tmp_path): 0})
    assert found.startswith(f"Cannot use {path}: ")
    assert found.endswith(
        " MiB are free there, 1000000000 MiB are needed; make room, or choose a folder on another disk."
    )


def test_a_small_machine_is_told(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        1024000 kB\nMemFree: 5 kB\n", encoding="ascii")
    assert find_small_memory(1000, str(tmp_path)) == []
    [found] = find_small_memory(1001, str(tmp_path))
    assert found == (
        "Cannot deploy the site: the machine has 1000 MiB of memory, 1001 MiB are needed; add memory, or take roles "
        "off this host."
    )


def test_a_host_without_an_engine_has_no_containers(tmp_path: Path) -> None:
    assert list_containers(Engine(f"{tmp_path}/none.sock")) == []
