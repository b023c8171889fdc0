# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Tesla T4 on a test host that has none: what the kernel, the driver and the toolkit show of one.

The bus and the modules of the kernel are hidden by folders, device nodes are those of harmless devices, and NVIDIA's
programs are scripts whose answers were written after public outputs. A unit sets it up at every start, before Docker.
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


_TOOLKIT = {
    "nvidia-ctk": _CTK, "nvidia-cdi-hook": _NOTHING, "nvidia-container-runtime-hook": _NOTHING,
    "nvidia-container-runtime": _RUNTIME,
}  # fmt: skip
_CONTROL = """\
Package: nvidia-container-toolkit
Version: 1.18.2-1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: stand-in for NVIDIA's container toolkit
"""
#: Builds a repository with the toolkit as NVIDIA's is laid out, signed by a key that is made for it.
_REPOSITORY = """\
set -e
export GNUPGHOME=$(mktemp -d)
gpg --batch --quiet --passphrase '' --quick-gen-key 'Nobody <nobody@example.org>' rsa3072 sign never
mkdir -p {place}/stable/deb/amd64
gpg --armor --export > {place}/gpgkey
cd {place}/stable/deb/amd64
chmod 755 {place}/package/usr/bin/*
dpkg-deb --build --root-owner-group {place}/package . > /dev/null
apt-ftparchive packages . > Packages
apt-ftparchive release . > {place}/Release
mv {place}/Release .
gpg --batch --quiet --clearsign --output InRelease Release
gpg --list-keys --with-colons | sed -n 's/^fpr:*\\([0-9A-F]*\\):/\\1/p' | head -1
gpgconf --kill all
"""


def files() -> dict[str, tuple[str, int]]:
    """Return path to text and mode of all that a host gets of card and driver."""
    card = f"{_PLACE}/bus/0000:00:1e.0"
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    smi = (FOLDER / "outputs" / "t4.xml").read_text(encoding="utf-8")
    plain = {
        f"{card}/vendor": "0x10de\n", f"{card}/class": "0x030200\n", f"{card}/device": "0x1eb8\n",
        f"{_PLACE}/module/nvidia/version": f"{VERSION}\n", f"{_PLACE}/smi.xml": smi, f"{_PLACE}/spec": _SPEC,
        f"{_PLACE}/start": _START, f"{library}.{VERSION}": "",
        "/etc/systemd/system/gpu-stand-in.service": _UNIT,
    }  # fmt: skip
    return {**{path: (text, 0o644) for path, text in plain.items()}, "/usr/bin/nvidia-smi": (_SMI, 0o755)}


def toolkit_files() -> dict[str, tuple[str, int]]:
    """Return path to text and mode of the toolkit."""
    return {f"/usr/bin/{name}": (text, 0o755) for name, text in _TOOLKIT.items()}


def install(must: Callable[[str], object], *, with_toolkit: bool = True) -> None:
    """Give a host the card, now and at every start.

    :param must: runs a line as root there.
    """
    _put(must, {**files(), **(toolkit_files() if with_toolkit else {})})
    library = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
    must(f"ln -sfn ../drivers/nvidia {_PLACE}/bus/0000:00:1e.0/driver")
    must(f"ln -sfn libnvidia-ml.so.{VERSION} {library}.1")
    must("systemctl daemon-reload && systemctl enable --quiet gpu-stand-in && systemctl start gpu-stand-in")


def make_repository(must: Callable[[str], str], place: str) -> str:
    """Make a repository of the toolkit on a host that has GnuPG and apt-utils; return its key's fingerprint."""
    package = {f"{place}/package{path}": content for path, content in toolkit_files().items()}
    _put(must, {**package, f"{place}/package/DEBIAN/control": (_CONTROL, 0o644)})
    return must(_REPOSITORY.format(place=place)).strip()


def _put(must: Callable[[str], object], found: dict[str, tuple[str, int]]) -> None:
    for path, (text, mode) in found.items():
        must(f"mkdir -p {shlex.quote(path.rpartition('/')[0])}")
        must(f"printf %s {shlex.quote(text)} > {shlex.quote(path)} && chmod {mode:o} {shlex.quote(path)}")


def remove(must: Callable[[str], object]) -> None:
    """Take the card away again."""
    links = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm", "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"]
    found = " ".join(map(shlex.quote, [_PLACE, *files(), *toolkit_files(), *links]))
    must(
        "systemctl disable --now --quiet gpu-stand-in; umount /sys/module /sys/bus/pci/devices; "
        f"rm -rf {found}; systemctl daemon-reload"
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
