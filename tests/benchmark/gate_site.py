# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site with a gate, for figures: a service that costs next to nothing, behind gate and gateway, and beside them."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml
from docker.models.containers import Container
from support.whole_site import WholeSite

from benchmark.open_loop import Target

#: Not those of other sites of tests and figures.
PORTS = {"http": 38080, "https": 38443, "postgres": 38432, "edge_api": 38099}
PORT = 8080
_PROJECT = "{{ site_prefix }}-bench"
#: The image of the gate, which the site's role has built by then, runs the services too.
_GATE_IMAGE = """docker image ls modelyard/gate | awk 'NR == 2 {print $1 ":" $2}'"""
#: Answers at once, and logs nothing: what is measured is what stands before it.
SERVICE = f"""
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    server {{ listen {PORT}; location / {{ return 200 "ok\\n"; }} }}
}}
"""


@dataclass(frozen=True)
class GateSite:
    """A site with a gate, and what is behind and beside it."""

    whole: WholeSite

    @property
    def key(self) -> str:
        return self.whole.stored("gateway_key_bench_1")

    def container(self, name: str) -> Container:
        return self.whole.containers()[name]

    def address(self, found: Container, network: str) -> str:
        """Return the address of a running container in a network of the site."""
        found.reload()
        networks = found.attrs["NetworkSettings"]["Networks"]
        return str(networks[f"{self.whole.prefix}-{network}"]["IPAddress"])

    def through_gate(self, service: str) -> Target:
        return Target.get(self.address(self.container("gateway/pod"), "edge"), 8081, f"/{service}/", x_api_key=self.key)

    def straight(self, service: Container) -> Target:
        return Target.get(self.address(service, "inference"), PORT, "/")


@functools.cache
def running_site() -> GateSite:
    """Return a site of its own, brought up once for all rows; it is removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="modelyard-bench-"))
    engine = docker.from_env(version="auto", timeout=120)
    whole = WholeSite(engine, folder, ports=PORTS, settings={"ANSIBLE_ROLES_PATH": str(folder / "roles")})
    _write_role(folder / "roles" / "bench")
    atexit.register(shutil.rmtree, folder)  # after the site is gone: what is registered last runs first
    atexit.register(whole.destroy)
    _deploy(whole)
    return GateSite(whole)


def _deploy(whole: WholeSite) -> None:
    roles = {
        "docker": "all", "client": "clients", "host_command": "all", "traefik": "edge", "gateway": "inference",
        "bench": "inference",
    }  # fmt: skip
    whole.write_inventory(
        site_roles=roles, gateway_clients=[{"name": "bench", "scopes": ["*"]}], postgres_route_enabled=None,
        # Without a limit: it would be what is measured. Everything else is as every site has it.
        traefik_rate={"average": 0},
    )  # fmt: skip
    inventory = whole.folder / "inventory.yml"
    content = yaml.safe_load(inventory.read_text(encoding="utf-8"))
    content["all"]["children"]["inference"] = {"hosts": {"localhost": {}}}
    inventory.write_text(yaml.safe_dump(content), encoding="utf-8")
    whole.up()


def _write_role(folder: Path) -> None:
    """Write a role with three services: one behind the gate that is always awake, one that sleeps, one beside it."""
    hosts = [f"{name}.{{{{ site_domain }}}}" for name in ("plain", "warm", "sleepy")]
    gated = [_gated("warm", None), _gated("sleepy", 1)]
    route = [{"name": "plain", "hosts": hosts[:1], "service": "plain", "port": PORT}]
    files = {
        "meta/needs.yml": {"owns": [], "needs": {"route": [{"name": "bench", "hosts": hosts}], "gated": gated}},
        "meta/argument_specs.yml": {"argument_specs": {"main": {"options": {}}}},
        "defaults/main.yml": {
            "bench_command": _GATE_IMAGE,
            "bench_image": "{{ lookup('ansible.builtin.pipe', bench_command) }}",
            "bench_route": route,
        },
        "tasks/main.yml": [_task()],
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _gated(name: str, idle_seconds: int | None) -> dict[str, Any]:
    return {
        "name": name, "container": f"{_PROJECT}-{name}-1", "address": name, "port": PORT,
        "idle_seconds": idle_seconds, "stop_seconds": 10, "ready": {"path": "/"},
        "hosts": [f"{name}.{{{{ site_domain }}}}"],
    }  # fmt: skip


def _task() -> dict[str, Any]:
    service = {
        "image": "{{ bench_image }}", "entrypoint": ["nginx", "-e", "stderr", "-c", "/etc/bench/nginx.conf"],
        "user": "10006:10006", "read_only": True, "tmpfs": ["/tmp"], "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"], "stop_signal": "SIGTERM", "volumes": ["./conf:/etc/bench:ro"],
        "restart": "unless-stopped",
    }  # fmt: skip
    places = {"warm": "inference", "sleepy": "inference", "plain": "edge"}
    networks = {name: {"external": True, "name": f"{{{{ site_prefix }}}}-{name}"} for name in ("edge", "inference")}
    services = {name: {**service, "networks": {network: {}}} for name, network in places.items()}
    project = {
        "name": _PROJECT, "directory": "{{ site_directory }}", "secret_store": "{{ site_secret_store }}",
        "state": "{{ site_state }}", "layers": [{"services": services, "networks": networks}],
        "files": [{"path": "conf/nginx.conf", "content": SERVICE}],
        "networks": [{"name": made["name"], "internal": name == "inference"} for name, made in networks.items()],
        "edge": {
            "file": f"{{{{ site_directory }}}}/edge/routes/{_PROJECT}.yml",
            "config": "{{ bench_route | modelyard.platform.traefik_routes }}",
            "api": "http://127.0.0.1:{{ site_ports.edge_api }}",
        },
    }  # fmt: skip
    return {"name": "Apply the project", "modelyard.platform.compose_project": project}
