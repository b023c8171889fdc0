# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The databases of a plan: dumped before they change, given back what a failed or interrupted apply did to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from .._files import ensure_directory
from .containers import remove_container, start_container, stop_container
from .observe import Observed, observe
from .plan import dependents_of, is_migrated
from .prepare import Host, Prepared
from .project import Migration
from .release import Dump, Release, ReleaseStore, users_of


class Databases:
    """What migrations change, with everybody who uses it.

    The parts that talk to PostgreSQL are imported where there is something to say to it: most plans have no migration.
    """

    def __init__(self, host: Host, prepared: Prepared, store: ReleaseStore) -> None:
        self._host = host
        self._prepared = prepared
        self._store = store

    def recover(self, release: Release) -> None:
        """Give databases back what an interrupted migration changed; one that ended well stays."""
        if not is_migrated(self._prepared.plan, self._prepared.target.services):
            self._keep_content(release, self._store.progress().restore)
            self.restore()

    def restore(self) -> None:
        """Give databases back what a failed or interrupted migration changed."""
        pending = self._store.progress().restore
        if not pending:
            return
        from .migration import migration_from_record, restore_database

        self.stop_users()
        for record in pending:
            migration, path = migration_from_record(record)
            self._ensure_running(migration)
            restore_database(self._host.engine, migration, path)
        self._store.save_progress(replace(self._store.progress(), restore=()))

    def stop_users(self) -> None:
        """Stop what uses the databases that are about to get their dumps back.

        The containers of their migrations go: one that has ended well would tell the next run that all is migrated.
        """
        for record in self._store.progress().restore:
            migration, *users = users_of(record)
            for container in self._observe().of(migration):
                remove_container(self._host.engine, container.id)
            self._stop(users)

    def dump(self, release: Release) -> Release:
        """Dump the databases that are about to change, with everybody who may write to them stopped.

        The dumps of an interrupted apply whose migrations stay are this release's from now on: they hold what the
        databases held while the release before served.
        """
        adopted, due = self._adopt_dumps(release), self._due()
        records = {record["path"]: record for record in adopted}
        if due:
            from .migration import dump_database, migration_from_record, migration_to_record

            # An interrupted way back had come this far already, and its databases may have been used since.
            self._keep_content(release, [record for record in adopted if migration_from_record(record)[0] in due])
            for migration, users in due.items():
                self._stop(users)
                self._ensure_running(migration)
                path = dump_database(self._host.engine, migration, self._store.path(release.number))
                if path:
                    records[path] = {**migration_to_record(migration, path), "users": ",".join(users)}
        if records:
            self._store.save_progress(replace(self._store.progress(), restore=tuple(records.values())))
        return replace(release, dumps=tuple(records.values()))

    def go_back(self) -> None:
        """Give databases what they held while the release that comes back served."""
        if self._prepared.dumps:
            from .migration import migration_from_record, restore_database

            for dump in self._prepared.dumps:
                migration, path = migration_from_record(dump)
                restore_database(self._host.engine, migration, path)

    def _adopt_dumps(self, release: Release) -> list[Dump]:
        adopted: list[Dump] = []
        for record in self._store.progress().restore:
            path = os.path.join(self._store.path(release.number), os.path.basename(record["path"]))
            # The same file by a second name: whichever release is pruned, the other keeps it.
            os.link(record["path"], path)
            adopted.append({**record, "path": path})
        return adopted

    def _keep_content(self, release: Release, records: Sequence[Dump]) -> None:
        """Dump what databases hold before an older dump takes its place: somebody may have used them since."""
        if not records:
            return
        from .migration import dump_database, migration_from_record

        folder = f"{self._store.path(release.number)}/before-restore"
        ensure_directory(folder, mode=0o700)
        for record in records:
            self._stop(users_of(record))
            migration = migration_from_record(record)[0]
            self._ensure_running(migration)
            dump_database(self._host.engine, migration, folder)

    def _due(self) -> dict[Migration, list[str]]:
        """Return the databases that a migration changes, or that get an old dump back, with their users."""
        due = {}
        services = self._prepared.target.services
        for name, service in services.items():
            migration = service.extras.migrates
            if migration and self._prepared.plan.steps[name].action in ("create", "recreate", "start"):
                due[migration] = [name, *dependents_of(name, services)]
        if self._prepared.dumps:
            from .migration import migration_from_record

            for dump in self._prepared.dumps:
                users = due.setdefault(migration_from_record(dump)[0], [])
                users += [user for user in users_of(dump) if user not in users]
        return due

    def _stop(self, services: Iterable[str]) -> None:
        observed = self._observe()
        for name in services:
            for container in observed.of(name):
                if container.state in ("running", "restarting"):
                    stop_container(self._host.engine, container.id)

    def _ensure_running(self, migration: Migration) -> None:
        for container in observe(self._host.engine, migration.project, ()).of(migration.service):
            if container.state != "running":
                start_container(self._host.engine, container.id)

    def _observe(self) -> Observed:
        return observe(self._host.engine, self._prepared.target.name, ())
