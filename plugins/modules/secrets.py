#!/usr/bin/python
# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secrets
short_description: Keep generated and given secrets in one root-only store on the host
version_added: 0.1.0
author: modelyard.platform contributors (@modelyard)
description:
  - Makes every declared secret that the host does not have yet, once, and keeps it in one JSON file that only root
    can read. A second run changes nothing, not even a time stamp.
  - Values stay on the host. Results, diffs and logs show names, kinds, versions and public parts (public keys,
    fingerprints, certificates), never a value. Other modules of this collection put a value where it belongs when
    they meet its reference, C(@@secret:NAME@@) or C(@@secret:NAME.PART@@), which the filter
    P(modelyard.platform.secret_reference#filter) writes.
  - A new version of a secret takes the place of the one before it. The one before it and every version that a kept
    release of a project refers to stay in the store, so that going back to that release works.
options:
  path:
    description:
      - The store. It must have mode V(0600), its folder V(0700), and both must belong to root or to the user that
        runs the task; anything else is refused.
    type: path
    default: /etc/modelyard/secrets.json
  state:
    description:
      - With V(present), what is declared is made if it is missing.
      - With V(absent), what is declared is removed in all its versions. What a kept release refers to, or what
        another secret is made from, is refused.
    type: str
    choices: [present, absent]
    default: present
  secrets:
    description:
      - The secrets that this host is to have. Declare those of all roles in one task, tasks cost more than secrets.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name. Up to 63 letters, digits, C(_) and C(-), starting with a letter.
        type: str
        required: true
      kind:
        description:
          - What it is. V(password) (letters and digits), V(hex), V(base64), V(token) (letters, digits, C(-), C(_)),
            V(uuid), V(fernet), V(django_key) and V(api_key) (with its digest as part C(sha256)) are texts.
          - V(bcrypt) and V(htpasswd) (C(USER:HASH), and part C(hash)) are made from the secret that O(secrets[].of)
            names, once, and again when that one changes. They need C(python3-passlib) and C(python3-bcrypt) on the
            host.
          - V(ed25519) and V(rsa) are key pairs with the parts C(private), C(public) (PEM), C(private_openssh),
            C(public_openssh) and C(fingerprint); V(rustdesk_key) is one as RustDesk's server reads it (C(private),
            C(public)).
          - V(x509_ca) is a certificate authority (C(private), C(certificate), C(fingerprint)), V(x509_leaf) a server
            certificate of it (also C(ca)). Both are renewed in their last 30 days. Pairs and certificates need
            C(python3-cryptography) on the host.
          - A reference without part means C(private) of pairs and certificates, the text itself of all others.
        type: str
        required: true
        choices:
          - api_key
          - base64
          - bcrypt
          - django_key
          - ed25519
          - fernet
          - hex
          - htpasswd
          - password
          - rsa
          - rustdesk_key
          - token
          - uuid
          - x509_ca
          - x509_leaf
      value:
        description:
          - The value, where somebody else issued it. It is kept as it is; another one than before makes a new
            version.
        type: str
      length:
        description:
          - Length in characters, of V(base64) in bytes before encoding. Default and least are 20 and 12 for
            V(password), 40 and 32 for V(hex) and V(api_key) (40 and 32), 32 and 16 for V(base64), 32 and 20 for
            V(token), 50 and 50 for V(django_key).
          - More than the stored secret has is an error until it is rotated; less changes nothing.
        type: int
      bits:
        description: Size of an V(rsa) key, from 2048 to 8192; 3072 if left out.
        type: int
      of:
        description: Name of the secret that a V(bcrypt) or V(htpasswd) is made from, or of the V(x509_ca) that signs.
        type: str
      user:
        description: User of an V(htpasswd) line.
        type: str
      cost:
        description: Cost of V(bcrypt) and V(htpasswd), from 5 to 15; 10 if left out.
        type: int
      names:
        description:
          - DNS names and IP addresses of an V(x509_leaf); the first one is its common name. Other names than before
            make a new version.
        type: list
        elements: str
      days:
        description: Days until a certificate ends; 3650 for V(x509_ca), 365 for V(x509_leaf) if left out.
        type: int
      common_name:
        description: Common name of an V(x509_ca); V(modelyard CA) if left out.
        type: str
  rotate:
    description:
      - Names of secrets that get a new version now, on every run that names them. What is made from them is made
        again.
      - They may be declared in O(secrets) or be in the store already, and are made as declared now.
    type: list
    elements: str
    default: []
  site_directory:
    description: The folder of the site, whose kept releases say which old versions are still needed.
    type: path
    default: /opt/modelyard
  marks_site:
    description:
      - Whether O(site_directory) is marked as a site's before the first secret is made. So what is left of a first
        deployment that fails is known to be the site's, and goes with it.
    type: bool
    default: false
  host_key:
    description:
      - Make the key pair to which other hosts seal secrets for this one, if it has none. Its public half is returned.
    type: bool
    default: false
  seal_for:
    description:
      - RV(host_key) of another host. The declared secrets are returned in RV(sealed), readable by that host alone.
        Each sealing gives another text for the same secret. Of an V(x509_ca) the other host gets the certificate, never
        the private key.
    type: str
  sealed:
    description: What a task with O(seal_for) returned on the host that owns the secrets, as a list of its texts.
    type: list
    elements: str
    default: []
  export_to:
    description:
      - Write the whole store, encrypted, to a file on this host, if there is none or it is older than the store.
    type: dict
    suboptions:
      path:
        description: The encrypted file.
        type: path
        required: true
      encryption:
        description: How it is encrypted. V(age) needs the program of that name on the host.
        type: str
        choices: [ansible_vault, age]
        required: true
      passphrase_file:
        description: File on this host that holds the passphrase, for V(ansible_vault).
        type: path
      recipients:
        description: Public keys that may open it, for V(age).
        type: list
        elements: str
        default: []
  import_from:
    description:
      - Take every secret of such a file into the store. One that the store has with other values is refused.
    type: dict
    suboptions:
      path:
        description: The encrypted file, on this host.
        type: path
        required: true
      encryption:
        description: How it is encrypted. V(age) needs the program of that name on the host.
        type: str
        choices: [ansible_vault, age]
        required: true
      passphrase_file:
        description: File on this host that holds the passphrase, for V(ansible_vault).
        type: path
      identity_file:
        description: File on this host that holds the private key, for V(age).
        type: path
attributes:
  check_mode:
    description: Can run in check mode and tell what it would change.
    support: full
  diff_mode:
    description: Shows names, kinds and versions before and after, never values.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: partial
    details:
      - O(rotate) makes a new version on every run.
"""

EXAMPLES = r"""
- name: Keep the secrets of a database and its dashboard
  modelyard.platform.secrets:
    secrets:
      - {name: postgres_password, kind: password}
      - {name: dashboard_password, kind: password, length: 24}
      - {name: dashboard_login, kind: htpasswd, of: dashboard_password, user: admin}
      - {name: slack_webhook, kind: token, value: "{{ vaulted_slack_webhook }}"}

- name: Keep a certificate authority and a certificate of it
  modelyard.platform.secrets:
    secrets:
      - {name: site_ca, kind: x509_ca, common_name: Mapping lab}
      - {name: postgres_tls, kind: x509_leaf, of: site_ca, names: [db.modelyard.test, 10.0.0.5]}

- name: Give the database a new password
  modelyard.platform.secrets:
    rotate: [postgres_password]

- name: Make the key of the host that uses the database
  modelyard.platform.secrets:
    host_key: true
  delegate_to: tracking1
  register: tracking_key

- name: Seal the password for that host
  modelyard.platform.secrets:
    secrets:
      - {name: postgres_password, kind: password}
    seal_for: "{{ tracking_key.host_key }}"
  register: sealed_secrets

- name: Hand it over
  modelyard.platform.secrets:
    sealed: "{{ sealed_secrets.sealed.values() | list }}"
  delegate_to: tracking1

- name: Export the store for the safe
  modelyard.platform.secrets:
    export_to:
      path: /var/backups/secrets.vault
      encryption: ansible_vault
      passphrase_file: /root/export.passphrase
"""

RETURN = r"""
secrets:
  description: The declared, rotated and taken secrets by name, as they are after the run.
  returned: success
  type: dict
  sample: {db_key: {kind: ed25519, version: 1, public: {fingerprint: "SHA256:..."}}}
  contains:
    kind:
      description: Kind of the secret.
      type: str
    version:
      description: Number of its current version.
      type: int
    held_as:
      description: What RV(held) says on a host that has this version; empty in check mode for what would be made.
      type: str
    public:
      description:
        - Parts that anybody may know (public keys, fingerprints, certificates). Empty for texts, and in check mode for
          what would be made.
      type: dict
plan:
  description: What changed, or would change, and why.
  returned: success
  type: list
  elements: dict
  sample: [{name: dashboard_login, action: derive, reason: "secret 'dashboard_password' is now at version 2"}]
  contains:
    name:
      description: Name of the secret.
      type: str
    action:
      description: One of V(create), V(rotate), V(update), V(derive), V(renew) and V(remove).
      type: str
    reason:
      description: Why.
      type: str
received:
  description: Names of the sealed secrets that were new to this host.
  returned: success
  type: list
  elements: str
held:
  description: Names of all secrets here that other hosts keep, with the version that is here.
  returned: success
  type: dict
  sample: {postgres_password: 1 of 1789000000}
imported:
  description: Names of the imported secrets that were new to this host.
  returned: success
  type: list
  elements: str
exported:
  description: Whether the export was written.
  returned: success
  type: bool
host_key:
  description: The public key to which other hosts seal secrets for this one, in base64.
  returned: when the host has one
  type: str
sealed:
  description: The declared secrets by name, each as one line of ciphertext for the host of O(seal_for).
  returned: with O(seal_for)
  type: dict
"""

import time
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.modelyard.platform.plugins.module_utils._errors import PlatformError
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.declaration import (
    check_name,
    parse_declarations,
)
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.kinds import KINDS
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.task import Task, diff_of, perform, result_of

if TYPE_CHECKING:
    from ansible_collections.modelyard.platform.plugins.module_utils._secrets.transfer import EncryptedFile

DECLARATION_SPEC = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True, "choices": sorted(KINDS)},
    "value": {"type": "str", "no_log": True},
    "length": {"type": "int"},
    "bits": {"type": "int"},
    "of": {"type": "str"},
    "user": {"type": "str"},
    "cost": {"type": "int"},
    "names": {"type": "list", "elements": "str"},
    "days": {"type": "int"},
    "common_name": {"type": "str"},
}
FILE_SPEC = {
    "path": {"type": "path", "required": True},
    "encryption": {"type": "str", "choices": ["ansible_vault", "age"], "required": True},
    # A path, not a passphrase.
    "passphrase_file": {"type": "path", "no_log": False},
}
SPEC = {
    "path": {"type": "path", "default": "/etc/modelyard/secrets.json"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    # Names and kinds are no secrets; the values among them are marked one by one.
    "secrets": {"type": "list", "elements": "dict", "default": [], "options": DECLARATION_SPEC, "no_log": False},
    "rotate": {"type": "list", "elements": "str", "default": []},
    "site_directory": {"type": "path", "default": "/opt/modelyard"},
    "marks_site": {"type": "bool", "default": False},
    "host_key": {"type": "bool", "default": False, "no_log": False},
    "seal_for": {"type": "str"},
    "sealed": {"type": "list", "elements": "str", "default": []},
    "export_to": {
        "type": "dict",
        "options": {**FILE_SPEC, "recipients": {"type": "list", "elements": "str", "default": []}},
    },
    "import_from": {"type": "dict", "options": {**FILE_SPEC, "identity_file": {"type": "path"}}},
}


def parse_task(params: dict[str, Any]) -> Task:
    """Return what a user asks for.

    :raises PlatformError: a declaration or a name is wrong.
    """
    return Task(
        path=params["path"],
        declared=parse_declarations(params["secrets"]),
        state=params["state"],
        rotate=tuple(check_name(name) for name in params["rotate"]),
        site_directory=params["site_directory"],
        marks_site=params["marks_site"],
        host_key=params["host_key"],
        sealed=tuple(params["sealed"]),
        seal_for=params["seal_for"],
        import_from=_parse_file(params["import_from"]),
        export_to=_parse_file(params["export_to"]),
    )


def _parse_file(params: dict[str, Any] | None) -> EncryptedFile | None:
    if params is None:
        return None
    from ansible_collections.modelyard.platform.plugins.module_utils._secrets.transfer import EncryptedFile

    given = {**params, "recipients": tuple(params.get("recipients", ()))}
    return EncryptedFile(**given)


def main() -> None:
    module = AnsibleModule(argument_spec=SPEC, supports_check_mode=True)
    try:
        outcome = perform(parse_task(module.params), check_mode=module.check_mode, now=int(time.time()))
    except PlatformError as error:
        module.fail_json(msg=str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be printed
        from ansible_collections.modelyard.platform.plugins.module_utils._bug import describe_bug

        module.fail_json(msg=f"Cannot keep the secrets of {module.params['path']}: {describe_bug(error)}")
    result = result_of(outcome)
    if module._diff:
        result["diff"] = diff_of(outcome)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
