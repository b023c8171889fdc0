# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Give MLflow's administrator the password that stands in its configuration; run before the server, once per change.

MLflow itself reads that password when it makes the administrator, and never again.
"""

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

config = read_auth_config()
name, password = config.admin_username, config.admin_password
store = SqlAlchemyStore()
store.init_db(config.database_uri)
if not store.has_user(name):
    store.create_user(name, password, is_admin=True)
elif not store.authenticate_user(name, password):
    store.update_user(name, password=password)
