#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.postgres_objects: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: postgres_objects
short_description: Roles, databases, extensions and privileges on a running PostgreSQL
description:
  - Brings the roles and databases of a PostgreSQL that is a service of a Compose project to what is declared. It looks,
    plans what differs, and does exactly that; when nothing differs it is one look in one session.
  - The server is reached inside its own container over its socket. Nothing is installed for that, no port is published,
    and no password travels.
  - Nothing is ever dropped. What is on the server and not declared is reported as RV(unmanaged). What would need
    something to be made anew, such as another encoding, is refused with the way to do it.
  - Check mode and the real run use the same plan. V(check_mode) also works where there is no server yet.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - Docker Engine 20.10 or newer, reached by its socket on the host.
  - PostgreSQL 13 or newer, with C(psql) in its container.
attributes:
  check_mode:
    support: full
    description: Nothing is changed. Of a server that is stopped nothing is known, which is warned of.
  diff_mode:
    support: full
    description: Shows attributes, settings, versions and privileges; of a password only whether it is the declared one.
options:
  project:
    description: Name of the Compose project that the server belongs to.
    type: str
    required: true
  service:
    description: Name of the server's service in it.
    type: str
    default: db
  user:
    description: Superuser of the server that the module works as, over the socket in the container.
    type: str
    default: postgres
  directory:
    description: Folder of the site on the host; changes are made under the lock of the project below it.
    type: path
    default: /opt/modelyard
  secret_store:
    description: The secret store that references in passwords are looked up in.
    type: path
    default: /etc/modelyard/secrets.json
  wait_seconds:
    description: How long a server that was started a moment ago may take until it answers.
    type: int
    default: 30
  roles:
    description: Roles of the server.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the role, in the case it has.
        type: str
        required: true
      password:
        description:
          - The password, or better a reference to a secret. Without it the role's password is left alone.
          - Whether it is still the one is known without logging in, and only a SCRAM verifier of it goes to the server.
        type: str
      login:
        description: Whether it may log in. A role that may not is a group.
        type: bool
        default: true
      superuser:
        description: Whether no check applies to it.
        type: bool
        default: false
      createdb:
        description: Whether it may make databases.
        type: bool
        default: false
      createrole:
        description: Whether it may make roles.
        type: bool
        default: false
      inherit:
        description: Whether it has the privileges of its groups at once.
        type: bool
        default: true
      replication:
        description: Whether it may replicate the server.
        type: bool
        default: false
      bypassrls:
        description: Whether row security does not apply to it.
        type: bool
        default: false
      connection_limit:
        description: How many connections it may have at a time; V(-1) is no limit.
        type: int
        default: -1
      member_of:
        description: Roles that it is a member of.
        type: list
        elements: str
      settings:
        description: Settings of its sessions. A list is for settings such as C(search_path).
        type: dict
  databases:
    description: Databases of the server.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the database, in the case it has.
        type: str
        required: true
      owner:
        description: Role that owns it. What is in it keeps its owner. Made without one, it belongs to O(user).
        type: str
      encoding:
        description: Encoding of a new database. Where the database is there already, another one is refused.
        type: str
      locale:
        description: Collation and character type of a new database. Another one is refused as well.
        type: str
      template:
        description:
          - Database that a new one is a copy of. By default V(template1), with O(databases[].encoding) or
            O(databases[].locale) V(template0).
        type: str
      public_connect:
        description:
          - Whether every role of the server may connect, as PostgreSQL has it. Otherwise the owner may, and every role
            with a grant in this database.
        type: bool
        default: false
      extensions:
        description:
          - Extensions, each by name or as a dictionary of C(name), C(version) and C(schema), in any order.
          - Without a version, an extension that is installed stays as it is; RV(notes) tells of a newer one.
        type: list
        elements: raw
      schemas:
        description: Schemas that are made.
        type: list
        elements: dict
        suboptions:
          name:
            description: Name of the schema.
            type: str
            required: true
          owner:
            description: Role that owns it, by default the owner of the database.
            type: str
      grants:
        description: Privileges that roles get. What they hold beyond is reported and stays.
        type: list
        elements: dict
        suboptions:
          role:
            description: Role that gets them.
            type: str
            required: true
          privileges:
            description: Such as V(SELECT); V(ALL) is every one that there is on such a thing.
            type: list
            elements: str
            required: true
          kind:
            description:
              - What they are on. V(tables) and V(sequences) are all of a schema, with views, also those that the
                database's owner makes later.
            type: str
            choices: [database, schema, tables, sequences]
            default: database
          schema:
            description: The schema, where O(databases[].grants[].kind) is not V(database).
            type: str
            default: public
      settings:
        description: Settings of sessions in it.
        type: dict
seealso:
  - module: modelyard.platform.compose_project
  - module: modelyard.platform.secrets
"""

EXAMPLES = r"""
- name: Give an application its database
  modelyard.platform.postgres_objects:
    project: modelyard-postgres
    roles:
      - name: shop
        password: "@@secret:shop_database@@"
      - name: report
        password: "@@secret:report_database@@"
        connection_limit: 5
        settings:
          default_transaction_read_only: true
    databases:
      - name: shop
        owner: shop
        extensions: [postgis, pg_trgm]
        grants:
          - {role: report, kind: schema, privileges: [USAGE]}
          - {role: report, kind: tables, privileges: [SELECT]}

- name: Update an extension
  modelyard.platform.postgres_objects:
    project: modelyard-postgres
    databases:
      - name: shop
        extensions:
          - {name: postgis, version: 3.5.2}
"""

RETURN = r"""
plan:
  description: What was done, or in check mode would be, in this order. Where the task fails, what was done before.
  returned: always
  type: list
  elements: dict
  contains:
    object:
      description: What it is about.
      type: str
    action:
      description: One of V(create), V(change), V(grant), V(revoke).
      type: str
    reasons:
      description: Why.
      type: list
      elements: str
  sample:
    - object: role shop
      action: change
      reasons: ["its password is another one, or none"]
unmanaged:
  description: What is on the server and in no declaration; it is left alone. Empty where no server could be looked at.
  returned: success
  type: dict
  contains:
    databases:
      description: Databases, but those that PostgreSQL itself makes.
      type: list
      elements: str
    roles:
      description: Roles, but those that PostgreSQL itself makes and the module's own.
      type: list
      elements: str
    extensions:
      description: Extensions in declared databases.
      type: list
      elements: str
    memberships:
      description: Memberships of declared roles.
      type: list
      elements: str
    privileges:
      description: Privileges of roles with a grant, on the same thing.
      type: list
      elements: str
notes:
  description: Extensions that the server offers in another version than the one that is installed.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._postgres.task import ObjectsRun

ROLE = {
    "name": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True},
    "login": {"type": "bool", "default": True},
    "superuser": {"type": "bool", "default": False},
    "createdb": {"type": "bool", "default": False},
    "createrole": {"type": "bool", "default": False},
    "inherit": {"type": "bool", "default": True},
    "replication": {"type": "bool", "default": False},
    "bypassrls": {"type": "bool", "default": False},
    "connection_limit": {"type": "int", "default": -1},
    "member_of": {"type": "list", "elements": "str"},
    "settings": {"type": "dict"},
}
GRANT = {
    "role": {"type": "str", "required": True},
    "privileges": {"type": "list", "elements": "str", "required": True},
    "kind": {"type": "str", "choices": ["database", "schema", "tables", "sequences"], "default": "database"},
    "schema": {"type": "str", "default": "public"},
}
DATABASE = {
    "name": {"type": "str", "required": True},
    "owner": {"type": "str"},
    "encoding": {"type": "str"},
    "locale": {"type": "str"},
    "template": {"type": "str"},
    "public_connect": {"type": "bool", "default": False},
    "extensions": {"type": "list", "elements": "raw"},
    "schemas": {
        "type": "list",
        "elements": "dict",
        "options": {"name": {"type": "str", "required": True}, "owner": {"type": "str"}},
    },
    "grants": {"type": "list", "elements": "dict", "options": GRANT},
    "settings": {"type": "dict"},
}
OPTIONS = {
    "project": {"type": "str", "required": True},
    "service": {"type": "str", "default": "db"},
    "user": {"type": "str", "default": "postgres"},
    "directory": {"type": "path", "default": "/opt/modelyard"},
    # A path, not a secret.
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "wait_seconds": {"type": "int", "default": 30},
    "roles": {"type": "list", "elements": "dict", "options": ROLE},
    "databases": {"type": "list", "elements": "dict", "options": DATABASE},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=OPTIONS, supports_check_mode=True)
    run = None
    try:
        run = ObjectsRun(module.params, check_mode=module.check_mode)
        result = run.carry_out()
    except PlatformError as error:
        module.fail_json(msg=str(error), **(run.progress if run else {}))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug

        doing = f"Cannot apply the PostgreSQL objects of project {module.params['project']!r}"
        module.fail_json(msg=f"{doing}: {describe_bug(error)}", **(run.progress if run else {}))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
