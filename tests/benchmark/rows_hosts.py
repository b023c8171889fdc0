# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The figures of servers that are reached by SSH, each a container of this machine with systemd and an engine inside.

Eight whole sites on two cores are what these measure against: what a play costs there is mostly the hosts' own work,
which eight real servers would do at once.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import docker
import yaml
from support.declared import build
from support.hosts import Host, running_host
from support.recipes import OF_A_SITE, packaged
from support.whole_site import WholeSite

from benchmark.harness import Row, worst

HOSTS = 8
#: Its engine asks a container that serves twice a minute alone: eight sites' health checks are no part of a play.
RELEASE = "trixie"
#: At once, where this machine's disk and cores are what it takes.
_AT_ONCE = 2
GROUPS = ("edge", "data", "tracking", "clients")


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    measures: dict[str, Callable[[str], Row]] = {
        "no-op site over SSH, one host": measure_one,
        "8 hosts / 1 host, no-op site, wall time": compare_eight,
    }
    return {name: partial(measure, name) for name, measure in measures.items()}


def measure_one(name: str) -> Row:
    """Take what an operator of one server waits for who runs the playbook though nothing has changed."""
    return worst(name, lambda: seconds_of("host1"), "s", limit=15.0, times=5)


def compare_eight(name: str) -> Row:
    """Compare one run for eight servers with one for the first of them: the worst, for a pair takes a minute."""
    return worst(name, lambda: seconds_of("all") / seconds_of("host1"), "ratio", limit=5.0, times=5)


def seconds_of(hosts: str) -> float:
    """Return how long a run takes that changes nothing.

    :raises RuntimeError: it changed something, so that its time means nothing.
    """
    site = deployed()
    begin = time.monotonic()
    done = site.play("--limit", hosts)
    seconds = time.monotonic() - begin
    if done.rc or done.changed:
        raise RuntimeError(f"The run for {hosts} ended with {done.rc} and changed {sorted(done.changed)}.")
    return seconds


@functools.cache
def deployed() -> WholeSite:
    """Return the sites of all servers, brought up once for all rows; nothing of them is left at the end."""
    # Short, for below it lie the sockets of connections that are shared.
    folder = Path(tempfile.mkdtemp(prefix="mybench-"))
    atexit.register(shutil.rmtree, folder)
    running = contextlib.ExitStack()
    atexit.register(running.close)
    hosts = [running.enter_context(running_host(RELEASE)) for _number in range(HOSTS)]
    site = WholeSite(docker.from_env(version="auto", timeout=120), folder, prefix="modelyard")
    write_inventory(hosts, folder)
    references = [build(packaged(role, prefix), folder).reference for role, prefix in OF_A_SITE]
    # Engines first, so that they can be given the images.
    site.up("-e", '{"site_roles": {"docker": "all"}}')
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda host: host.load_images(references), hosts))
    for number in range(1, HOSTS + 1, _AT_ONCE):
        site.up("--limit", ",".join(f"host{one}" for one in range(number, number + _AT_ONCE)))
    return site


def write_inventory(hosts: list[Host], folder: Path) -> None:
    """Write the inventory of somebody who has a whole site on each of several servers."""
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for host in hosts:
        host.authorize(key.with_suffix(".pub").read_text(encoding="utf-8"))
        host.forgo_syncs()
    names = {f"host{number}": {"ansible_host": host.address()} for number, host in enumerate(hosts, start=1)}
    values = {
        "ansible_user": "admin", "ansible_ssh_private_key_file": str(key), "ansible_become": True,
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_extra_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        "site_domain": "bench.test", "site_images": "packages", "site_tls": "local_ca",
    }  # fmt: skip
    # Each name anew, or YAML would refer from one group to the other.
    groups: dict[str, object] = {group: {"hosts": {name: {} for name in names}} for group in GROUPS}
    inventory = {"all": {"hosts": names, "vars": values, "children": groups}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
