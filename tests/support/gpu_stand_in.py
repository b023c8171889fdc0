# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Tesla T4 on a test host that has none: what the kernel, the driver and the toolkit show of one.

The bus and the modules of the kernel are hidden by folders, device nodes are those of harmless devices, and NVIDIA's
programs are scripts that answer as the recorded ones did. A unit sets it up at every start, before Docker.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from support.gpu_hosts import FOLDER

VERSION = "550.163.01"
_PLACE = "/opt/gpu-stand-in"
#: Number of the device that stands for the GPU: /dev/zero, whose bytes a container can read.
DEVICE = "1:5"

_UNIT = f"""\
[Unit]
Description=Show a GPU that is not there
DefaultDependencies=no
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {_PLACE}/start

[Install]
WantedBy=sysinit.target
"""
_START = f"""\
set -e
mount --bind {_PLACE}/bus /sys/bus/pci/devices
mount --bind {_PLACE}/module /sys/module
rm -f /dev/nvidiactl /dev/nvidia0 /dev/nvidia-uvm
mknod -m 666 /dev/nvidiactl c 1 3
mknod -m 666 /dev/nvidia-uvm c 1 3
mknod -m 666 /dev/nvidia0 c 1 5
"""
_SMI = f"""\
#!/bin/sh
case "$*" in
    "-q -x") exec cat {_PLACE}/smi.xml ;;
    *) echo "GPU 0: Tesla T4 (UUID: GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21)" ;;
esac
"""
_SPEC = """\
cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- name: all
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  env:
  - NVIDIA_VISIBLE_DEVICES=void
"""
_CTK = f"""\
#!/bin/sh
echo "$*" >> {_PLACE}/asked
case "$*" in
    --version) echo "NVIDIA Container Toolkit CLI version 1.18.2" ;;
    "cdi generate"*) target=${{3#--output=}}; mkdir -p "${{target%/*}}"; cp {_PLACE}/spec "$target" ;;
esac
"""
_NOTHING = "#!/bin/sh\nexit 0\n"
_RUNTIME = '#!/bin/sh\nexec runc "$@"\n'


def files() -> dict[str, tuple[str, int]]:
    """Return path to text and mode of all that a host gets."""
    card = f"{_PLACE}/bus/0000:00:1e.0"
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    smi = (FOLDER / "outputs" / "t4.xml").read_text(encoding="utf-8")
    plain = {
        f"{card}/vendor": "0x10de\n", f"{card}/class": "0x030200\n", f"{card}/device": "0x1eb8\n",
        f"{_PLACE}/module/nvidia/version": f"{VERSION}\n", f"{_PLACE}/smi.xml": smi, f"{_PLACE}/spec": _SPEC,
        f"{_PLACE}/start": _START, f"{library}.{VERSION}": "",
        "/etc/systemd/system/gpu-stand-in.service": _UNIT,
    }  # fmt: skip
    programs = {
        "nvidia-smi": _SMI, "nvidia-ctk": _CTK, "nvidia-cdi-hook": _NOTHING, "nvidia-container-runtime-hook": _NOTHING,
        "nvidia-container-runtime": _RUNTIME,
    }  # fmt: skip
    return {
        **{path: (text, 0o644) for path, text in plain.items()},
        **{f"/usr/bin/{name}": (text, 0o755) for name, text in programs.items()},
    }


def install(must: Callable[[str], object]) -> None:
    """Give a host the card, now and at every start.

    :param must: runs a line as root there.
    """
    for path, (text, mode) in files().items():
        must(f"mkdir -p {shlex.quote(path.rpartition('/')[0])}")
        must(f"printf %s {shlex.quote(text)} > {shlex.quote(path)} && chmod {mode:o} {shlex.quote(path)}")
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    must(f"ln -sfn ../drivers/nvidia {_PLACE}/bus/0000:00:1e.0/driver")
    must(f"ln -sfn libnvidia-ml.so.{VERSION} {library}.1")
    must("systemctl daemon-reload && systemctl enable --quiet gpu-stand-in && systemctl start gpu-stand-in")


def remove(must: Callable[[str], object]) -> None:
    """Take the card away again."""
    must(
        "systemctl disable --now --quiet gpu-stand-in; umount /sys/module /sys/bus/pci/devices; "
        f"rm -rf {_PLACE} {' '.join(map(shlex.quote, files()))} /dev/nvidiactl /dev/nvidia0 /dev/nvidia-uvm "
        "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1; systemctl daemon-reload"
    )


#: Of a container: nvidia-smi that answers until its container has lost the GPU, and again after the next start.
CONTAINER_SMI = """\
#!/bin/sh
if [ -e /run/state/lost ]; then echo "Failed to initialize NVML: Unknown Error"; exit 255; fi
echo "GPU 0: Tesla T4 (UUID: GPU-6b1d3f7e-52a0-4c1b-9d8e-0f3a5c7b9d21)"
"""
#: Options of ``docker run`` for it; what is in a tmpfs ends with the container's run.
CONTAINER_STATE = "--tmpfs=/run/state"
LOSE = ("touch", "/run/state/lost")
