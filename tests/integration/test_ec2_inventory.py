# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Machines on EC2 by their tags: the sample inventory, a cloud that answers like EC2, and a server at one's address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from support.cloud import Cloud
from support.hosts import running_host
from support.modules import ROOT
from support.team import Team

INVENTORY = "inventories/ec2/aws_ec2.yml"
DECIDED = {
    "site_domain": "ml.team.test", "site_tls": "local_ca", "site_images": "packages", "traefik_acme": {},
    "vault_site_secrets": [],
}  # fmt: skip
#: Names of groups and of hosts that Ansible itself adds.
GROUPS = {"edge", "data", "tracking", "clients", "dashboard", "firewall", "remote", "gpu", "inference", "chat"}


@dataclass(frozen=True)
class Account:
    """Somebody's machines in a cloud, and who deploys to them."""

    cloud: Cloud
    team: Team

    def groups(self) -> tuple[dict[str, list[str]], dict[str, dict[str, Any]]]:
        """Return group to hosts, and host to variables, as Ansible has them."""
        done = self.team.run("ansible-inventory", "-i", INVENTORY, "--list", folder=ROOT)
        assert done.returncode == 0, done.stderr
        listed = json.loads(done.stdout)
        variables = {host: _plain(own) for host, own in listed.pop("_meta")["hostvars"].items()}
        return {name: found["hosts"] for name, found in listed.items() if "hosts" in found}, variables

    def play(self, *arguments: str) -> tuple[int, str]:
        """Run ``site.yml`` on the machines as far as check mode goes; return its status and what it said."""
        done = self.team.run(
            "ansible-playbook", "site.yml", "-i", INVENTORY, "--check", "-e", json.dumps(DECIDED), *arguments,
            folder=ROOT,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Yield an account without a machine."""
    with Cloud(tmp_path) as cloud:
        yield Account(cloud, Team(tmp_path, cloud.environment))


def _plain(value: Any) -> Any:
    """Return a value without Ansible's mark of what came from outside."""
    if isinstance(value, Mapping):
        own = value.get("__ansible_unsafe")
        return own if own is not None else {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def test_no_machine_at_all_is_no_success(account: Account) -> None:
    account.cloud.make_machine({"Name": "foreign"})
    status, said = account.play()
    assert status == 4
    told = "Cannot deploy a site: the inventory has no host; add one, or correct what it asks for (region, tags)."
    assert told in " ".join(said.split())


def test_tags_become_groups_and_what_is_stopped_or_foreign_stays_out(account: Account) -> None:
    both = account.cloud.make_machine({"Name": "hub", "modelyard_groups": "edge, data"}, address="10.7.1.9")
    other = account.cloud.make_machine({"Name": "hub", "modelyard_groups": "tracking,"})
    public = account.cloud.give_public_address(other)
    nameless = account.cloud.make_machine({"modelyard_groups": "data"})
    stopped = account.cloud.make_machine({"Name": "old", "modelyard_groups": "edge"})
    account.cloud.stop_machine(stopped)
    foreign = account.cloud.make_machine({"Name": "foreign"})

    groups, variables = account.groups()
    assert {name: set(hosts) for name, hosts in groups.items() if name != "aws_ec2"} == {
        "edge": {f"hub-{both}"}, "data": {f"hub-{both}", nameless}, "tracking": {f"hub-{other}"},
    }  # fmt: skip
    assert not {host for host in variables if stopped in host or foreign in host}
    assert {host: own["ansible_host"] for host, own in variables.items()} == {
        f"hub-{both}": "10.7.1.9", f"hub-{other}": public,
        nameless: variables[nameless]["aws_private_ip_address"],
    }  # fmt: skip
    assert {own["ansible_user"] for own in variables.values()} == {"admin"}
    assert variables[f"hub-{other}"]["traefik_public_addresses"] == [public]
    assert variables[f"hub-{both}"]["traefik_public_addresses"] == []
    assert {own["site_domain"] for own in variables.values()} == {"ml.example.org"}, "what is decided is prod's"


def test_a_tag_with_a_group_that_no_role_is_for_is_told(account: Account) -> None:
    machine = account.cloud.make_machine({"modelyard_groups": "edge,data,trakcing"}, address="10.7.1.9")
    status, said = account.play("-e", "ansible_host=192.0.2.1")
    assert status == 2
    assert (
        f"{machine}: Cannot place this host: its tag 'modelyard_groups' names 'trakcing', and no role of the site is "
        f"for such a group; choose of {', '.join(sorted(GROUPS))}."
    ) in said


def test_site_yml_reaches_the_machine_at_the_address_that_the_cloud_names(
    account: Account, engine: docker.DockerClient
) -> None:
    with running_host("trixie") as host:
        account.team.admit_to(host)
        address = host.address()
        network = f"{address.rpartition('.')[0]}.0/24"
        tags = {"Name": "hub", "modelyard_groups": "edge,data,tracking"}
        machine = account.cloud.make_machine(tags, address=address, network=network)
        status, said = account.play()
    assert status == 0, said[-6000:]
    assert f"changed: [hub-{machine}]" in said
    assert f"hub-{machine} has no running Docker engine with Compose yet" in said
