# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole site beside the same site by stock modules, as ``stock/playbooks`` has it.

Both run on this machine at once, from the same images; a run of each finds all as it should be. What ours does beyond
that is in its time: it looks whether its images fit their recipes, which stock modules have no task for here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import docker
import yaml
from support.modules import HOST_PYTHON
from support.whole_site import Play, WholeSite

from benchmark.harness import Row, paired_ratio, timed
from benchmark.rows_site import running_site

PLAYBOOKS = Path(__file__).parent / "stock" / "playbooks"
#: ``postgres_direct`` is for the modules that make databases; ours reaches the server without a port.
PORTS = {"http": 38080, "https": 38443, "postgres": 38432, "edge_api": 38099, "postgres_direct": 38433}
#: Variable of the playbook to our service whose image it runs.
IMAGES = {
    "traefik": "traefik/traefik", "proxy": "traefik/proxy", "postgres": "postgres/db",
    "object_store": "object-store/s3", "mlflow": "mlflow/server",
}  # fmt: skip


def rows() -> dict[str, Callable[[], Row]]:
    """Return each measure by the name of its figure."""
    name = "second run of the whole site, ours / stock modules"
    return {name: partial(compare_second_run, name)}


def compare_second_run(name: str) -> Row:
    """Compare ``ansible-playbook`` on a site where nothing is to be done; each side must say so.

    :raises RuntimeError: a run failed or changed something.
    """
    ours = running_site()
    with stock_site(ours) as stock:
        return paired_ratio(
            name,
            lambda: timed(lambda: unchanged("ours", ours.play())),
            lambda: timed(lambda: unchanged("stock", stock.play("site"))),
            limit=0.4,
        )


@dataclass(frozen=True)
class StockSite:
    """The site by stock modules; ``place`` has its folder and names, and how a playbook is run."""

    place: WholeSite

    def write_inventory(self, images: dict[str, str]) -> None:
        """Write what an operator would. This machine's engine keeps its settings: they are written beside it."""
        place = self.place
        variables: dict[str, Any] = {
            "ansible_connection": "local", "ansible_python_interpreter": HOST_PYTHON,
            "site_name": place.prefix, "site_domain": place.domain, "site_folder": str(place.directory),
            "site_ports": dict(place.ports), "site_images": images,
            "docker_daemon_file": str(place.folder / "daemon.json"),
        }  # fmt: skip
        inventory = {"all": {"hosts": {"localhost": variables}}}
        (place.folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")

    def play(self, name: str) -> Play:
        """Run a playbook as ours is run: same Ansible, same settings, same callback."""
        return self.place.play(playbook=str(PLAYBOOKS / f"{name}.yml"))


@contextmanager
def stock_site(ours: WholeSite) -> Iterator[StockSite]:
    """Yield the site by stock modules, which has run once, on the images of ours; remove it at the end."""
    running = ours.containers()
    images = {name: str(running[service].attrs["Config"]["Image"]) for name, service in IMAGES.items()}
    engine = docker.from_env(version="auto", timeout=120)
    with tempfile.TemporaryDirectory(prefix="modelyard-bench-") as folder:
        site = StockSite(WholeSite(engine, Path(folder), ports=PORTS))
        site.write_inventory(images)
        try:
            succeeded("stock", site.play("site"))
            yield site
        finally:
            succeeded("stock", site.play("destroy"))


def unchanged(side: str, done: Play) -> Play:
    """Return what is given.

    :raises RuntimeError: the run failed or changed something, so its time means nothing.
    """
    if changed := succeeded(side, done).changed:
        raise RuntimeError(
            f"Cannot count the run of {side}: these tasks changed something: {', '.join(changed)}; run it by hand with "
            "--diff, what changes on each run is a fault in its playbook."
        )
    return done


def succeeded(side: str, done: Play) -> Play:
    """Return what is given.

    :raises RuntimeError: the run failed; the message ends as its output does.
    """
    if done.rc:
        raise RuntimeError(f"Cannot run {side}: it ended with {done.rc} and wrote: {done.output[-3000:]}")
    return done
