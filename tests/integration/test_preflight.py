# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight of several hosts in one play: everything that is wrong anywhere, before anything is touched on any."""

from __future__ import annotations

import json
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from support.modules import HOST_PYTHON, ROOT, controller_environment, run_by_ansible
from support.ports import free_ports
from support.whole_site import WholeSite

RULES = yaml.safe_load((ROOT / "roles/site/defaults/main/rules.yml").read_text(encoding="utf-8"))["__site_rules"]
LOCAL = {"ansible_connection": "local"}
#: What sudo says where it may not ask.
SUDO = "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n"


def play(folder: Path, hosts: Mapping[str, Mapping[str, Any]], **options: Any) -> dict[str, Any]:
    """Run preflight on every host, then a task that touches them; return the tasks by name and host."""
    plays = [
        {
            "name": "Test", "hosts": "all", "gather_facts": False,
            "tasks": [
                {"name": "Look", "modelyard.platform.preflight": {"rules": RULES, **options}, "any_errors_fatal": True},
                {"name": "Touch", "ansible.builtin.debug": {"msg": "touched"}},
            ],
        }
    ]  # fmt: skip
    (folder / "play.yml").write_text(yaml.safe_dump(plays, sort_keys=False), encoding="utf-8")
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": dict(hosts)}}), encoding="utf-8")
    done = subprocess.run(
        [f"{sys.prefix}/bin/ansible-playbook", "-i", "hosts.yml", "play.yml"], check=False, capture_output=True,
        text=True, cwd=folder, stdin=subprocess.DEVNULL, timeout=120, env=controller_environment(str(folder)),
    )  # fmt: skip
    answer = json.JSONDecoder().raw_decode(done.stdout[done.stdout.index("{\n") :])[0]
    return {task["task"]["name"]: task["hosts"] for task in answer["plays"][0]["tasks"]}


def test_the_findings_of_all_hosts_are_told_before_any_is_touched(tmp_path: Path) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text(SUDO, encoding="ascii")
    sudo.chmod(sudo.stat().st_mode | stat.S_IXUSR)
    hosts = {
        "good": LOCAL,
        "away": {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_ssh_common_args": "-o BatchMode=yes"},
        "bare": {**LOCAL, "ansible_python_interpreter": "/nonexistent/python3"},
        "locked": {**LOCAL, "ansible_become": True, "ansible_become_exe": str(sudo), "ansible_become_user": "daemon"},
        "small": LOCAL,
    }
    tasks = play(tmp_path, hosts, memory_mib="{{ 10 ** 9 if inventory_hostname == 'small' else 0 }}")
    assert "Touch" not in tasks
    found = tasks["Look"]
    assert not found["good"].get("failed")
    assert found["away"]["unreachable"]
    assert found["away"]["msg"].startswith("away: Cannot reach this host: ")
    assert found["away"]["msg"].endswith(" or leave it out of this run with --limit.")
    assert found["bare"]["msg"].startswith("bare: Cannot look at this host: it has no Python where it is looked for (")
    assert found["locked"]["msg"].startswith("locked: Cannot become root on this host: sudo asks for a password (")
    assert found["small"]["msg"].startswith("small: Cannot deploy the site: the machine has ")
    assert all("Traceback" not in str(result) for result in found.values())


def test_hosts_without_a_finding_go_on(tmp_path: Path) -> None:
    tasks = play(tmp_path, {"one": LOCAL, "two": LOCAL})
    assert {host: result["msg"] for host, result in tasks["Touch"].items()} == {"one": "touched", "two": "touched"}


def test_a_gpu_that_a_host_does_not_have_stops_all_of_them(tmp_path: Path) -> None:
    """No machine has a hundred of them, so that it counts nothing whether this one has any."""
    hosts = {"one": {**LOCAL, "asked": []}, "two": {**LOCAL, "asked": [{"service": "chat", "gpus": ["99"]}]}}
    tasks = play(tmp_path, hosts, gpus="{{ asked }}")
    assert "Touch" not in tasks
    found = tasks["Look"]
    assert (found["one"].get("failed"), found["one"]["gpus"]) == (None, {})
    assert found["two"]["findings"][0].startswith("Cannot give ")
    assert "service 'chat'" in found["two"]["msg"]


def test_everything_that_is_wrong_with_a_host_is_in_one_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_by_ansible(
            "preflight",
            {
                "problems": ["Cannot deploy role 'x': it needs a y."],
                "ports": [{"number": taken.getsockname()[1], "address": "127.0.0.1", "project": "lab-traefik",
                           "option": "site_ports.https"}],
                "disk_mib": {str(tmp_path): 10**9}, "memory_mib": 10**9, "rules": RULES,
                "images": {"object_store_image": "minio/minio:latest"},
                "edge": {"names": ["modelyard.invalid"], "challenge": "http-01"},
            },
        )  # fmt: skip
    assert done.failed
    lines = done.msg.splitlines()
    starts = [
        "Cannot deploy role 'x': it needs a y.", "localhost: Cannot start service 'lab-traefik': port ",
        f"localhost: Cannot use {tmp_path}: ", "localhost: Cannot deploy the site: the machine has ",
        "localhost: Cannot get a certificate for 'modelyard.invalid': this host finds no address of it; ",
        "localhost: Cannot pull minio/minio:latest, ",
    ]  # fmt: skip
    assert len(lines) == len(starts), done.msg
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), done.msg
    assert done["findings"] == [line.removeprefix("localhost: ") for line in lines]
    assert any("minio/minio:latest is another image tomorrow" in text for text in done["warnings"])


def test_a_good_host_says_what_it_is() -> None:
    done = run_by_ansible("preflight", {"rules": RULES})
    assert not done.failed, done.msg
    assert done["facts"]["engine"]
    assert done["facts"]["compose"]
    assert done["certificates"] == {}


def test_a_controller_with_a_wrong_clock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The controller's own clock, moved in its process alone: the host's cannot be.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if sys.argv[0].endswith('ansible-playbook'):\n"
        "    real = time.time\n"
        "    time.time = lambda: real() - 7200\n",
        encoding="ascii",
    )  # fmt: skip
    started = time.monotonic()
    done = run_by_ansible("preflight", {}, environment={"PYTHONPATH": str(tmp_path)})
    assert done.failed
    assert "Cannot trust the clock of this host: it is 7200 s ahead of the controller's" in done.msg
    assert time.monotonic() - started < 60


def test_a_site_begins_on_no_host_where_a_name_of_its_edge_is_not_in_the_dns(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    ports = dict(zip(("http", "https", "postgres", "edge_api"), free_ports(4), strict=True))
    site = WholeSite(engine, tmp_path, ports=ports)
    host = {"ansible_connection": "local", "ansible_python_interpreter": HOST_PYTHON}
    inventory = {
        "all": {
            "hosts": {"first": host, "second": {**host, "site_directory": f"{site.directory}-second"}},
            "children": {"edge": {"hosts": {"first": {}}}},
            "vars": {
                "site_domain": "lab.invalid-top-level", "site_prefix": site.prefix, "site_ports": ports,
                "site_directory": str(site.directory), "site_secret_store": str(site.secret_store), "site_tls": "acme",
                "site_images": "packages", "site_roles": {"docker": "all", "traefik": "edge"},
            },
        }
    }  # fmt: skip
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    done = site.play()
    assert done.rc != 0
    assert list(done.results) == [
        "site: Read what the roles of the site need", "site: Keep what roles read of the plan",
        "site: Refuse what cannot work, before anything is touched",
    ], done.output[-3000:]  # fmt: skip
    assert (
        "first: Cannot get a certificate for 'traefik.lab.invalid-top-level': this host finds no address of it; make a "
        "record of it in the DNS."
    ) in done.output
    assert not site.directory.exists()
    assert not site.secret_store.exists()
    assert site.containers() == {}
