# Copyright: modelyard.platform contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Tesla T4 on a test host that has none: what the kernel, the driver and the toolkit show of one.

The bus and the modules of the kernel are hidden by folders, device nodes are those of harmless devices, and NVIDIA's
programs are scripts whose answers were written after public outputs. A unit sets it up at every start, before Docker.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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
# What dkms has built is loaded at a start.
[ ! -e {_PLACE}/built ] || cp -r {_PLACE}/built/. {_PLACE}/module
mount --bind {_PLACE}/bus /sys/bus/pci/devices
mount --bind {_PLACE}/module /sys/module
[ -e {_PLACE}/module/nvidia ] || exit 0
ln -sfn ../drivers/nvidia {_PLACE}/bus/0000:00:1e.0/driver
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
Package: {name}
Version: {version}
Architecture: all
Depends: {depends}
Maintainer: Nobody <nobody@example.org>
Description: stand-in for a package of NVIDIA's
"""
_LIBRARY = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so"
_MODINFO = f"""\
#!/bin/sh
[ "$1" = nvidia ] && [ -e {_PLACE}/built ] && echo "version: {VERSION}"
"""
#: Builds a repository as NVIDIA's are laid out, signed by a key that is made for it.
_REPOSITORY = """\
set -e
export GNUPGHOME=$(mktemp -d)
gpg --batch --quiet --passphrase '' --quick-gen-key 'Nobody <nobody@example.org>' rsa3072 sign never
mkdir -p {place}/{folder}
gpg --armor --export > {place}/{key}
cd {place}/{folder}
for package in {place}/packages/*; do dpkg-deb --build --root-owner-group $package . > /dev/null; done
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
    smi = (FOLDER / "outputs" / "t4.xml").read_text(encoding="utf-8")
    plain = {
        f"{card}/vendor": "0x10de\n", f"{card}/class": "0x030200\n", f"{card}/device": "0x1eb8\n",
        f"{_PLACE}/module/nvidia/version": f"{VERSION}\n", f"{_PLACE}/smi.xml": smi, f"{_PLACE}/spec": _SPEC,
        f"{_PLACE}/start": _START, f"{_LIBRARY}.{VERSION}": "",
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
    must(f"ln -sfn libnvidia-ml.so.{VERSION} {_LIBRARY}.1")
    must("systemctl daemon-reload && systemctl enable --quiet gpu-stand-in && systemctl start gpu-stand-in")


def take_driver(must: Callable[[str], object]) -> None:
    """Take the driver away, so that there is a card alone."""
    must(f"rm -rf {_PLACE}/module/nvidia {_PLACE}/bus/*/driver {_LIBRARY}.* /usr/bin/nvidia-smi /dev/nvidia*")


@dataclass(frozen=True)
class Package:
    """A package with its files, as :func:`files` has them."""

    version: str
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    depends: str = ""


TOOLKIT = {"nvidia-container-toolkit": Package("1.18.2-1", toolkit_files())}


def driver(headers: str, version: str = VERSION) -> dict[str, Package]:
    """Return the packages of a driver, which is loaded at the next start of its host.

    :param headers: of the kernel's package.
    """
    tools = {"/usr/bin/nvidia-smi": (_SMI, 0o755)}
    link = f"#!/bin/sh\nln -sfn libnvidia-ml.so.{version} {_LIBRARY}.1\n"
    library = {f"{_LIBRARY}.{version}": ("", 0o644), "/DEBIAN/postinst": (link, 0o755)}
    module = {
        f"{_PLACE}/built/nvidia/version": (f"{version}\n", 0o644),
        "/usr/local/sbin/modinfo": (_MODINFO, 0o755),
    }
    return {
        # Newer than the distribution's, which nobody needs here.
        headers: Package("9999"),
        f"nvidia-driver-pinning-{version.partition('.')[0]}": Package("1"),
        "nvidia-kernel-open-dkms": Package(f"{version}-1", module),
        "nvidia-driver-cuda": Package(f"{version}-1", tools, f"libnvidia-ml1 (= {version}-1)"),
        "libnvidia-ml1": Package(f"{version}-1", library),
    }


def make_repository(
    must: Callable[[str], str], place: str, packages: Mapping[str, Package], *, folder: str = "stable/deb/amd64",
    key: str = "gpgkey",
) -> str:  # fmt: skip
    """Make a repository on a host that has GnuPG and apt-utils; return its key's fingerprint.

    :param folder: below ``place``, where the packages are, as ``key`` is the file with its key.
    """
    for name, package in packages.items():
        control = _CONTROL.format(name=name, version=package.version, depends=package.depends)
        control = control.replace("Depends: \n", "")
        laid_out = {**package.files, "/DEBIAN/control": (control, 0o644)}
        _put(must, {f"{place}/packages/{name}{path}": content for path, content in laid_out.items()})
    return must(_REPOSITORY.format(place=place, folder=folder, key=key)).strip()


def _put(must: Callable[[str], object], found: dict[str, tuple[str, int]]) -> None:
    for path, (text, mode) in found.items():
        must(f"mkdir -p {shlex.quote(path.rpartition('/')[0])}")
        must(f"printf %s {shlex.quote(text)} > {shlex.quote(path)} && chmod {mode:o} {shlex.quote(path)}")


def remove(must: Callable[[str], object]) -> None:
    """Take the card away again."""
    links = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm", f"{_LIBRARY}.1"]
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
