# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out a plan: packages, settings, the engine's start, the group."""

from __future__ import annotations

import os
import urllib.request
from dataclasses import dataclass

from .._errors import PlatformError
from .machine import Machine
from .observe import GROUP, read_compose_version
from .plan import Observed, Plan
from .wanted import COMPOSE_FLOOR, DOCKER_KEY_PATH, Wanted, apt_files, is_at_least

_FETCH_SECONDS = 30.0


@dataclass(frozen=True)
class Host(Machine):
    """What brings a host to what is wanted."""

    wanted: Wanted
    observed: Observed

    def apply(self, plan: Plan) -> None:
        """Do every step.

        :raises PlatformError: a program failed; the message says which and why.
        """
        if plan.has("settings"):
            self.write_settings(self.wanted.daemon_file, plan.settings)
        if plan.packages:
            self._install(plan)
        if plan.hold:
            self.must(["apt-mark", "hold", *plan.hold], "hold packages")
        self._handle_engine(plan)
        for user in plan.join:
            self.must(["usermod", "--append", "--groups", GROUP, user], f"let user {user!r} use Docker")

    def _install(self, plan: Plan) -> None:
        updated = self.apt("update")
        if plan.source is not None and self._write_sources(plan):
            updated = self.apt("update")
        self.install(plan.packages, updated=updated)
        version = read_compose_version(self.run)
        if plan.source is not None and not is_at_least(version or "0", COMPOSE_FLOOR):
            raise PlatformError(
                f"Cannot prepare Docker: Compose is {version or 'missing'} after the installation, and "
                f"{'.'.join(map(str, COMPOSE_FLOOR))} is needed; look at what apt offers (apt-cache policy)."
            )

    def _write_sources(self, plan: Plan) -> bool:
        """Write the apt files of the plan's source; tell whether any was missing."""
        if plan.source is None:
            return False
        files = apt_files(
            plan.source, self.observed.distribution, self.observed.codename,
            mirror=self._find_mirror(), repository=self.wanted.docker_repository,
        )  # fmt: skip
        if plan.source == "docker" and not os.path.exists(DOCKER_KEY_PATH):
            files[DOCKER_KEY_PATH] = self._fetch_key()
        return self.write_files(files)

    def _find_mirror(self) -> str:
        """Return the address of the archive that the host's own apt sources name, so that a mirror is kept."""
        done = self.run(
            ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(COMPONENT)|$(REPO_URI)", "Identifier: Packages"]
        )
        rows = [line.split("|") for line in done.stdout.splitlines()]
        for row in rows:
            if len(row) == 3 and row[0] == "Debian" and row[1] == "main" and "security" not in row[2]:
                return row[2]
        return "http://deb.debian.org/debian"

    def _fetch_key(self) -> str:
        address = f"{self.wanted.docker_repository}/{self.observed.distribution}/gpg"
        try:
            with urllib.request.build_opener().open(address, timeout=_FETCH_SECONDS) as answer:
                text: str = answer.read().decode()
        except (OSError, ValueError) as error:
            raise PlatformError(
                f"Cannot take Docker from its own repository: {address} gives no key ({error}); let the host reach it, "
                "or set 'source' to distribution."
            ) from error
        return text

    def _handle_engine(self, plan: Plan) -> None:
        if plan.has("restart"):
            # With live-restore taken over first, containers live on while their engine is away.
            self.reload()
            self.restart()
        elif plan.has("start"):
            self.start()
        elif plan.has("reload"):
            self.reload()
