# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store of rclone in a service of one of our projects: buckets in its volume, users in a folder of the host."""

from __future__ import annotations

from dataclasses import dataclass

from .._compose.engine import Engine
from .._errors import PlatformError
from .container import Container, check_mounts, find_container, list_buckets, make_buckets
from .declaration import Declared
from .key_file import Places
from .keys import prepare_directory, read_keys, read_mode, write_key
from .plan import Custody, Observed, Plan


@dataclass(frozen=True)
class RcloneStore:
    """Where one store is.

    ``keys_directory`` is the folder of its users on the host; ``custody`` is None where no user is declared.
    """

    engine: Engine
    project: str
    service: str
    places: Places
    keys_directory: str | None
    custody: Custody | None
    port: int = 9000

    def observe(self, declared: Declared, *, wait_seconds: float, may_be_absent: bool) -> Observed:
        """Return what is there.

        :param may_be_absent: check mode's: where no container runs, the store is taken for an empty one.
        :raises PlatformError: the store cannot be asked, or is not set up for what is declared.
        """
        keys_mode = read_mode(self.keys_directory) if self.keys_directory else None
        keys = read_keys(self.keys_directory) if self.keys_directory else {}
        wait_seconds = 0 if may_be_absent else wait_seconds
        container = find_container(self.engine, self.project, self.service, wait_seconds=wait_seconds)
        if container is None:
            if may_be_absent:
                return Observed(None, keys, keys_mode)
            raise self._not_running(wait_seconds)
        directory = self.keys_directory if declared.users else None
        self._check(container, declared, directory, keys_mode)
        buckets = list_buckets(self.engine, container, self.places, keys_directory=directory)
        return Observed(buckets, keys, keys_mode)

    def apply(self, plan: Plan, declared: Declared) -> None:
        """Carry out a plan. Killed in between, the next run's plan is the rest.

        :raises PlatformError: the store or the disk refused.
        """
        if plan.buckets:
            make_buckets(self.engine, self._container(), self.places, plan.buckets)
        if self.keys_directory and self.custody and (plan.keys_folder or plan.users):
            prepare_directory(self.keys_directory)
            for user in declared.users:
                if user.name in plan.users:
                    write_key(self.keys_directory, user, self.custody)

    def gate(self, declared: Declared, *, wait_seconds: float) -> None:
        """Return when the users work, also those that a killed run wrote. Without time to wait nobody is asked.

        :raises PlatformError: one of them does not.
        """
        addresses = self._container().addresses if declared.users and wait_seconds > 0 else ()
        if addresses:
            from .gate import wait_for_users

            wait_for_users(f"{addresses[0]}:{self.port}", declared.users, wait_seconds=wait_seconds)

    def _container(self) -> Container:
        container = find_container(self.engine, self.project, self.service, wait_seconds=0)
        if container is None:
            raise self._not_running(0)
        return container

    def _check(self, container: Container, declared: Declared, directory: str | None, keys_mode: int | None) -> None:
        needs_read_only = any("read_only" in user.grants.values() for user in declared.users)
        check_mounts(container, self.places, keys_directory=directory, needs_read_only=needs_read_only)
        if directory and keys_mode is None:
            raise PlatformError(
                f"Cannot manage the users of the store: {directory} is gone, but its container still has it mounted; "
                "make it again and restart the container (docker restart)."
            )

    def _not_running(self, wait_seconds: float) -> PlatformError:
        waited = f" after {wait_seconds:g} s" if wait_seconds else ""
        return PlatformError(
            f"Cannot reach the store: service '{self.service}' of project '{self.project}' does not run{waited}; apply "
            "the project first, and look at its log (docker logs)."
        )
