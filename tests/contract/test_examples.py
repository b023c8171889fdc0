# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sample inventories, planned by role site's own first step; nothing is asked of any host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.modules import ROOT, controller_environment

DEFAULTS = sorted((ROOT / "roles/site/defaults/main").glob("*.yml"))
READ_NEEDS = {
    "name": "Read the needs",
    "modelyard.platform.site_plan": {"roles": "{{ {'site': 'all'} | combine(site_roles) }}"},
    "run_once": True,
}


def plan_of(inventory: str, folder: Path, **values: Any) -> dict[str, Any]:
    """Return what ``site_plan`` says of an inventory."""
    playbook = folder / "plan.yml"
    given = yaml.safe_load((ROOT / inventory / "group_vars/all.yml").read_text(encoding="utf-8"))
    defaults: dict[str, Any] = {}
    for path in DEFAULTS:
        defaults |= yaml.safe_load(path.read_text(encoding="utf-8"))
    # A play's variables win over the inventory's, a role's defaults do not.
    variables = {key: value for key, value in defaults.items() if key not in given}
    play = {"name": "Plan", "hosts": "all", "gather_facts": False, "vars": variables, "tasks": [READ_NEEDS]}
    playbook.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    environment = {**controller_environment(str(folder)), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.jsonl"}
    done = subprocess.run(
        [f"{sys.prefix}/bin/ansible-playbook", str(playbook), "-i", str(ROOT / inventory), "-e", json.dumps(values)],
        check=False, capture_output=True, text=True, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    [found] = [event for event in events if event.get("_event") == "v2_runner_on_ok"]
    plan: dict[str, Any] = next(iter(found["hosts"].values()))
    return plan


def data_of(plan: dict[str, Any], subject: str) -> list[dict[str, Any]]:
    return [need["data"] for need in plan["needs"][subject]]


def hosts_of(plan: dict[str, Any], kind: str) -> set[str]:
    return {host for route in data_of(plan, "route") if route.get("kind", "http") == kind for host in route["hosts"]}


@pytest.mark.parametrize("images", ["registry", "packages"])
def test_the_hub_that_ran_on_copied_files(images: str, tmp_path: Path) -> None:
    # Its address is one for examples, which is refused.
    plan = plan_of("inventories/examples/opengeoaimodelshub", tmp_path, site_images=images, ansible_host="10.0.0.7")
    assert plan["problems"] == []
    assert plan["order"].index("postgres") < plan["order"].index("mlflow")
    domain = "opengeoaimodelshub.org"
    assert hosts_of(plan, "http") == {f"{name}.{domain}" for name in ("mlflow", "minio-api", "traefik")}
    assert hosts_of(plan, "postgres") == {f"postgres.{domain}"}
    secrets = {secret["name"]: (secret["kind"], secret.get("length")) for secret in data_of(plan, "secret")}
    assert secrets == {
        "postgres_superuser": ("password", 20), "traefik_admin_password": ("password", 16),
        "traefik_admin_login": ("htpasswd", None), "mlflow_admin_password": ("password", 20),
        "mlflow_database_password": ("password", 32), "mlflow_flask_key": ("hex", 64),
        "mlflow_s3_key_id": ("hex", 40), "mlflow_s3_secret": ("hex", 80),
    }  # fmt: skip
    assert {(port["number"], port["option"]) for port in data_of(plan, "port")} >= {
        (80, "site_ports.http"), (443, "site_ports.https"),
    }  # fmt: skip


def test_this_machine(tmp_path: Path) -> None:
    plan = plan_of("inventories/local", tmp_path)
    assert plan["problems"] == []
    assert plan["order"][:2] == ["site", "docker"]
    assert plan["order"][-1] == "verify"
    assert hosts_of(plan, "http") == {f"{name}.modelyard.test" for name in ("mlflow", "s3", "traefik")}
    assert hosts_of(plan, "postgres") == set()
    assert {secret["kind"] for secret in data_of(plan, "secret")} >= {"x509_ca", "x509_leaf"}
