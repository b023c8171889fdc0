# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two files by which the rules are there before the engine starts a container. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from .rules import HOOK, Chains

UNITS = "/etc/systemd/system"
ENGINE_UNIT = "docker.service"
PROGRAMS: Mapping[int, str] = {4: "iptables", 6: "ip6tables"}
#: There where the kernel knows IPv6. Source: proc(5).
IPV6 = "/proc/net/if_inet6"


def script_path(directory: str) -> str:
    """Return where the script of the site in this folder is."""
    return os.path.join(directory, "firewall", "apply")


def unit_name(prefix: str) -> str:
    """Return the name of the unit that runs it."""
    return f"{prefix}-firewall.service"


def link_path(prefix: str, units: str = UNITS) -> str:
    """Return the link that lets the engine start the unit. Source: systemctl(1), "enable"."""
    return os.path.join(units, f"{ENGINE_UNIT}.wants", unit_name(prefix))


def render_script(prefix: str, chains: Chains, rules: Mapping[int, Sequence[str]]) -> str:
    """Return the script that puts the rules in place, whatever was there of them.

    :param rules: by family, 4 and 6.
    """
    head = f"""#!/bin/sh
# Who may reach the published ports of the site {prefix!r}. Written by modelyard.platform, which writes over changes.
# Run before the engine starts a container; it may be run at any time, and as often as one likes.
set -eu
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# lead PROGRAM FROM TO: the first rule of a chain leads to ours.
lead() {{
    "$1" --wait --check "$2" --jump "$3" 2>/dev/null || "$1" --wait --insert "$2" 1 --jump "$3"
}}

# guard PROGRAM: replaces the rules of our chains, all at once, by those that it reads.
guard() {{
    "$1-restore" --wait --noflush
    # The engine takes the chain as it is, and leads to it before it starts a container.
    "$1" --wait --new-chain {HOOK} 2>/dev/null || "$1" --wait --list-rules {HOOK} >/dev/null
"""
    leads = "".join(f'    lead "$1" {chain} {own}\n' for chain, own in chains.jumps)
    four = _guard(4, chains, rules[4])
    six = "".join(f"    {line}" if line.startswith("guard") else line for line in _guard(6, chains, rules[6]))
    return f"{head}{leads}}}\n\n{''.join(four)}\nif [ -e {IPV6} ]; then\n{''.join(six)}fi\n"


def _guard(family: int, chains: Chains, rules: Sequence[str]) -> list[str]:
    # A chain that is declared is made, or emptied where it is there. Source: iptables-restore(8).
    declared = [f":{name} - [0:0]" for name in chains.names]
    body = "".join(f"{line}\n" for line in ("*filter", *declared, *rules, "COMMIT"))
    return [f"guard {PROGRAMS[family]} <<'RULES'\n", body, "RULES\n"]


def render_unit(prefix: str, directory: str) -> str:
    """Return the unit: with each start of the engine, and before it, so that no port is open for a moment."""
    return f"""[Unit]
Description=Who may reach the published ports of the site {prefix}
RequiresMountsFor={directory}
# It is gone with the site's folder.
ConditionPathExists={script_path(directory)}
Before={ENGINE_UNIT}
PartOf={ENGINE_UNIT}
# These may throw away what they do not know.
After=nftables.service netfilter-persistent.service ufw.service firewalld.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={script_path(directory)}

[Install]
WantedBy={ENGINE_UNIT}
"""
