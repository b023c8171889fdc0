# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd units of a GPU host, as text."""

from __future__ import annotations

#: Where the spec of the toolkit's own service is too: of one device in two files of a folder engines take neither.
SPEC_PATH = "/var/run/cdi/nvidia.yaml"


def cdi_unit() -> str:
    """Return the unit that writes the CDI spec before Docker starts the first container.

    The toolkit's own service does it when all else is started, and ``Before=docker.service`` there closes a circle that
    keeps Docker from starting at all (NVIDIA/nvidia-container-toolkit#1735). A failure holds nobody up.

    Links in ``/dev/char`` let systemd find the devices again when it reloads its units, so that containers keep them
    (NVIDIA/nvidia-container-toolkit#48).
    """
    return f"""\
[Unit]
Description=Write the CDI spec of NVIDIA's GPUs before Docker starts
Documentation=https://github.com/NVIDIA/nvidia-container-toolkit/issues/1735
ConditionPathExists=/usr/bin/nvidia-ctk
ConditionPathExists=|/usr/bin/nvidia-smi
ConditionPathExists=|/usr/sbin/nvidia-smi
After=local-fs.target systemd-modules-load.service nvidia-persistenced.service
Before=docker.service

[Service]
Type=oneshot
RemainAfterExit=yes
# Both make device nodes that are not there yet, which the spec names.
ExecStartPre=-/usr/bin/env modprobe --all nvidia nvidia-uvm
ExecStartPre=-/usr/bin/env nvidia-smi -L
ExecStartPre=-/usr/bin/nvidia-ctk system create-dev-char-symlinks --create-all
ExecStartPre=/usr/bin/env mkdir -p /var/run/cdi
ExecStart=/usr/bin/nvidia-ctk cdi generate --output={SPEC_PATH}
TimeoutStartSec=90

[Install]
WantedBy=docker.service
"""


def guard_unit(prefix: str, program: str, directory: str) -> str:
    """Return the unit that runs the guard once."""
    return f"""\
[Unit]
Description=Restart containers of {prefix} that have lost their GPU
After=docker.service

[Service]
Type=oneshot
ExecStart={program} {directory}
TimeoutStartSec=600
NoNewPrivileges=yes
PrivateTmp=yes
"""


def timer_unit(prefix: str, seconds: int) -> str:
    """Return the timer of the guard."""
    return f"""\
[Unit]
Description=Look for containers of {prefix} that have lost their GPU

[Timer]
OnActiveSec=30
OnUnitInactiveSec={seconds}
AccuracySec=5

[Install]
WantedBy=timers.target
"""
