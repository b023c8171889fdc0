# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventories that a team begins with: each decision is in them, and nothing that no role knows."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from support.modules import ROOT, controller_environment

PROD = ROOT / "inventories/prod"
EC2 = ROOT / "inventories/ec2"
GROUP_VARS = PROD / "group_vars/all"
#: What has no default that is right for everybody, and what nobody should leave to a default unseen.
DECISIONS = {"site_domain", "site_tls", "traefik_acme", "site_images", "site_secrets"}
UNDECIDED = (
    "hub: Cannot reach this host: its address '192.0.2.10' is reserved for examples; set ansible_host of 'hub' in the "
    "inventory to where SSH finds it.\n"
    "hub: Cannot ask for certificates: the authority would write to 'platform@example.org', which is reserved for "
    "examples; set traefik_acme.email to an address of yours, or leave it out.\n"
    "Cannot use 'ml.example.org' as site_domain: it is reserved for examples; set site_domain to the domain below "
    "which the site's names are, such as 'ml.your-team.org'."
)


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options() -> dict[str, Any]:
    """Return the variables of all roles."""
    found: dict[str, Any] = {}
    for path in ROOT.glob("roles/*/meta/argument_specs.yml"):
        found |= read_yaml(path)["argument_specs"]["main"].get("options") or {}
    return found


def test_every_decision_is_there_and_no_variable_that_no_role_knows() -> None:
    known, given = options(), read_yaml(GROUP_VARS / "site.yml")
    required = {name for name, option in known.items() if option.get("required")}
    assert set(given) == DECISIONS
    assert required <= set(given), f"nobody can deploy without {required - set(given)}"
    assert set(given) <= set(known)
    assert set(given["traefik_acme"]) <= set(known["traefik_acme"]["options"])


def test_values_of_others_come_from_a_file_of_their_own_that_may_be_encrypted() -> None:
    vault = read_yaml(GROUP_VARS / "vault.yml")
    assert vault == {"vault_site_secrets": []}
    assert read_yaml(GROUP_VARS / "site.yml")["site_secrets"] == "{{ vault_site_secrets }}"


def test_groups_are_those_that_roles_are_for() -> None:
    groups = read_yaml(PROD / "hosts.yml")["all"]["children"]
    assert set(groups) == set(options()["site_roles"]["default"].values()) - {"all"}


def test_each_line_that_decides_has_a_sentence_before_it() -> None:
    for path in (PROD / "hosts.yml", GROUP_VARS / "site.yml", GROUP_VARS / "vault.yml", EC2 / "aws_ec2.yml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        assert lines[1].startswith("# "), f"{path.name} does not say what it is"
    lines = (GROUP_VARS / "site.yml").read_text(encoding="utf-8").splitlines()
    bare = [line for before, line in itertools.pairwise(lines)
            if line[:1].isalpha() and not before.startswith("#")]  # fmt: skip
    assert not bare, f"no word about {bare}"


def test_prod_is_found_where_it_is_typed_and_ec2_decides_the_same() -> None:
    assert os.readlink(ROOT / "prod") == "inventories/prod"
    assert os.readlink(EC2 / "group_vars") == "../prod/group_vars"


def test_what_is_undecided_is_told_all_at_once_and_no_host_is_asked(tmp_path: Path) -> None:
    environment = {**controller_environment(str(tmp_path)), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    del environment["ANSIBLE_CONFIG"]  # the repository's own, as it is for who types this
    done = subprocess.run(
        [f"{sys.prefix}/bin/ansible-playbook", "site.yml", "-i", "prod"],
        check=False, capture_output=True, text=True, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    [told] = yaml.safe_load(done.stdout[done.stdout.index("{\n") :])["plays"][0]["tasks"]
    assert done.returncode == 2
    assert told["hosts"]["hub"]["msg"].removeprefix("Task failed: Action failed: ") == UNDECIDED
