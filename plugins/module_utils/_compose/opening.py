# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How every run begins: the host opened, the project locked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .._run import Run
from .cli import ComposeCli, find_plugin
from .engine import Engine, socket_path_of
from .prepare import Host
from .secret_source import SecretSource
from .site import Site


def open_host(site: Site, *, source: SecretSource, project: str, folder: str, run: Run) -> Host:
    """Return what a run works with: the engine of this host, Compose, the site's folder, the secret store.

    :raises PlatformError: there is no Compose, or DOCKER_HOST names another machine.
    """
    return Host(
        site=site,
        engine=Engine(socket_path_of(os.environ)),
        compose=ComposeCli(find_plugin(os.environ), project, folder, run=run),
        secrets=source,
    )


@contextmanager
def project_lock(site: Site, name: str, *, purpose: str, wait_seconds: float, makes_nothing: bool) -> Iterator[int]:
    """Hold the project's lock; yield its descriptor. A run that makes nothing has nothing to lock on a bare host.

    :param purpose: completes *Cannot ...*, for the error.
    """
    if makes_nothing and not os.path.exists(site.lock_path(name)):
        yield -1
        return
    with site.hold(name, purpose=purpose, wait_seconds=wait_seconds) as lock:
        yield lock
