# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give MLflow's administrator the password that stands in its configuration, and programs of the site that read models
theirs; run before the server, once per change.

MLflow itself reads the administrator's password when it makes that user, and never again.
"""

from pathlib import Path

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

#: A line of name and password for each; no such file where nobody reads.
READERS = Path("/run/secrets/readers")


def have_user(store: SqlAlchemyStore, name: str, password: str, *, is_admin: bool) -> None:
    """Make a user, or give the one that is there this password and this rank."""
    if not store.has_user(name):
        store.create_user(name, password, is_admin=is_admin)
    elif not store.authenticate_user(name, password) or store.get_user(name).is_admin != is_admin:
        store.update_user(name, password=password, is_admin=is_admin)


def main() -> None:
    config = read_auth_config()
    store = SqlAlchemyStore()
    store.init_db(config.database_uri)
    have_user(store, config.admin_username, config.admin_password, is_admin=True)
    for line in READERS.read_text(encoding="utf-8").splitlines() if READERS.exists() else ():
        name, _colon, password = line.partition(":")
        have_user(store, name, password, is_admin=False)
        # Also where users who were given nothing may do nothing. What all users may do, these may too.
        for kind in ("experiment", "registered_model"):
            store.grant_user_permission(name, kind, "*", "READ")


main()
