# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The diff that people read before they say yes: what of a service changes, names of variables, never values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .desired import DesiredService
from .plan import Plan

# Texts that are safe to show and worth it; everything else is only named.
_SHOWN = ("command", "entrypoint", "user", "restart", "network_mode", "working_dir", "container_name")


def make_diff(plan: Plan, old: Mapping[str, DesiredService], new: Mapping[str, DesiredService]) -> dict[str, str]:
    """Return ``before`` and ``after`` for Ansible: one paragraph per service that does not stay as it is."""
    names = [name for name, step in plan.steps.items() if step.action != "none"]
    before = [_paragraph(name, old.get(name)) for name in names]
    after = [_paragraph(name, new.get(name)) for name in names]
    after += [f"{change}\n" for change in plan.other]
    return {"before": "".join(before), "after": "".join(after)}


def _paragraph(name: str, service: DesiredService | None) -> str:
    if service is None:
        return ""
    return f"{name}:\n" + "".join(f"  {line}\n" for line in describe_service(service))


def describe_service(service: DesiredService) -> list[str]:
    """Return what a service is, a line each, in an order that makes a diff short."""
    definition = service.definition
    lines = [f"image: {service.image}", f"scale: {service.scale}"]
    lines += [f"{key}: {definition[key]}" for key in _SHOWN if definition.get(key) is not None]
    lines += _named("variable", definition.get("environment"))
    lines += [f"label: {name}={value}" for name, value in sorted((definition.get("labels") or {}).items())]
    lines += [f"port: {_port(port)}" for port in definition.get("ports") or ()]
    lines += [f"mount: {_mount(volume)}" for volume in definition.get("volumes") or ()]
    lines += [f"network: {name}" for name in service.networks]
    lines += [f"content: {path} {digest[:8]}" for path, digest in sorted(service.contents.items())]
    lines += [f"reloads on: {path} {digest[:8]}" for path, digest in sorted(service.reload_contents.items())]
    known = {*_SHOWN, "image", "environment", "labels", "ports", "volumes", "networks"}
    return lines + [f"also set: {key}" for key in sorted(definition) if key not in known]


def _named(word: str, entries: Mapping[str, Any] | Iterable[str] | None) -> list[str]:
    return [f"{word}: {name}" for name in sorted(entries or ())]


def _port(port: Mapping[str, Any]) -> str:
    outside = f"{port.get('host_ip', '')}:{port.get('published', '')}".strip(":")
    return f"{outside + ' -> ' if outside else ''}{port.get('target')}/{port.get('protocol', 'tcp')}"


def _mount(volume: Mapping[str, Any]) -> str:
    mode = " (read only)" if volume.get("read_only") else ""
    return f"{volume.get('source') or volume.get('type')} -> {volume.get('target')}{mode}"
