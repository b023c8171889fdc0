#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Ansible module modelyard.platform.s3_objects: options and glue."""

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_objects
short_description: Buckets, users and policies of a live S3 store
description:
  - Makes the buckets that are missing, and lets each user, that is each access key, use the buckets that are named for
    it and no others. What is there and not declared is reported as unmanaged, and never deleted.
  - Works on a running store and restarts nothing. A second run changes nothing.
version_added: 0.1.0
author:
  - modelyard.platform contributors (@modelyard)
requirements:
  - With O(engine=rclone), Docker Engine 20.10 or newer, and a store in a service of a Compose project
  - With O(engine=external), python3-boto3
options:
  engine:
    description:
      - V(rclone) is the packaged store. It has buckets, users and policies.
      - V(external) is any S3 store behind O(endpoint). It has buckets; users are the provider's business, and refused.
    type: str
    choices: [rclone, external]
    default: rclone
  project:
    description: Compose project of the store. Needed with O(engine=rclone).
    type: str
  service:
    description: Service of the store in O(project). Needed with O(engine=rclone).
    type: str
  directory:
    description: The site's folder on the host, where the lock is.
    type: path
    default: /opt/modelyard
  keys_directory:
    description:
      - Folder on the host with the users, which the store's container has mounted at O(keys_path), read-only.
      - Needed with O(engine=rclone) and O(users).
    type: path
  keys_path:
    description: Where the container has O(keys_directory).
    type: str
    default: /run/s3-keys
  data_path:
    description: Where the container has the volume whose folders are the buckets.
    type: str
    default: /data
  read_only_path:
    description: Where the container has the volume of O(data_path) once more, mounted read-only, if a user needs it.
    type: str
    default: /data-ro
  owner_uid:
    description:
      - Number of the user that the store runs as, who gets the key files.
      - Needed with O(engine=rclone) and O(users).
    type: int
  port:
    description: Where the store listens inside its container; users are tried there.
    type: int
    default: 9000
  secret_store:
    description: The host's secret store, for secret references.
    type: path
    default: /etc/modelyard/secrets.json
  endpoint:
    description: Address of the store, as V(https://HOST[:PORT]). Needed with O(engine=external).
    type: str
  region:
    description: Region of the store behind O(endpoint). Without it, V(us-east-1).
    type: str
  ca_bundle:
    description: File of certificates that O(endpoint) is checked against. Without it, those that boto3 uses.
    type: path
  access_key_id:
    description: Id of the key that makes the buckets, or a secret reference. Needed with O(engine=external).
    type: str
  secret_access_key:
    description: Secret of the key that makes the buckets, better a secret reference. Needed with O(engine=external).
    type: str
  buckets:
    description: Buckets of the store.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the bucket, as S3 allows it.
        type: str
        required: true
  users:
    description: Users of the store, one access key each.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user, for messages.
        type: str
        required: true
      access_key_id:
        description: Id of the access key, of 8 to 128 letters and digits, or a secret reference.
        type: str
        required: true
      secret_access_key:
        description: Secret of the access key, of 8 to 256 printable ASCII characters, better a secret reference.
        type: str
        required: true
      buckets:
        description: What the user may use; it sees no other bucket.
        type: list
        elements: dict
        default: []
        suboptions:
          name:
            description: Name of a bucket among O(buckets).
            type: str
            required: true
          access:
            description: What the user may do there.
            type: str
            choices: [read_write, read_only]
            default: read_write
  wait_seconds:
    description:
      - How long to wait for the store to run, for another run that changes it, and until the users see their
        buckets with their keys. V(0) tries no user.
    type: int
    default: 60
attributes:
  check_mode:
    description:
      - Says what the run would do, from the same plan. Where the store does not run yet, it is taken for an empty one.
    support: full
  diff_mode:
    description: Shows the declared buckets, and users with their buckets; of a secret only whether it changes.
    support: full
notes:
  - The task ends when all users see their buckets with their keys, also where nothing changes; C(rclone) may need 10
    seconds for a rotated secret, and the old one ends with the new one's first use. A key whose file is removed by hand
    ends within 5 minutes.
  - A user that gets another access key id leaves the old key behind as unmanaged.
seealso:
  - module: modelyard.platform.compose_project
  - module: modelyard.platform.secrets
"""

EXAMPLES = r"""
- name: Give the tracking server its bucket
  modelyard.platform.s3_objects:
    project: modelyard-object-store
    service: store
    keys_directory: /opt/modelyard/object-store/keys
    owner_uid: 10002
    buckets:
      - name: mlflow
      - name: maps
    users:
      - name: mlflow
        access_key_id: mlflow0001
        secret_access_key: "@@secret:mlflow_s3@@"
        buckets:
          - name: mlflow
          - name: maps
            access: read_only

- name: Make a bucket at a provider
  modelyard.platform.s3_objects:
    engine: external
    endpoint: https://s3.example.org
    region: eu-central-1
    access_key_id: AKEXAMPLE0001
    secret_access_key: "@@secret:provider_s3@@"
    buckets:
      - name: example-models
"""

RETURN = r"""
plan:
  description: What happens, or in check mode would happen, to each object that does not stay as it is.
  returned: success
  type: list
  elements: dict
  contains:
    object:
      description: The object, as V(bucket NAME), V(user NAME) or V(folder of keys).
      type: str
    action:
      description: V(create) or V(change).
      type: str
    reasons:
      description: Why.
      type: list
      elements: str
  sample:
    - object: user mlflow
      action: change
      reasons: ["bucket maps: none -> read_only"]
unmanaged:
  description: What is there and not declared, as V(bucket NAME) or V(key ID). It is left alone.
  returned: success
  type: list
  elements: str
  sample: [bucket old-models]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._s3.task import run_task

BUCKET_SPEC = {"name": {"type": "str", "required": True}}

GRANT_SPEC = {
    "name": {"type": "str", "required": True},
    "access": {"type": "str", "choices": ["read_write", "read_only"], "default": "read_write"},
}

USER_SPEC = {
    "name": {"type": "str", "required": True},
    # An id is no secret, and masked it would make the result unreadable.
    "access_key_id": {"type": "str", "required": True, "no_log": False},
    "secret_access_key": {"type": "str", "required": True, "no_log": True},
    "buckets": {"type": "list", "elements": "dict", "options": GRANT_SPEC, "default": []},
}

SPEC = {
    "engine": {"type": "str", "choices": ["rclone", "external"], "default": "rclone"},
    "project": {"type": "str"},
    "service": {"type": "str"},
    "directory": {"type": "path", "default": "/opt/modelyard"},
    # Paths and ids, not secrets.
    "keys_directory": {"type": "path", "no_log": False},
    "keys_path": {"type": "str", "default": "/run/s3-keys", "no_log": False},
    "data_path": {"type": "str", "default": "/data"},
    "read_only_path": {"type": "str", "default": "/data-ro"},
    "owner_uid": {"type": "int"},
    "port": {"type": "int", "default": 9000},
    "secret_store": {"type": "path", "default": "/etc/modelyard/secrets.json", "no_log": False},
    "endpoint": {"type": "str"},
    "region": {"type": "str"},
    "ca_bundle": {"type": "path"},
    "access_key_id": {"type": "str", "no_log": False},
    "secret_access_key": {"type": "str", "no_log": True},
    "buckets": {"type": "list", "elements": "dict", "options": BUCKET_SPEC, "default": []},
    "users": {"type": "list", "elements": "dict", "options": USER_SPEC, "default": []},
    "wait_seconds": {"type": "int", "default": 60},
}


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        result = run_task(module.params, check_mode=module.check_mode)
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug

        module.fail_json(msg=f"Cannot manage the objects of the store: {describe_bug(error)}")
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
