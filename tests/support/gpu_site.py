# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A site on a host with one card, or what stands for one, whose two services have it by turns."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import yaml

from support import images
from support.declared import build
from support.gate import STAND_IN
from support.hosts import Host
from support.recipes import packaged
from support.stored_secret import current_value
from support.whole_site import Play, WholeSite

SITE = "/opt/modelyard"
ROLES = {"docker": "gpu", "nvidia": "gpu", "traefik": "gpu", "gateway": "gpu", "inference": "gpu"}
IMAGES = (("traefik", ""), ("traefik", "traefik_proxy"), ("gateway", "gateway_gate"), ("gateway", ""))
#: Neither has room beside the other one in the card's 15360 MiB.
NEEDED_MIB = {"large": 9000, "small": 8000}
CONTAINERS = {f"modelyard-inference-{name}-1": name for name in NEEDED_MIB}
#: Writes the status of an answer and how many seconds it took; with full verification.
ASK = f"""
import ssl, sys, time, urllib.error, urllib.request
address, key = sys.argv[1:]
trust = ssl.create_default_context(cafile="{SITE}/projects/modelyard-traefik/private/ca/ca.pem")
request = urllib.request.Request(address, headers={{"X-API-Key": key}} if key else {{}})
began = time.monotonic()
try:
    with urllib.request.urlopen(request, timeout=120, context=trust) as answer:
        status, _content = answer.status, answer.read()
except urllib.error.HTTPError as answer:
    status = answer.code
print(status, time.monotonic() - began)
"""


@dataclass(frozen=True)
class GpuSite:
    """A site whose services ask for the card, and what its first run did."""

    host: Host
    site: WholeSite
    first: Play

    def key(self) -> str:
        return current_value(self.host.must("cat /etc/modelyard/secrets.json"), "gateway_key_notebook_1")

    def asking(self, service: str, path: str = "/echo", *, key: str | None = None) -> str:
        """Return the line by which the host asks a service over the edge."""
        sent = self.key() if key is None else key
        return f"python3 -c {shlex.quote(ASK)} https://{service}.gpu.test{path} {shlex.quote(sent)}"

    def ask(self, service: str, path: str = "/echo", *, key: str | None = None) -> tuple[int, float]:
        """Return the status of a service's answer, and how many seconds it took."""
        status, seconds = self.host.must(self.asking(service, path, key=key)).split()
        return int(status), float(seconds)

    def awake(self) -> list[str]:
        return [CONTAINERS[name] for name in self.host.must("docker ps --format '{{.Names}}'").split()
                if name in CONTAINERS]  # fmt: skip

    def turns(self) -> list[str]:
        """Return which service was started, one after the other, having found that never were two awake."""
        found: list[str] = []
        awake: set[str] = set()
        for line in self.host.must("cat /root/seen").splitlines():
            action, name = line.split()
            if name not in CONTAINERS:
                continue
            if action == "die":
                awake.discard(name)
                continue
            assert not awake, f"{name} was started beside {awake}, after {found}"
            awake.add(name)
            found.append(CONTAINERS[name])
        return found


def served(**more: Any) -> list[dict[str, Any]]:
    """Return the services; what stands for their engine ends where it cannot read the card."""
    engine = {
        "engine": "custom", "image": images.ensure(STAND_IN), "command": ["python3", "/inference_stand_in.py"],
        "ready": {"path": "/health"}, "gpus": [0], "gpu_guard": "head -c 1 /dev/nvidia0 >/dev/null",
        "memory_limit": "128m", "stop_seconds": 1, **more,
    }  # fmt: skip
    return [{"name": name, "vram_mib": needed, **engine} for name, needed in NEEDED_MIB.items()]


def deploy(host: Host, engine: docker.DockerClient, folder: Path) -> GpuSite:
    """Deploy the site as its operator does; what the host's engine starts and ends is written down from then on."""
    host.load_images([*(build(packaged(*image), folder).reference for image in IMAGES), images.ensure(STAND_IN)])
    host.must(f"echo 127.0.0.1 {' '.join(f'{name}.gpu.test' for name in NEEDED_MIB)} >> /etc/hosts")
    seen = "docker events --filter event=start --filter event=die --format '{{.Action}} {{.Actor.Attributes.name}}'"
    # The engine may be restarted before there is something to see.
    unit = "systemd-run --quiet --unit seen --property Restart=always --property StandardOutput=append:/root/seen"
    host.must(f"{unit} {seen}")
    values = {
        "site_domain": "gpu.test", "site_images": "packages", "site_tls": "local_ca", "site_gpu_request": "cdi",
        "site_roles": ROLES, "inference_mirror_bucket": "", "inference_services": served(),
        "gateway_clients": [{"name": "notebook", "scopes": ["*"]}],
    }  # fmt: skip
    inventory = {"gpu": {"hosts": {"server": host.admit(folder)}, "vars": values}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
    site = WholeSite(engine, folder, prefix="modelyard")
    return GpuSite(host, site, site.up())
