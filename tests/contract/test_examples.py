# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sample inventories, planned by role site's own first step; nothing is asked of any host."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.carry_out import carry_out
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.declaration import parse_declarations
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.plan import plan_secrets
from ansible_collections.modelyard.platform.plugins.module_utils._secrets.store import SecretStore
from support.answers import answers_of
from support.modules import ROOT
from support.rendered import RenderedProject, render

DEFAULTS = sorted((ROOT / "roles/site/defaults/main").glob("*.yml"))
HOST = re.compile(r"`([a-z0-9.-]+)`")
READ_NEEDS = {
    "name": "Read the needs",
    "modelyard.platform.site_plan": {"roles": "{{ {'site': 'all'} | combine(site_roles) }}"},
    "run_once": True,
}


def plan_of(inventory: str, folder: Path, **values: Any) -> dict[str, Any]:
    """Return what ``site_plan`` says of an inventory."""
    given = yaml.safe_load((ROOT / inventory / "group_vars/all.yml").read_text(encoding="utf-8"))
    defaults: dict[str, Any] = {}
    for path in DEFAULTS:
        defaults |= yaml.safe_load(path.read_text(encoding="utf-8"))
    # A play's variables win over the inventory's, a role's defaults do not.
    variables = {key: value for key, value in defaults.items() if key not in given}
    play = {"name": "Plan", "hosts": "all", "gather_facts": False, "vars": variables, "tasks": [READ_NEEDS]}
    [(_task, plan)] = answers_of(play, folder, "-i", str(ROOT / inventory), "-e", json.dumps(values))
    return plan


def data_of(plan: dict[str, Any], subject: str) -> list[dict[str, Any]]:
    return [need["data"] for need in plan["needs"][subject]]


def hosts_of(plan: dict[str, Any], kind: str) -> set[str]:
    return {host for route in data_of(plan, "route") if route.get("kind", "http") == kind for host in route["hosts"]}


HUB = "inventories/examples/opengeoaimodelshub"
HUB_DOMAIN = "opengeoaimodelshub.org"
#: What that system had in its .env, where it is now, and what its value looks like.
HUB_SECRETS = {
    "POSTGRES_PASSWORD": ("postgres_superuser", r"[A-Za-z0-9]{20}"),
    "TRAEFIK_AUTH_PASSWORD": ("traefik_admin_password", r"[A-Za-z0-9]{16}"),
    "TRAEFIK_AUTH_PASSWORD_HASH": ("traefik_admin_login", r"admin:\$2y\$\d\d\$[./A-Za-z0-9]{53}"),
    "AWS_ACCESS_KEY_ID": ("mlflow_s3_key_id", r"[0-9a-f]{40}"),
    "AWS_SECRET_ACCESS_KEY": ("mlflow_s3_secret", r"[0-9a-f]{80}"),
    # 32 hex characters, with which nothing could be signed: now seed and public key.
    "RUSTDESK_KEY": ("rustdesk_key", r"[A-Za-z0-9+/]{86}=="),
}
#: What ran there, by its name in that system: role, service, and what it runs from, upstream's and packaged.
HUB_SERVICES = {
    "traefik": ("traefik", "traefik", "docker.io/library/traefik:v3", "modelyard/traefik:"),
    "homepage": ("homepage", "page", "ghcr.io/gethomepage/homepage:v1", "ghcr.io/gethomepage/homepage:v1"),
    "mlflow": ("mlflow", "server", "ghcr.io/mlflow/mlflow:v3", "modelyard/mlflow:"),
    "minio": ("object_store", "s3", "docker.io/rclone/rclone:1", "modelyard/object-store:"),
    "postgres": ("postgres", "db", "docker.io/postgis/postgis:17", "modelyard/postgres:"),
    "hbbs": ("rustdesk", "hbbs", "docker.io/rustdesk/rustdesk-server-s6:1", "docker.io/rustdesk/rustdesk-server-s6:1"),
    "hbbr": ("rustdesk", "hbbr", "docker.io/rustdesk/rustdesk-server-s6:1", "docker.io/rustdesk/rustdesk-server-s6:1"),
}  # fmt: skip


@pytest.fixture(scope="module", params=["registry", "packages"])
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the plan of that system, and what its roles apply, with either kind of images."""
    folder = tmp_path_factory.mktemp("hub")
    # The address in the sample is one for examples, and nothing is deployed to such a one.
    plan = plan_of(HUB, folder, site_images=request.param, ansible_host="hub")
    assert plan["problems"] == []
    given = yaml.safe_load((ROOT / HUB / "group_vars/all.yml").read_text(encoding="utf-8"))
    values = {
        **given, "site_images": request.param, "site_needs": plan["needs"], "site_role_hosts": plan["role_hosts"],
        "site_place": plan["places"]["hub"],
        "inventory_hostname": "hub",
    }  # fmt: skip
    roles = {role for role, *_rest in HUB_SERVICES.values()}
    return {**plan, "images": request.param, "projects": render(roles, values, folder)}


def test_the_hub_that_ran_on_copied_files_has_its_names_and_ports(hub: dict[str, Any]) -> None:
    assert hub["order"].index("postgres") < hub["order"].index("mlflow")
    names = ("mlflow", "minio", "minio-api", "rustdesk", "traefik", "www")
    assert hosts_of(hub, "http") == {HUB_DOMAIN, *(f"{name}.{HUB_DOMAIN}" for name in names)}
    assert hosts_of(hub, "postgres") == {f"postgres.{HUB_DOMAIN}"}
    ports = {(port["number"], port.get("protocol", "tcp"), port["option"]) for port in data_of(hub, "port")}
    assert ports == {
        (80, "tcp", "site_ports.http"), (443, "tcp", "site_ports.https"), (8099, "tcp", "site_ports.edge_api"),
        (5432, "tcp", "site_ports.postgres"), (21115, "tcp", "rustdesk_port"), (21116, "tcp", "rustdesk_port"),
        (21116, "udp", "rustdesk_port"), (21117, "tcp", "rustdesk_port"),
    }  # fmt: skip
    # What nobody asked a login for before.
    asked = {promise["url"] for promise in data_of(hub, "promise") if promise.get("status") == 401}
    assert asked >= {f"https://{name}{HUB_DOMAIN}/" for name in ("", "mlflow.", "minio.")}


def test_the_hub_has_its_secrets_of_the_same_kinds_and_lengths(hub: dict[str, Any]) -> None:
    declared = data_of(hub, "secret")
    own = {"mlflow_admin_password", "mlflow_database_password", "mlflow_flask_key"}
    assert {secret["name"] for secret in declared} == {name for name, _form in HUB_SECRETS.values()} | own
    empty = SecretStore("/nowhere", {})
    now = 1_790_000_000
    store = carry_out(plan_secrets(parse_declarations(declared), empty, rotate=(), now=now), empty, now=now)
    for name, form in HUB_SECRETS.values():
        assert re.fullmatch(form, store.value(name)), f"{name} has another form"


def test_the_hub_runs_what_it_ran(hub: dict[str, Any]) -> None:
    projects: dict[str, RenderedProject] = hub["projects"]
    for old, (role, service, upstream, packaged) in HUB_SERVICES.items():
        image = projects[role].services[service]["image"]
        assert image.startswith(upstream if hub["images"] == "registry" else packaged), f"{old}: {image}"
    routed = {host for project in projects.values() for rule in project.rules.values() for host in HOST.findall(rule)}
    # The dashboard's is in the edge's own file.
    assert routed == (hosts_of(hub, "http") | hosts_of(hub, "postgres")) - {f"traefik.{HUB_DOMAIN}"}
    # What is not the edge's and not RustDesk's own protocol is published nowhere, and nobody has the engine's socket.
    published = {role for role, project in projects.items() if any("ports" in one for one in project.services.values())}
    assert published == {"traefik", "rustdesk"}
    mounted = [(role, name) for role, project in projects.items() for name, one in project.services.items()
               if "/var/run/docker.sock" in str(one.get("volumes"))]  # fmt: skip
    assert mounted == [("traefik", "proxy")]


def test_the_front_page_of_the_hub_shows_what_it_deploys(hub: dict[str, Any]) -> None:
    page: RenderedProject = hub["projects"]["homepage"]
    groups = {group: entries for found in yaml.safe_load(page.files["config/services.yaml"])
              for group, entries in found.items()}  # fmt: skip
    shown = {group: {name: about.get("href") for entry in entries for name, about in entry.items()}
             for group, entries in groups.items()}  # fmt: skip
    assert shown == {
        "Remote access": {"RustDesk": None},
        "Machine learning": {"MLflow": f"https://mlflow.{HUB_DOMAIN}"},
        "Storage": {"Buckets": f"https://minio.{HUB_DOMAIN}", "S3": None},
        "Databases": {"PostgreSQL": None},
        "System": {"Traefik": f"https://traefik.{HUB_DOMAIN}"},
    }
    environment = page.services["page"]["environment"]
    assert environment["HOMEPAGE_ALLOWED_HOSTS"] == f"{HUB_DOMAIN},www.{HUB_DOMAIN}"


def test_this_machine(tmp_path: Path) -> None:
    plan = plan_of("inventories/local", tmp_path)
    assert plan["problems"] == []
    assert plan["order"][:2] == ["site", "docker"]
    assert plan["order"][-1] == "verify"
    assert hosts_of(plan, "http") == {
        f"{name}.modelyard.test" for name in ("chat", "fields", "mlflow", "s3", "traefik", "webui")
    }
    assert hosts_of(plan, "postgres") == set()
    assert {secret["kind"] for secret in data_of(plan, "secret")} >= {"x509_ca", "x509_leaf"}


def test_a_name_to_rotate_that_is_no_secret_of_the_site_is_told_with_those_that_are(tmp_path: Path) -> None:
    own = [{"name": "wildcard_key", "kind": "token"}]
    asked = ["postgres_superuser", "mlflow_admin_password", "wildcard_key", "postgres"]
    plan = plan_of("inventories/local", tmp_path, site_rotate=asked, site_secrets=own)
    [said] = plan["problems"]
    assert said.startswith(
        "Cannot rotate 'postgres': the site declares no secret of that name; choose of gateway_key_me_1, "
    )
    assert ", traefik_admin_password, wildcard_key." in said
