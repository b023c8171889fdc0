# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at a host: the rules that are in force, our files, and what the site's containers publish."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._compose.desired import DIRECTORY_LABEL, SHARED_LABEL
from .._compose.engine import Engine
from .._errors import PlatformError
from .._files import FileState, read_state, telling
from .._run import Run
from .files import IPV6, PROGRAMS, link_path, script_path, unit_name
from .ports import Admitted, Place
from .rules import HOOK

LIST_SECONDS = 60.0


@dataclass(frozen=True)
class SeenSite:
    """What the engine knows of a site: the interfaces of its networks, and what which container publishes what."""

    bridges: tuple[str, ...] = ()
    published: tuple[tuple[Place, str], ...] = ()


@dataclass(frozen=True)
class SeenHost:
    """A host as it was found.

    ``rules``: by family, all of its filter table as ``iptables -S`` shows it; a family that it does not have is absent.
    """

    rules: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    script: FileState | None = None
    unit: FileState | None = None
    is_enabled: bool = False
    has_systemd: bool = False

    def leads(self, family: int, chain: str, to: str) -> bool:
        """Tell whether a chain leads to another."""
        return f"-A {chain} -j {to}" in self.rules.get(family, ())

    def own(self, family: int, names: Sequence[str]) -> tuple[str, ...]:
        """Return the rules of these chains."""
        begins = tuple(f"-A {name} " for name in names)
        return tuple(line for line in self.rules.get(family, ()) if line.startswith(begins))

    def has_chain(self, family: int, name: str) -> bool:
        return f"-N {name}" in self.rules.get(family, ())


def observe_host(prefix: str, directory: str, run: Run, *, units: str, has_systemd: bool) -> SeenHost:
    """Look at rules and files.

    :raises PlatformError: the rules cannot be listed, or something that is no file has the name of one of ours.
    """
    families = [4, *([6] if os.path.exists(IPV6) else [])]
    listed = {family: _list_rules(run, PROGRAMS[family]) for family in families}
    with telling("look at the firewall of the site"):
        return SeenHost(
            rules={family: rules for family, rules in listed.items() if rules is not None},
            script=read_state(script_path(directory)),
            unit=read_state(os.path.join(units, unit_name(prefix))),
            is_enabled=os.path.islink(link_path(prefix, units)),
            has_systemd=has_systemd,
        )


def _list_rules(run: Run, program: str) -> tuple[str, ...] | None:
    try:
        done = run([program, "--wait", "--list-rules"], timeout_seconds=LIST_SECONDS)
    except FileNotFoundError:
        return None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise PlatformError(
            f"Cannot see who may reach published ports: {program} says: {said[-1] if said else 'nothing'}; run as "
            "root, and look whether the kernel has what it needs."
        )
    return tuple(done.stdout.splitlines())


def observe_site(engine: Engine, directory: str) -> SeenSite:
    """Look at what the site has in the engine.

    :raises EngineError: there is none.
    """
    networks = [
        network
        for network in engine.get("/networks", {"filters": {"driver": ["bridge"]}})
        if directory in ((network.get("Labels") or {}).get(label) for label in (DIRECTORY_LABEL, SHARED_LABEL))
    ]
    containers = engine.get("/containers/json", {"filters": {"label": [f"{DIRECTORY_LABEL}={directory}"]}})
    published = {
        (place_of(port), str((entry.get("Names") or [entry["Id"]])[0]).removeprefix("/"))
        for entry in containers
        for port in entry.get("Ports") or ()
        if port.get("PublicPort")
    }
    return SeenSite(tuple(sorted(map(bridge_of, networks))), tuple(sorted(published)))


def bridge_of(network: Mapping[str, Any]) -> str:
    """Return the interface of a network. Source: Docker's manual, "Bridge network driver"."""
    given = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(given or f"br-{network['Id'][:12]}")


def place_of(port: Mapping[str, Any]) -> Place:
    """Return where a port is that the engine says is published."""
    address = port.get("IP") or ""
    is_everywhere = not address or ipaddress.ip_address(address).is_unspecified
    return Place(int(port["PublicPort"]), str(port["Type"]), "" if is_everywhere else str(address))


def find_undeclared(site: SeenSite, admitted: Admitted) -> tuple[tuple[Place, str], ...]:
    """Return what containers of the site publish beyond loopback and nobody declared, with the container's name."""
    return tuple(
        (place, name)
        for place, name in site.published
        if not place.is_loopback and not any(declared.covers(place) for declared in admitted)
    )


def refuse_other_backend(host: SeenHost) -> None:
    """Return when the engine's own rules are where ours are.

    :raises PlatformError: they are elsewhere, or it makes none: our rules would keep nobody out.
    """
    if 4 not in host.rules:
        raise PlatformError(
            "Cannot guard published ports: there is no program 'iptables'; install it (apt-get install iptables)."
        )
    if not host.leads(4, "FORWARD", HOOK):
        raise PlatformError(
            f"Cannot guard published ports: the engine has no rule in iptables that leads from FORWARD to {HOOK}, so "
            "that it works without iptables, with nftables, or by another variant of it; let its settings "
            "(daemon.json) have 'iptables' as it comes and no 'firewall-backend', let update-alternatives name the "
            "iptables that it was started with, and restart it."
        )
